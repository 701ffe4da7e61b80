//! Sets what a snapshot holds about an entry beside its content.
//!
//! The order matters: a change of owner takes away capabilities and the set-user-id bit, user
//! attributes cannot be set on what is read-only, a change of mode changes an ACL, and all of
//! them are to leave no trace in the times.

use std::io;

use strongroom_core::entry::{Entry, EntryKind, Stat};

use super::{OwnerPolicy, Shared};
use crate::system::node::Node;

const SET_USER_ID: u32 = 0o4000;
const SET_GROUP_ID: u32 = 0o2000;
const CAPABILITY: &[u8] = b"security.capability";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Restores metadata as a sink's options say.
pub(super) struct Restorer<'a> {
    shared: &'a Shared,
}

/// When an extended attribute is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    BeforeMode,
    AfterMode,
    Last,
}

impl<'a> Restorer<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// Makes `node`, whose stat is `current`, what `entry` says. Gives what could not be set.
    pub(super) fn restore(&self, node: &Node, current: &Stat, entry: &Entry) -> Vec<String> {
        let mut problems = Vec::new();
        let meant = self.meant_owner(entry);
        let owner = match self.shared.options.owner {
            OwnerPolicy::None => (current.uid, current.gid),
            _ => self.restore_owner(node, current, meant, &mut problems),
        };
        self.remove_xattrs(node, entry, &mut problems);
        self.set_xattrs(node, entry, Turn::BeforeMode, &mut problems);
        if entry.stat.kind != EntryKind::Symlink {
            let mode = allowed_mode(entry, owner, meant, &mut problems);
            let is_chowned = owner != (current.uid, current.gid);
            if mode != current.mode || is_chowned {
                note(&mut problems, "mode", node.set_mode(mode));
            }
        }
        self.set_xattrs(node, entry, Turn::AfterMode, &mut problems);
        self.set_xattrs(node, entry, Turn::Last, &mut problems);
        note(&mut problems, "time", node.set_mtime(entry.stat.mtime));
        problems
    }

    /// The user and group that the snapshot means, in ids of this machine.
    fn meant_owner(&self, entry: &Entry) -> (u32, u32) {
        let (details, stat) = (&entry.details, &entry.stat);
        if self.shared.options.owner == OwnerPolicy::Numeric {
            return (stat.uid, stat.gid);
        }
        let owners = &self.shared.owners;
        let user = details.user.as_deref().and_then(|name| owners.user_id(name));
        let group = details.group.as_deref().and_then(|name| owners.group_id(name));
        (user.unwrap_or(stat.uid), group.unwrap_or(stat.gid))
    }

    /// Sets the owner; gives the one that the entry then has.
    fn restore_owner(
        &self,
        node: &Node,
        current: &Stat,
        wanted: (u32, u32),
        problems: &mut Vec<String>,
    ) -> (u32, u32) {
        let user = (wanted.0 != current.uid).then_some(wanted.0);
        let group = (wanted.1 != current.gid).then_some(wanted.1);
        if user.is_none() && group.is_none() {
            return wanted;
        }
        let Err(error) = node.set_owner(user, group) else { return wanted };
        if self.shared.is_root || self.shared.options.report_owner_failures {
            problems.push(format!("owner {}:{}: {error}", wanted.0, wanted.1));
        }
        // A user may give a file to another one of their groups, though to nobody else.
        if user.is_some() && group.is_some() && node.set_owner(None, group).is_ok() {
            return (current.uid, wanted.1);
        }
        (current.uid, current.gid)
    }

    /// Removes attributes that the entry does not have, such as an ACL inherited from a folder.
    /// Labels that the system keeps by itself stay.
    fn remove_xattrs(&self, node: &Node, entry: &Entry, problems: &mut Vec<String>) {
        if self.shared.options.skip_xattrs {
            return;
        }
        let names = match node.xattr_names() {
            Ok(names) => names,
            Err(error) => return problems.push(format!("extended attributes: {error}")),
        };
        for name in names {
            let is_ours = name.starts_with(b"user.")
                || name.starts_with(b"trusted.")
                || [CAPABILITY, ACCESS_ACL, DEFAULT_ACL].contains(&name.as_slice());
            if is_ours && entry.details.xattrs.iter().all(|(kept, _)| *kept != name) {
                note(problems, "removing an", node.remove_xattr(&name));
            }
        }
    }

    fn set_xattrs(&self, node: &Node, entry: &Entry, turn: Turn, problems: &mut Vec<String>) {
        if self.shared.options.skip_xattrs {
            return;
        }
        for (name, value) in entry.details.xattrs.iter().filter(|(name, _)| turn_of(name) == turn) {
            if let Err(error) = node.set_xattr(name, value) {
                // What may not be set may well be there already, as labels of the system are.
                if !node.has_xattr(name, value) {
                    problems.push(error.to_string());
                }
            }
        }
    }
}

fn turn_of(name: &[u8]) -> Turn {
    match name {
        CAPABILITY => Turn::Last,
        _ if name.starts_with(b"system.") => Turn::AfterMode,
        _ => Turn::BeforeMode,
    }
}

/// The mode of `entry`, without the bits that would lend the rights of an `owner` other than
/// the one it is `meant` for.
fn allowed_mode(
    entry: &Entry,
    owner: (u32, u32),
    meant: (u32, u32),
    problems: &mut Vec<String>,
) -> u32 {
    let mut mode = entry.stat.mode;
    // A folder lends no rights.
    if entry.stat.kind == EntryKind::Dir {
        return mode;
    }
    let mut leave_out = |bit: u32, what: &str| {
        if mode & bit != 0 {
            mode &= !bit;
            problems.push(format!("the {what} bit is left out: it was meant for another owner"));
        }
    };
    if owner.0 != meant.0 {
        leave_out(SET_USER_ID, "set-user-id");
    }
    if owner.1 != meant.1 {
        leave_out(SET_GROUP_ID, "set-group-id");
    }
    mode
}

fn note(problems: &mut Vec<String>, what: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        problems.push(format!("{what}: {error}"));
    }
}
