//! Names of steps, for traces.

use std::fmt;

use crate::state::{PACKS, Set, has};

/// Who does something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// A user, a clean-up, or the network.
    Someone,
    /// The writer of this slot.
    Writer(usize),
    /// A collector.
    Collector(usize),
}

/// One step, as a trace shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) actor: Actor,
    pub(crate) deed: &'static str,
    pub(crate) what: What,
}

/// What a step was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Nothing,
    Pack(usize),
    Packs(Set),
    Session(usize),
    Sessions(Set),
}

impl Step {
    pub(crate) const fn new(actor: Actor, deed: &'static str, what: What) -> Self {
        Self { actor, deed, what }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.actor {
            Actor::Someone => {}
            Actor::Writer(slot) => write!(f, "writer {slot} ")?,
            Actor::Collector(number) => write!(f, "collector {} ", number + 1)?,
        }
        f.write_str(self.deed)?;
        match self.what {
            What::Nothing => Ok(()),
            What::Pack(pack) => write!(f, " p{pack}"),
            What::Packs(set) => write_set(f, 'p', set),
            What::Session(slot) => write!(f, " s{slot}"),
            What::Sessions(set) => write_set(f, 's', set),
        }
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, letter: char, set: Set) -> fmt::Result {
    let names: Vec<String> = (0..=PACKS)
        .filter(|member| has(set, *member))
        .map(|member| format!("{letter}{member}"))
        .collect();
    write!(f, " {{{}}}", names.join(" "))
}
