//! The command line: verbs, flags and their values. Everything that can be refused without
//! looking at anything but the command line is refused here.
//!
//! Knows nothing of what the verbs do.

mod backup;
mod copy;
mod forget;
mod global;
mod init;
mod key;
mod look;
mod prune;
mod refused;
mod repair;
mod restore;
mod stats;
mod target;
mod values;
mod verify;

use clap::{Parser, Subcommand};

pub use self::{
    backup::BackupArgs,
    copy::{CopyArgs, FromArgs},
    forget::{ChosenArgs, ForgetArgs, HoldArgs, ReleaseArgs, TagArgs},
    global::{AgentMode, CredentialArgs, GlobalArgs, ProgressMode},
    init::InitArgs,
    key::{
        KeyAddArgs, KeyLockArgs, KeyPasswordArgs, KeyRemoveArgs, KeyRotateArgs, KeyVerb,
        NewPasswordArgs, NewSlotArgs,
    },
    look::{ArchiveFormat, DiffArgs, DumpArgs, FilterArgs, FindArgs, LsArgs, SnapshotsArgs},
    prune::{PruneArgs, PruneHow},
    refused::parse,
    repair::{
        RepairHow, RepairIndexArgs, RepairPacksArgs, RepairParityArgs, RepairSnapshotsArgs,
        RepairVerb,
    },
    restore::RestoreArgs,
    stats::StatsArgs,
    target::{TargetCheckArgs, TargetVerb},
    values::{
        pattern::Patterns, snapshot::SnapshotChoice, tag::TagSet,
        workers::default as default_workers, zone::Zone,
    },
    verify::VerifyArgs,
};

const AFTER_HELP: &str = "\
Examples:
  strongroom init -r /srv/backup
  strongroom backup -r /srv/backup /home /etc
  strongroom restore -r /srv/backup latest:/etc --target /tmp/etc

Environment:
  STRONGROOM_REPOSITORY        where the repository is
  STRONGROOM_PASSWORD          what opens it; instead of this one may be set:
  STRONGROOM_PASSWORD_FILE     a file with the password
  STRONGROOM_PASSWORD_COMMAND  a command that prints the password
  STRONGROOM_KEY_FILE          a key file
  STRONGROOM_AGENT             on: do not ask again for a while
  STRONGROOM_LOG               what to log, as `debug` or `strongroom_core=trace`

Without any of these, the password is asked for on the terminal.

Exit codes:
  0  done                          11  busy: another run is in the way
  1  failed                        12  wrong password or key
  2  wrong usage                   13  damage found
  3  done, but some items could    14  storage unreachable or denied
     not be read or restored      130  interrupted
 10  no repository there";

/// Backs up files and streams to any storage, encrypted and deduplicated, and proves that they
/// come back.
#[derive(Debug, Parser)]
#[command(name = "strongroom", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(disable_help_subcommand = false, propagate_version = false)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create a repository and print its recovery key
    Init(InitArgs),
    /// Save files, folders or a stream as a new snapshot
    Backup(BackupArgs),
    /// List the snapshots
    Snapshots(SnapshotsArgs),
    /// List what a snapshot holds
    Ls(LsArgs),
    /// Find files in snapshots by name or path
    Find(FindArgs),
    /// Compare two snapshots
    Diff(DiffArgs),
    /// Bring files back from a snapshot
    Restore(RestoreArgs),
    /// Write a file, or a folder as an archive, to standard output
    Dump(DumpArgs),
    /// Copy snapshots of another repository into this one
    Copy(CopyArgs),
    /// Prove that the repository holds what its snapshots say
    #[command(visible_alias = "check")]
    Verify(VerifyArgs),
    /// Forget snapshots by age, tags or name; prune then frees their space
    Forget(ForgetArgs),
    /// Give back the room of what no snapshot needs
    Prune(PruneArgs),
    /// Change the tags of snapshots
    Tag(TagArgs),
    /// Keep snapshots from being forgotten
    Hold(HoldArgs),
    /// Let held snapshots go
    Release(ReleaseArgs),
    /// List and change what opens the repository
    #[command(
        subcommand,
        after_help = "\
Examples:
  strongroom key list
  strongroom key password --new-password-file /etc/strongroom/new
  strongroom key rotate --remove-others"
    )]
    Key(KeyVerb),
    /// Say how large snapshots are, and what that takes
    Stats(StatsArgs),
    /// Set right what a storage did to a repository
    #[command(
        subcommand,
        after_help = "\
Examples:
  strongroom repair parity -r /srv/backup
  strongroom repair packs -r /srv/backup --read-data
  strongroom repair snapshots -r /srv/backup --dry-run"
    )]
    Repair(RepairVerb),
    /// Check a storage, or keep single encrypted objects in it, without a repository
    #[command(
        subcommand,
        after_help = "\
Examples:
  strongroom target check s3://bucket/prefix
  pg_dump shop | strongroom target put s3://bucket/dumps/shop.sql
  strongroom target get s3://bucket/dumps/shop.sql | psql shop"
    )]
    Target(TargetVerb),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  strongroom completions bash > /etc/bash_completion.d/strongroom
  strongroom completions zsh > ~/.zfunc/_strongroom")]
    Completions {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
    /// Print the version
    #[command(after_help = "\
Examples:
  strongroom version
  strongroom version --json")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Examples:\n  strongroom "), "{}", verb.get_name());
        }
    }
}
