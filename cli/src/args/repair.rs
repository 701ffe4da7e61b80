//! `repair`: setting right what a storage did to a repository.

use clap::{Args, Subcommand};

const PARITY_HELP: &str = "\
Examples:
  strongroom repair parity -r /srv/backup --dry-run
  strongroom repair parity -r /srv/backup

Needs no password: whoever keeps the storage can run it, beside backups and restores. Reads every
object, rebuilds what is damaged or lost from parity and copies, and stores these anew where they
are missing. Exit code 13: some objects cannot be healed, or, with --dry-run, are damaged.";

/// What to repair.
#[derive(Debug, Subcommand)]
pub enum RepairVerb {
    /// Check all objects against their parity and copies, and heal what is damaged
    #[command(after_help = PARITY_HELP)]
    Parity(RepairParityArgs),
}

/// `repair parity`.
#[derive(Debug, Args)]
pub struct RepairParityArgs {
    /// Say what would be done; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Remove the parity and the copies of objects that are lost for good
    #[arg(long, conflicts_with = "dry_run")]
    pub remove_orphans: bool,
}
