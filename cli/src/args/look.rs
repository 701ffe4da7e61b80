//! `snapshots`, `ls`, `find`, `diff` and `dump`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use strongroom_core::{entry::TreePath, runtime::Timestamp};

use super::values::{
    name, path, pattern, snapshot,
    snapshot::{Place, SnapshotChoice},
    tag,
    tag::TagSet,
};
use crate::time;

/// Which snapshots to consider.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Consider only snapshots of this host; may be given more than once
    #[arg(short = 'H', long, value_name = "NAME", value_parser = name::parse)]
    pub host: Vec<String>,

    /// Consider only snapshots with all of these comma-separated tags; may be given more than
    /// once for other sets of tags
    #[arg(long, value_name = "TAG,...", value_parser = tag::parse)]
    pub tag: Vec<TagSet>,

    /// Consider only snapshots of this path; may be given more than once, then all are needed
    #[arg(id = "snapshot_path", long = "path", value_name = "PATH")]
    pub path: Vec<String>,
}

/// Flags of `snapshots`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom snapshots -r /srv/backup
  strongroom snapshots -r /srv/backup --host web1 --latest 3 --json")]
pub struct SnapshotsArgs {
    /// Only these snapshots: id, latest, latest~N or @TIME [default: all]
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    pub snapshots: Vec<SnapshotChoice>,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Only the N newest of each host and set of paths
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub latest: Option<u32>,

    /// Those that were forgotten instead; `forget --undo` brings them back while it can
    #[arg(long)]
    pub forgotten: bool,
}

/// Flags of `ls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom ls -r /srv/backup latest
  strongroom ls -r /srv/backup -l latest /etc
  strongroom ls -r /srv/backup --recursive @2026-01-15T14:30:00Z /srv/data")]
pub struct LsArgs {
    /// The snapshot: id, latest, latest~N or @TIME
    #[arg(value_name = "SNAP", value_parser = snapshot::parse)]
    pub snapshot: SnapshotChoice,

    /// Only this folder or file; without it, everything is listed
    #[arg(value_name = "PATH", value_parser = path::parser())]
    pub path: Option<TreePath>,

    /// Also list what is in the folders below PATH
    #[arg(long)]
    pub recursive: bool,

    /// Show mode, owner, size and time too
    #[arg(short, long)]
    pub long: bool,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Flags of `find`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom find -r /srv/backup '*.sqlite'
  strongroom find -r /srv/backup -l '/srv/*/accounts/budget*' -s latest
  strongroom find -r /srv/backup -i 'readme*' --newest 2026-01-31

A pattern without a slash is compared with names, any other with whole paths or, without a
leading slash, with their ends.")]
pub struct FindArgs {
    /// What to look for: names or paths with *, ?, [..] and **
    #[arg(value_name = "PATTERN", required = true, value_parser = pattern::parse_wanted)]
    pub patterns: Vec<String>,

    /// Look in this snapshot only; may be given more than once
    #[arg(short, long = "snapshot", value_name = "SNAP", value_parser = snapshot::parse)]
    pub snapshots: Vec<SnapshotChoice>,

    /// Take upper and lower case for the same
    #[arg(short, long)]
    pub ignore_case: bool,

    /// Only what was last changed at this time or later
    #[arg(short = 'O', long, value_name = "TIME", value_parser = time::parse_limit)]
    pub oldest: Option<Timestamp>,

    /// Only what was last changed at this time or earlier
    #[arg(short = 'N', long, value_name = "TIME", value_parser = time::parse_limit)]
    pub newest: Option<Timestamp>,

    /// Show mode, owner, size and time too
    #[arg(short, long)]
    pub long: bool,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Flags of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom diff -r /srv/backup latest~1 latest
  strongroom diff -r /srv/backup --metadata 3f2a 9c41 --json

+  added          M  content changed       T  another kind of thing
-  removed        U  metadata changed (with --metadata)")]
pub struct DiffArgs {
    /// The earlier snapshot
    #[arg(value_name = "BEFORE", value_parser = snapshot::parse)]
    pub before: SnapshotChoice,

    /// The later snapshot
    #[arg(value_name = "AFTER", value_parser = snapshot::parse)]
    pub after: SnapshotChoice,

    /// Also list what differs in metadata only
    #[arg(long)]
    pub metadata: bool,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Flags of `dump`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  strongroom dump -r /srv/backup latest /etc/passwd
  strongroom dump -r /srv/backup latest stdin | mysql shop
  strongroom dump -r /srv/backup latest:/srv/data / --archive tar | tar -tv
  strongroom dump -r /srv/backup latest /etc --archive zip --target etc.zip

Archives name their content as the snapshot does; with SNAP:FOLDER, as seen from that folder.")]
pub struct DumpArgs {
    /// The snapshot: id, latest, latest~N or @TIME; with :FOLDER, PATH starts there
    #[arg(value_name = "SNAP[:FOLDER]", value_parser = snapshot::place_parser())]
    pub place: Place,

    /// The file or folder; / is everything
    #[arg(value_name = "PATH", value_parser = path::parser())]
    pub path: TreePath,

    /// Write an archive; folders are written as tar unless this says otherwise
    #[arg(short, long, value_name = "FORMAT")]
    pub archive: Option<ArchiveFormat>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub target: Option<PathBuf>,

    #[command(flatten)]
    pub filter: FilterArgs,
}

/// Format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArchiveFormat {
    /// POSIX tar: keeps owners, links, devices and byte names
    Tar,
    /// Zip: files, folders and symbolic links
    Zip,
}
