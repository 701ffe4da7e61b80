//! Breadth-first search of all reachable states: the first loss found has the shortest trace.

use std::hash::{Hash, Hasher};

use crate::{
    collector, network,
    scope::Scope,
    state::{CollectorAt, State},
    step::Step,
    writer,
};

/// The steps that are possible in one state.
#[derive(Default)]
pub(crate) struct Steps(Vec<(Step, State)>);

impl Steps {
    /// A step, and the state after it.
    pub(crate) fn add(&mut self, step: Step, after: State) {
        self.0.push((step, after));
    }
}

/// What a search found.
pub(crate) struct Outcome {
    pub(crate) states: usize,
    pub(crate) transitions: u64,
    /// What went wrong first, and the steps that lead there.
    pub(crate) loss: Option<(&'static str, Vec<Step>)>,
    /// States from which no clean one can be reached; only known if it was asked for.
    pub(crate) stuck: usize,
}

/// Searches everything that `scope` allows, up to the first loss.
pub(crate) fn search(scope: &Scope) -> Outcome {
    Search::new(scope).run()
}

struct Search<'a> {
    scope: &'a Scope,
    seen: Seen,
    /// The state from which each state was reached first.
    parents: Vec<u32>,
    transitions: u64,
    /// Each transition as (to, from); only kept for an endless scope.
    edges: Vec<(u32, u32)>,
}

impl<'a> Search<'a> {
    fn new(scope: &'a Scope) -> Self {
        Self { scope, seen: Seen::new(), parents: Vec::new(), transitions: 0, edges: Vec::new() }
    }

    fn run(mut self) -> Outcome {
        self.seen.insert(State::start(self.scope));
        self.parents.push(0);
        let mut steps = Steps::default();
        let mut from = 0;
        while from < self.seen.states.len() {
            let before = self.seen.states[from];
            possible(&before, self.scope, &mut steps);
            for (_, after) in steps.0.drain(..) {
                if let Some(loss) = self.reach(from as u32, &before, after) {
                    let trace = self.trace(self.seen.states.len() - 1);
                    return self.outcome(Some((loss, trace)));
                }
            }
            from += 1;
        }
        self.outcome(None)
    }

    /// Notes `after`; what is wrong with it if it is new.
    fn reach(&mut self, from: u32, before: &State, after: State) -> Option<&'static str> {
        self.transitions += 1;
        let misstep = match self.scope.flaw {
            None => after.misstep(before),
            Some(_) => None,
        };
        let (to, is_new) = self.seen.insert(after);
        if self.scope.is_endless {
            self.edges.push((to, from));
        }
        if is_new {
            self.parents.push(from);
            return misstep.or_else(|| after.loss(self.scope));
        }
        debug_assert!(misstep.is_none(), "{misstep:?}: {before:?} {after:?}");
        None
    }

    fn outcome(self, loss: Option<(&'static str, Vec<Step>)>) -> Outcome {
        Outcome {
            states: self.seen.states.len(),
            transitions: self.transitions,
            stuck: if self.scope.is_endless { self.stuck() } else { 0 },
            loss,
        }
    }

    /// The steps to state `last`. Which steps they were is found by making them again.
    fn trace(&self, last: usize) -> Vec<Step> {
        let mut trace = Vec::new();
        let mut to = last;
        let mut steps = Steps::default();
        while to != 0 {
            let from = self.parents[to] as usize;
            possible(&self.seen.states[from], self.scope, &mut steps);
            let made = steps.0.drain(..).find(|(_, after)| *after == self.seen.states[to]);
            trace.extend(made.map(|(step, _)| step));
            to = from;
        }
        trace.reverse();
        trace
    }

    /// How many states cannot reach a clean one: everything that leads to clean ones is marked.
    fn stuck(&self) -> usize {
        let states = &self.seen.states;
        let mut edges = self.edges.clone();
        edges.sort_unstable();
        let clean = |id: &u32| states[*id as usize].is_clean(self.scope);
        let mut pending: Vec<u32> = (0..states.len() as u32).filter(clean).collect();
        let mut is_good = vec![false; states.len()];
        pending.iter().for_each(|id| is_good[*id as usize] = true);
        while let Some(to) = pending.pop() {
            let first = edges.partition_point(|edge| edge.0 < to);
            for (_, from) in edges[first..].iter().take_while(|edge| edge.0 == to) {
                if !is_good[*from as usize] {
                    is_good[*from as usize] = true;
                    pending.push(*from);
                }
            }
        }
        is_good.iter().filter(|is_good| !**is_good).count()
    }
}

/// Everything that can happen in `state`.
fn possible(state: &State, scope: &Scope, out: &mut Steps) {
    network::steps(state, scope, out);
    for number in 0..scope.writers {
        writer::steps(state, scope, number, out);
    }
    for number in 0..scope.collectors {
        collector::steps(state, scope, number, out);
    }
    if scope.is_endless {
        out.0.iter_mut().for_each(|(_, after)| rename_heads(after));
    }
}

/// Only the order of heads matters.
fn rename_heads(state: &mut State) {
    let mut used = vec![state.head];
    used.extend(state.generations);
    for collector in &mut state.collectors {
        match collector.at {
            CollectorAt::Begin => collector.head = 0,
            _ => used.push(collector.head),
        }
    }
    used.sort_unstable();
    used.dedup();
    let rename = |head: u8| used.iter().position(|other| *other == head).unwrap_or(0) as u8;
    state.head = rename(state.head);
    state.generations = state.generations.map(rename);
    for collector in &mut state.collectors {
        if collector.at != CollectorAt::Begin {
            collector.head = rename(collector.head);
        }
    }
}

/// States that were reached, each with a number, in order of discovery.
struct Seen {
    states: Vec<State>,
    /// Open addressing: one more than the number of a state, or 0.
    table: Vec<u32>,
}

impl Seen {
    fn new() -> Self {
        Self { states: Vec::new(), table: vec![0; 1 << 16] }
    }

    /// The number of `state`, and whether it is new.
    fn insert(&mut self, state: State) -> (u32, bool) {
        if self.states.len() * 2 > self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = hash_of(&state) as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    self.states.push(state);
                    self.table[at] = self.states.len() as u32;
                    return (self.states.len() as u32 - 1, true);
                }
                number if self.states[number as usize - 1] == state => return (number - 1, false),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        self.table = vec![0; mask + 1];
        for (number, state) in (1..).zip(&self.states) {
            let mut at = hash_of(state) as usize & mask;
            while self.table[at] != 0 {
                at = (at + 1) & mask;
            }
            self.table[at] = number;
        }
    }
}

fn hash_of(state: &State) -> u64 {
    let mut hasher = Multiplying(0);
    state.hash(&mut hasher);
    hasher.finish()
}

/// Fast and good enough for states.
struct Multiplying(u64);

impl Multiplying {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Multiplying {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(byte.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.mix(number.into());
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }
}
