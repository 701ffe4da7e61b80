//! `key`: what opens the repository.

mod change;
mod list;
mod lock;
mod rotate;

use strongroom_core::repository::keys::KeySlots;

use super::{select::short_id, with_repository};
use crate::{
    args::{GlobalArgs, KeyVerb},
    error::{Failure, Result},
    exit::Exit,
    output::{Console, Out},
    password::Purpose,
};

/// Does what the verb below `key` says. New secrets are asked for before anything is opened.
pub fn run(verb: KeyVerb, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let opening = Purpose::Open;
    match verb {
        KeyVerb::List => with_repository(global, console, opening, async |c| list::run(c).await),
        KeyVerb::Add(args) => change::add(&args, global, console),
        KeyVerb::Remove(args) => {
            with_repository(global, console, opening, async |c| change::remove(&args, c).await)
        }
        KeyVerb::Password(args) => change::password(&args, global, console),
        KeyVerb::Rotate(args) => {
            with_repository(global, console, opening, async |c| rotate::run(&args, c).await)
        }
        KeyVerb::Lock(args) => lock::run(&args, global, console),
    }
}

/// A slot whose id begins with what the user typed.
fn find(slots: &KeySlots, prefix: &str) -> Result<strongroom_core::id::SlotId> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() {
        return Err(Failure::usage("the key slot's id is empty"));
    }
    slots.find(&prefix).map_err(|error| Failure::from(error).with_exit(Exit::Usage))
}

/// Shows a recovery key, once.
fn show_recovery_key(out: &mut Out, key: &str) -> Result<()> {
    out.line("recovery key:")?;
    out.line("")?;
    out.line(&format!("    {key}"))?;
    out.line("")?;
    out.line("It is shown only this once. Keep it where it survives this machine.")
}
