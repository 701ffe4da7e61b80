//! `backup`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};
use strongroom_core::{
    compress::Compression, entry::TreePath, repository::SnapshotKind, runtime::Timestamp,
};

use super::values::{
    compression, name, path, pattern, snapshot, snapshot::SnapshotChoice, switch, tag, tag::TagSet,
    workers,
};
use crate::time;

const AFTER_HELP: &str = "\
Examples:
  strongroom backup -r /srv/backup /home /etc --exclude-caches -e '*.iso'
  strongroom backup -r /srv/backup --init --tag weekly --type full /home
  mysqldump shop | strongroom backup -r /srv/backup --stdin --stdin-filename shop.sql
  strongroom backup -r /srv/backup --stdin-filename shop.dump --stdin-from-command -- \\
      pg_dump -Fc shop
  strongroom backup -r /srv/backup -r s3://bucket/offsite /home

With --stdin-from-command the snapshot is saved only if the command succeeds. Files that cannot
be read are named and left out, and the exit code is 3.

With several repositories every file is read once. Each gets a snapshot of its own; one that fails
does not keep the others from theirs, and the exit code is that of the first that failed.";

/// Flags of `backup`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct BackupArgs {
    /// Files and folders to save; with --stdin-from-command, the command and its arguments
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,

    /// Create the repository if there is none, and print its recovery key
    #[arg(long)]
    pub init: bool,

    /// Keep parity and copies beside the objects, which heal damage, for 3 % more room: on or off
    /// [default: on where a single disk may hold them (folders, SMB), else off]
    #[arg(long, value_name = "SWITCH", value_parser = switch::parse, requires = "init")]
    pub parity: Option<bool>,

    /// Leave out what matches this pattern (gitignore syntax); may be given more than once
    #[arg(short, long, value_name = "PATTERN", value_parser = pattern::parse)]
    pub exclude: Vec<String>,

    /// Leave out what matches the patterns in this file, one a line
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,

    /// Leave out the content of folders that hold a CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,

    /// Do not go into other file systems than those of the given paths
    #[arg(short = 'x', long)]
    pub one_file_system: bool,

    /// Label the snapshot; may be given more than once, or as a comma-separated list
    #[arg(long, value_name = "TAG", value_parser = tag::parse)]
    pub tag: Vec<TagSet>,

    /// Host name to record [default: that of this machine]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = name::parse)]
    pub host: Option<String>,

    /// What may be taken over from an earlier snapshot without reading it again
    #[arg(long = "type", value_name = "TYPE", default_value = "incremental")]
    pub kind: KindArg,

    /// Compare with this snapshot instead of the one that the type says
    #[arg(long, value_name = "SNAP", value_parser = snapshot::parse)]
    pub parent: Option<SnapshotChoice>,

    /// Save standard input as a file
    #[arg(long, conflicts_with_all = ["paths", "stdin_from_command"])]
    pub stdin: bool,

    /// Run the command given after `--` and save its output as a file
    #[arg(long, requires = "paths")]
    pub stdin_from_command: bool,

    /// Name of that file in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    #[arg(value_parser = path::entry_parser())]
    pub stdin_filename: TreePath,

    /// Time to record instead of now
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub time: Option<Timestamp>,

    /// Read and compare, but store nothing
    #[arg(short = 'n', long, conflicts_with = "init")]
    pub dry_run: bool,

    /// Threads that read, compress and encrypt [default: one a processor]
    #[arg(long, value_name = "COUNT", value_parser = workers::parse)]
    pub workers: Option<usize>,

    /// How hard to compress: off, fast, or 1 (quick) to 19 (small) [default: as at init]
    #[arg(long, value_name = "LEVEL", value_parser = compression::parse)]
    pub compression: Option<Compression>,
}

impl BackupArgs {
    /// All labels, each once, in the order given.
    pub fn tags(&self) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        for tag in self.tag.iter().flat_map(|set| &set.0) {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        tags
    }
}

/// Kind of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Compare with the last snapshot of the same host and paths
    Incremental,
    /// Read everything
    Full,
    /// Compare with the last full snapshot of the same host and paths
    Differential,
}

impl From<KindArg> for SnapshotKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Incremental => Self::Incremental,
            KindArg::Full => Self::Full,
            KindArg::Differential => Self::Differential,
        }
    }
}
