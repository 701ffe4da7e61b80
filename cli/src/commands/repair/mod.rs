//! `repair`: sets right what a storage did to a repository.

mod index;
mod packs;
mod parity;
mod snapshots;

use serde::Serialize;
use strongroom_core::{repair::RepairOptions, verify::Damage};

use super::{requests::Requests, select, with_repository};
use crate::{
    access::Context,
    args::{GlobalArgs, RepairHow, RepairVerb, default_workers},
    env,
    error::Result,
    exit::Exit,
    output::Console,
    password::Purpose,
};

/// Does what the verb below `repair` says.
pub fn run(verb: &RepairVerb, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let opening = Purpose::Open;
    match verb {
        RepairVerb::Parity(args) => parity::run(args, global, console),
        RepairVerb::Index(args) => {
            with_repository(global, console, opening, async |c| index::run(args, c).await)
        }
        RepairVerb::Packs(args) => {
            with_repository(global, console, opening, async |c| packs::run(args, c).await)
        }
        RepairVerb::Snapshots(args) => {
            with_repository(global, console, opening, async |c| snapshots::run(args, c).await)
        }
    }
}

/// How to repair.
fn options(how: &RepairHow, context: &Context) -> RepairOptions {
    RepairOptions {
        is_dry_run: how.dry_run,
        workers: how.workers.unwrap_or_else(default_workers),
        client: context.client_id(),
        host: env::host_name(),
        ..RepairOptions::default()
    }
}

/// What is damaged, and what needs it; what was healed on the way.
fn damage_lines(damage: &[Damage], healed: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = healed.iter().map(|object| format!("healed: {object}")).collect();
    for one in damage {
        lines.push(format!("damaged: {}: {}", one.object, one.message));
        if !one.snapshots.is_empty() {
            let short: Vec<_> = one.snapshots.iter().map(select::short_id).collect();
            lines.push(format!("  needed by snapshots {}", short.join(", ")));
        }
        lines.extend(one.files.iter().map(|file| format!("  needed by {file}")));
    }
    lines
}

/// What is said of a repair whose report goes out as it is.
#[derive(Serialize)]
struct Summary<'a, T> {
    message_type: &'static str,
    operation: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    report: &'a T,
    requests: Requests,
}

impl<'a, T: Serialize> Summary<'a, T> {
    fn new(operation: &'static str, dry_run: bool, report: &'a T, requests: Requests) -> Self {
        Self { message_type: "summary", operation, dry_run, report, requests }
    }

    /// Prints it for programs, or `lines` for people.
    fn print(&self, mut lines: Vec<String>, console: Console) -> Result<()> {
        if console.is_json() {
            return console.object(self);
        }
        lines.extend(console.is_verbose().then(|| self.requests.line()));
        console.text(&lines.join("\n"))
    }
}
