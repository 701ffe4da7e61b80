//! `target`: a storage without a repository.

use std::ffi::OsString;

use clap::{Args, Subcommand};

const CHECK_HELP: &str = "\
Examples:
  strongroom target check s3://bucket/prefix
  strongroom target check --quick smb://user@host/share/folder

Works below a scratch prefix with a random name and removes it afterwards. Exit code 1 says that
a check failed; --quick looks only at what `init` and `prune` look at.";

const PUT_HELP: &str = "\
Examples:
  pg_dump shop | strongroom target put s3://bucket/dumps/shop.sql
  strongroom target put --replace /srv/files/notes < notes.txt

The object is encrypted under the password and can be read with it wherever the object is copied
to, under the same name. Input of any length; nothing is visible before its end.";

const GET_HELP: &str = "\
Examples:
  strongroom target get s3://bucket/dumps/shop.sql | psql shop

Every byte is checked before it is printed; only exit code 0 says that the end is the end.";

const LS_HELP: &str = "\
Examples:
  strongroom target ls s3://bucket/dumps
  strongroom target ls --json /srv/files";

const RM_HELP: &str = "\
Examples:
  strongroom target rm s3://bucket/dumps/shop.sql";

/// What to do with a target.
#[derive(Debug, Subcommand)]
pub enum TargetVerb {
    /// Find out whether a storage does what backups rest on, and how fast it is
    #[command(after_help = CHECK_HELP)]
    Check(TargetCheckArgs),
    /// Encrypt standard input into a single object
    #[command(after_help = PUT_HELP)]
    Put(TargetPutArgs),
    /// Decrypt a single object to standard output
    #[command(after_help = GET_HELP)]
    Get(TargetObjectArgs),
    /// List the objects of a target
    #[command(after_help = LS_HELP)]
    Ls(TargetPlaceArgs),
    /// Remove single objects
    #[command(after_help = RM_HELP)]
    Rm(TargetRmArgs),
}

/// `target check`.
#[derive(Debug, Args)]
pub struct TargetCheckArgs {
    /// The target
    pub url: OsString,

    /// Only the races and the listing, without the suite and the speed
    #[arg(long)]
    pub quick: bool,

    /// How many objects the listing check writes
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub objects: u32,

    /// Create the folder, bucket, container or share folder if it is missing
    #[arg(long)]
    pub create: bool,
}

/// `target put`.
#[derive(Debug, Args)]
pub struct TargetPutArgs {
    /// The object: a target URL, a slash, and the object's name
    pub url: OsString,

    /// Overwrite an object that is there
    #[arg(long)]
    pub replace: bool,
}

/// A single object.
#[derive(Debug, Args)]
pub struct TargetObjectArgs {
    /// The object: a target URL, a slash, and the object's name
    pub url: OsString,
}

/// A target.
#[derive(Debug, Args)]
pub struct TargetPlaceArgs {
    /// The target
    pub url: OsString,
}

/// `target rm`.
#[derive(Debug, Args)]
pub struct TargetRmArgs {
    /// The objects
    #[arg(required = true)]
    pub urls: Vec<OsString>,
}
