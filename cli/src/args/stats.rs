//! `stats`.

use clap::Args;

use super::{
    look::FilterArgs,
    values::{snapshot, snapshot::SnapshotChoice},
};

/// Flags of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom stats -r /srv/backup
  strongroom stats -r /srv/backup latest
  strongroom stats -r /srv/backup --host web1 --json

Without snapshots and filters, the whole repository is measured, with what nobody needs in it.
Reads the index and the tables of the snapshots, no content.")]
pub struct StatsArgs {
    /// Only these snapshots: id, latest, latest~N or @TIME [default: all]
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    pub snapshots: Vec<SnapshotChoice>,

    #[command(flatten)]
    pub filter: FilterArgs,
}
