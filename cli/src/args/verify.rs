//! `verify`.

use std::path::PathBuf;

use clap::Args;
use strongroom_core::verify::ReadData;

use super::{
    look::FilterArgs,
    values::{percent, percent::Percent, snapshot, snapshot::SnapshotChoice, workers},
};

const AFTER_HELP: &str = "\
Examples:
  strongroom verify -r /srv/backup
  strongroom verify -r /srv/backup --read-data
  strongroom verify -r /srv/backup --read-data 5%
  strongroom verify -r /srv/backup --restore --scratch /var/tmp

Without flags everything but the content of files is read and checked. Damage ends in exit code
13; what is damaged, and which snapshots and files need it, is listed.";

/// Flags of `verify`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct VerifyArgs {
    /// Also read the content of all files, or of a random share of the objects that hold it
    #[arg(long, value_name = "PERCENT", alias = "read-data-subset", value_parser = percent::parse)]
    #[arg(num_args = 0..=1, default_missing_value = "100%")]
    pub read_data: Option<Percent>,

    /// Also restore a snapshot into a scratch folder, read it back and compare
    #[arg(long)]
    pub restore: bool,

    /// Restore this snapshot; may be given more than once [default: latest]
    #[arg(long = "snapshot", value_name = "SNAP", value_parser = snapshot::parse)]
    #[arg(requires = "restore")]
    pub snapshots: Vec<SnapshotChoice>,

    /// Make the scratch folder in this one [default: that for temporary files]
    #[arg(long, value_name = "DIR", requires = "restore")]
    pub scratch: Option<PathBuf>,

    /// Threads that decrypt and check [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = workers::parse)]
    pub workers: Option<usize>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

impl VerifyArgs {
    /// How much content is read.
    pub fn read_data(&self) -> ReadData {
        match self.read_data {
            None => ReadData::None,
            Some(Percent(share)) if share >= 100.0 => ReadData::All,
            Some(Percent(share)) => ReadData::Percent(share),
        }
    }
}
