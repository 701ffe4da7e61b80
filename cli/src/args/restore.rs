//! `restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use strongroom_core::restore::Overwrite;

use super::{
    look::FilterArgs,
    values::{pattern, snapshot, snapshot::Place, workers},
};

const AFTER_HELP: &str = "\
Examples:
  strongroom restore -r /srv/backup latest --target /tmp/all
  strongroom restore -r /srv/backup latest:/srv/data --target /srv/data --overwrite if-newer
  strongroom restore -r /srv/backup latest~1 --target /tmp/photos -i '*.jpg' -i '*.png'
  strongroom restore -r /srv/backup 3f2a:/etc --target /etc --delete --dry-run

Files that are as in the snapshot already are not fetched again. Without :PATH everything comes
back under its whole path; with :PATH what is in that folder lands directly in the target.";

/// Flags of `restore`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RestoreArgs {
    /// The snapshot: id, latest, latest~N or @TIME; with :PATH only that folder or file
    #[arg(value_name = "SNAP[:PATH]", value_parser = snapshot::place_parser())]
    pub place: Place,

    /// The folder to restore into; created if it is missing
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,

    /// Restore only what matches this pattern (gitignore syntax) and what is below it; may be
    /// given more than once
    #[arg(short, long, value_name = "PATTERN", value_parser = pattern::parse)]
    pub include: Vec<String>,

    /// Leave out what matches this pattern (gitignore syntax) and what is below it; may be given
    /// more than once
    #[arg(short, long, value_name = "PATTERN", value_parser = pattern::parse)]
    pub exclude: Vec<String>,

    /// What happens to files that are there already
    #[arg(long, value_name = "WHEN", default_value = "always")]
    pub overwrite: OverwriteArg,

    /// Remove what the snapshot does not have from the restored folders
    #[arg(long)]
    pub delete: bool,

    /// Compare and count, but change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Read everything back afterwards and compare it with the snapshot
    #[arg(long, conflicts_with = "dry_run")]
    pub verify: bool,

    /// Leave owner and group as the system sets them
    #[arg(long)]
    pub no_owner: bool,

    /// Set owners by number, whatever their names are on this machine
    #[arg(long, conflicts_with = "no_owner")]
    pub numeric_owner: bool,

    /// Threads that decrypt, decompress and write [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = workers::parse)]
    pub workers: Option<usize>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// Make them as in the snapshot
    Always,
    /// Only if size or time of change differ
    IfChanged,
    /// Only if the snapshot's file is newer
    IfNewer,
    /// Leave them alone
    Never,
}

impl From<OverwriteArg> for Overwrite {
    fn from(overwrite: OverwriteArg) -> Self {
        match overwrite {
            OverwriteArg::Always => Self::Always,
            OverwriteArg::IfChanged => Self::IfChanged,
            OverwriteArg::IfNewer => Self::IfNewer,
            OverwriteArg::Never => Self::Never,
        }
    }
}
