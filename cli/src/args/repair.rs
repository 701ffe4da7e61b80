//! `repair`: setting right what a storage did to a repository.

use clap::{Args, Subcommand};
use strongroom_core::{id::PackId, verify::ReadData};

use super::values::{pack, percent, percent::Percent, workers};

const PARITY_HELP: &str = "\
Examples:
  strongroom repair parity -r /srv/backup --dry-run
  strongroom repair parity -r /srv/backup

Needs no password: whoever keeps the storage can run it, beside backups and restores. Reads every
object, rebuilds what is damaged or lost from parity and copies, and stores these anew where they
are missing. Exit code 13: some objects cannot be healed, or, with --dry-run, are damaged.";

const INDEX_HELP: &str = "\
Examples:
  strongroom repair index -r /srv/backup --dry-run
  strongroom repair index -r /srv/backup

Reads the index and the directory of every pack, and writes what is missing of the index anew, so
that the next backup knows again what is stored. Deletes nothing, and may run beside backups. Exit
code 13: something else is damaged, or, with --dry-run, parts of the index are missing.";

const PACKS_HELP: &str = "\
Examples:
  strongroom repair packs -r /srv/backup --dry-run
  strongroom repair packs -r /srv/backup --read-data
  strongroom repair packs -r /srv/backup packs/0b5d3a0c5bb1e0a7b1a2f5e0c6d7a8f9/3

Finds packs that are damaged or missing, heals them where there is parity, and writes down what is
lost of the others: the next backup stores that content again if it meets it, and the snapshots
that lost it can be read again. Without --read-data only what is missing or cut off is found, and
the packs that are named are read; `verify --read-data` names them. Deletes nothing. Exit code 13:
snapshots lack something.";

const SNAPSHOTS_HELP: &str = "\
Examples:
  strongroom repair snapshots -r /srv/backup --dry-run
  strongroom repair snapshots -r /srv/backup --read-data
  strongroom repair snapshots -r /srv/backup --forget

Makes a new snapshot of each damaged one, without the files that cannot be read, and lists these.
It gets the tag `repaired`; the damaged one stays until it is forgotten. Run a backup first, after
`repair packs`: it may bring back what is lost. Exit code 13: of some snapshots nothing can be
read, or, with --dry-run, some are damaged.";

/// What to repair.
#[derive(Debug, Subcommand)]
pub enum RepairVerb {
    /// Check all objects against their parity and copies, and heal what is damaged
    #[command(after_help = PARITY_HELP)]
    Parity(RepairParityArgs),
    /// Write lost parts of the index anew
    #[command(after_help = INDEX_HELP)]
    Index(RepairIndexArgs),
    /// Have the next backup store again what is lost
    #[command(after_help = PACKS_HELP)]
    Packs(RepairPacksArgs),
    /// Save damaged snapshots again, without what they lost
    #[command(after_help = SNAPSHOTS_HELP)]
    Snapshots(RepairSnapshotsArgs),
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

/// What all other verbs below `repair` take.
#[derive(Debug, Args)]
pub struct RepairHow {
    /// Say what would be done; write nothing but what heals from parity
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Threads that decrypt and check [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = workers::parse)]
    pub workers: Option<usize>,
}

/// How much content is read.
#[derive(Debug, Args)]
pub struct ReadDataArgs {
    /// Also read the content of all files, or of a random share of the objects that hold it
    #[arg(long, value_name = "PERCENT", value_parser = percent::parse)]
    #[arg(num_args = 0..=1, default_missing_value = "100%", require_equals = true)]
    pub read_data: Option<Percent>,
}

impl ReadDataArgs {
    /// How much.
    pub fn share(&self) -> ReadData {
        match self.read_data {
            None => ReadData::None,
            Some(Percent(share)) if share >= 100.0 => ReadData::All,
            Some(Percent(share)) => ReadData::Percent(share),
        }
    }
}

/// `repair index`.
#[derive(Debug, Args)]
pub struct RepairIndexArgs {
    #[command(flatten)]
    pub how: RepairHow,
}

/// `repair packs`.
#[derive(Debug, Args)]
pub struct RepairPacksArgs {
    /// Read these packs whole, as `verify` names them
    #[arg(value_name = "PACK", value_parser = pack::parse)]
    pub packs: Vec<PackId>,

    #[command(flatten)]
    pub read_data: ReadDataArgs,

    #[command(flatten)]
    pub how: RepairHow,
}

/// `repair snapshots`.
#[derive(Debug, Args)]
pub struct RepairSnapshotsArgs {
    #[command(flatten)]
    pub read_data: ReadDataArgs,

    /// Forget the damaged snapshots of which a repaired one stands
    #[arg(long, conflicts_with = "dry_run")]
    pub forget: bool,

    #[command(flatten)]
    pub how: RepairHow,
}
