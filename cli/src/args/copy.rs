//! `copy`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use strongroom_core::compress::Compression;

use super::{
    CredentialArgs, FilterArgs,
    values::{compression, snapshot, snapshot::SnapshotChoice, workers},
};

const AFTER_HELP: &str = "\
Examples:
  strongroom copy -r s3://bucket/offsite --from-repo /srv/backup
  strongroom copy -r /mnt/disk --from-repo /srv/backup --host web1 --tag weekly
  strongroom copy -r /mnt/disk --from-repo s3://bucket/offsite --from-password-file ./p latest

What the other repository has already is skipped, so that the same line can be run again at any
time; only what is missing there is sent.

Environment:
  STRONGROOM_FROM_PASSWORD          what opens the repository that is read; or one of these:
  STRONGROOM_FROM_PASSWORD_FILE     a file with the password
  STRONGROOM_FROM_PASSWORD_COMMAND  a command that prints the password
  STRONGROOM_FROM_KEY_FILE          a key file

Without any of these, what opens the other repository is used for both.";

/// Flags of `copy`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CopyArgs {
    /// Only these snapshots: id, latest, latest~N or @TIME [default: all]
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    pub snapshots: Vec<SnapshotChoice>,

    #[command(flatten)]
    pub from: FromArgs,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Read and compare, but store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Threads that cut, compress and encrypt [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = workers::parse)]
    pub workers: Option<usize>,

    /// How hard to compress: off, fast, or 1 (quick) to 19 (small) [default: as at init]
    #[arg(long, value_name = "LEVEL", value_parser = compression::parse)]
    pub compression: Option<Compression>,
}

/// The repository that is read, and what opens it.
#[derive(Debug, Clone, Args)]
pub struct FromArgs {
    /// Where the repository is that is read: a folder or a target URL
    #[arg(long, value_name = "URL", env = "STRONGROOM_FROM_REPOSITORY", hide_env_values = true)]
    pub from_repo: OsString,

    /// Read its password from this file
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["from_password_command", "from_recovery_key_file"])]
    #[arg(conflicts_with = "from_key_file")]
    pub from_password_file: Option<PathBuf>,

    /// Run this command, without a shell, and read its password from the output
    #[arg(long, value_name = "COMMAND")]
    #[arg(conflicts_with_all = ["from_recovery_key_file", "from_key_file"])]
    pub from_password_command: Option<String>,

    /// Open it with the recovery key in this file instead of a password
    #[arg(long, value_name = "FILE", conflicts_with = "from_key_file")]
    pub from_recovery_key_file: Option<PathBuf>,

    /// Open it with this key file instead of a password
    #[arg(long, value_name = "FILE")]
    pub from_key_file: Option<PathBuf>,
}

impl FromArgs {
    /// What the flags say about opening it.
    pub fn credential(&self) -> CredentialArgs {
        CredentialArgs {
            password_file: self.from_password_file.iter().cloned().collect(),
            password_command: self.from_password_command.clone(),
            recovery_key_file: self.from_recovery_key_file.clone(),
            key_file: self.from_key_file.clone(),
        }
    }
}
