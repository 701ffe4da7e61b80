//! `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_core::crypto::KdfCost;

use super::{
    init::kdf_cost,
    values::{name, size},
};
use crate::error::Result;

const LIST_HELP: &str = "\
Examples:
  strongroom key list
  strongroom key list --json";

const ADD_HELP: &str = "\
Examples:
  strongroom key add --new-password-file /root/second --label 'ops team'
  strongroom key add --recovery
  head -c 32 /dev/urandom > /root/backup.key && chmod 600 /root/backup.key
  strongroom key add --new-key-file /root/backup.key

Without a flag that says what is added, a new password is asked for on the terminal.";

const REMOVE_HELP: &str = "\
Examples:
  strongroom key remove 3f21
  strongroom key remove 3f21 --dry-run

Whoever has opened that slot before may have kept the master key, which removing a slot does not
change: `key rotate` does, for what is stored from then on.";

const PASSWORD_HELP: &str = "\
Examples:
  strongroom key password
  strongroom key password --new-password-file /etc/strongroom/new
  strongroom key password --recovery-key-file /mnt/usb/recovery

Replaces the password that opened this run, or else the only one there is. The new one opens
before the old one is removed.";

const ROTATE_HELP: &str = "\
Examples:
  strongroom key rotate --dry-run
  strongroom key rotate --remove-others

New data is encrypted under a new master key at once, while other runs go on. What opened this run
stays, and a new recovery key is printed. Other key slots cannot follow: they are named, and
removed with --remove-others. What is stored already can be read with the old master key until
prune has rewritten it.";

const LOCK_HELP: &str = "\
Examples:
  strongroom key lock
  strongroom key lock --all";

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// List what opens the repository
    #[command(after_help = LIST_HELP)]
    List,
    /// Add a password, a key file or a recovery key
    #[command(after_help = ADD_HELP)]
    Add(KeyAddArgs),
    /// Remove a key slot
    #[command(after_help = REMOVE_HELP)]
    Remove(KeyRemoveArgs),
    /// Replace a password by a new one
    #[command(after_help = PASSWORD_HELP)]
    Password(KeyPasswordArgs),
    /// Encrypt what is stored from now on under a new master key
    #[command(after_help = ROTATE_HELP)]
    Rotate(KeyRotateArgs),
    /// Drop what the agent holds
    #[command(after_help = LOCK_HELP)]
    Lock(KeyLockArgs),
}

/// Where a new password comes from.
#[derive(Debug, Args)]
pub struct NewPasswordArgs {
    /// Read the new password from this file; one newline at its end does not belong to it
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_command")]
    pub new_password_file: Option<PathBuf>,

    /// Run this command, without a shell, and read the new password from its output
    #[arg(long, value_name = "COMMAND")]
    pub new_password_command: Option<String>,
}

/// What a new slot costs and says.
#[derive(Debug, Args)]
pub struct NewSlotArgs {
    /// What to call it; otherwise the name of the user at that of the host
    #[arg(long, value_name = "TEXT", value_parser = name::parse)]
    pub label: Option<String>,

    /// Memory that one guess of the password costs, up to 4GiB [default: as the slot in use]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub kdf_memory: Option<u64>,

    /// Passes over that memory, 1 to 64 [default: as the slot in use]
    #[arg(long, value_name = "COUNT")]
    pub kdf_passes: Option<u32>,
}

impl NewSlotArgs {
    /// The cost, where the flags do not say otherwise `usual`.
    pub fn cost(&self, usual: KdfCost) -> Result<KdfCost> {
        kdf_cost(self.kdf_memory, self.kdf_passes, usual)
    }
}

/// `key add`.
#[derive(Debug, Args)]
pub struct KeyAddArgs {
    /// The new password.
    #[command(flatten)]
    pub password: NewPasswordArgs,

    /// Add the key file that is there: 32 bytes to 64KiB, random, readable by nobody else
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["new_password_file", "new_password_command", "recovery"])]
    pub new_key_file: Option<PathBuf>,

    /// Make a further recovery key and print it
    #[arg(long, conflicts_with_all = ["new_password_file", "new_password_command"])]
    pub recovery: bool,

    /// The slot.
    #[command(flatten)]
    pub slot: NewSlotArgs,
}

/// `key remove`.
#[derive(Debug, Args)]
pub struct KeyRemoveArgs {
    /// The slot: the beginning of its id
    #[arg(value_name = "ID")]
    pub id: String,

    /// Remove it even if it is the one that opened this run
    #[arg(long)]
    pub force: bool,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `key password`.
#[derive(Debug, Args)]
pub struct KeyPasswordArgs {
    /// The new password.
    #[command(flatten)]
    pub password: NewPasswordArgs,

    /// The slot whose password is replaced: the beginning of its id [default: the one in use]
    #[arg(long, value_name = "ID")]
    pub replace: Option<String>,

    /// The slot.
    #[command(flatten)]
    pub slot: NewSlotArgs,
}

/// `key rotate`.
#[derive(Debug, Args)]
pub struct KeyRotateArgs {
    /// Remove all key slots but the one that opened this run
    #[arg(long)]
    pub remove_others: bool,

    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// The slot.
    #[command(flatten)]
    pub slot: NewSlotArgs,
}

/// `key lock`.
#[derive(Debug, Args)]
pub struct KeyLockArgs {
    /// Drop what is held for any repository; none need be named
    #[arg(long)]
    pub all: bool,
}
