//! Everything but content, set on a held entry.
//!
//! The order matters: changing the owner clears set-user-id bits and capabilities, an ACL changes
//! the mode, and everything changes times.

use strongroom_core::entry::{Entry, EntryKind};

use super::Shared;
use crate::system::node::Node;

/// Cleared by a change of owner, so set last of all attributes.
const CAPABILITY: &[u8] = b"security.capability";

/// Sets owner, extended attributes, mode and time of the last change; returns what could not be
/// set.
pub(super) fn apply(node: &Node, entry: &Entry, shared: &Shared) -> Vec<String> {
    let mut problems = Vec::new();
    set_owner(node, entry, shared, &mut problems);
    set_xattrs(node, entry, &mut problems);
    if entry.stat.kind != EntryKind::Symlink
        && let Err(error) = node.set_mode(entry.stat.mode)
    {
        problems.push(format!("mode not set: {error}"));
    }
    let capability = entry.details.xattrs.iter().find(|(name, _)| name == CAPABILITY);
    if let Some((name, value)) = capability
        && let Err(error) = node.set_xattr(name, value)
    {
        problems.push(error.to_string());
    }
    if let Err(error) = node.set_mtime(entry.stat.mtime) {
        problems.push(format!("time not set: {error}"));
    }
    problems
}

fn set_owner(node: &Node, entry: &Entry, shared: &Shared, problems: &mut Vec<String>) {
    if shared.options.no_owner {
        return;
    }
    let (details, stat) = (&entry.details, &entry.stat);
    let by_name = !shared.options.numeric_owner;
    let user = details.user.as_ref().filter(|_| by_name);
    let user = user.and_then(|name| shared.owners.user_id(name)).unwrap_or(stat.uid);
    let group = details.group.as_ref().filter(|_| by_name);
    let group = group.and_then(|name| shared.owners.group_id(name)).unwrap_or(stat.gid);
    if let Err(error) = node.set_owner(Some(user), Some(group))
        && shared.is_root
    {
        problems.push(format!("owner not set: {error}"));
    }
}

/// Makes the attributes those of the entry: folders may have given a new file others.
fn set_xattrs(node: &Node, entry: &Entry, problems: &mut Vec<String>) {
    let wanted = &entry.details.xattrs;
    let present = match node.xattr_names() {
        Ok(present) => present,
        Err(error) if wanted.is_empty() => {
            tracing::debug!(%error, "attributes not listed");
            return;
        }
        Err(error) => {
            problems.push(format!("extended attributes: {error}"));
            return;
        }
    };
    for name in present.iter().filter(|name| !wanted.iter().any(|(wanted, _)| wanted == *name)) {
        // labels of security modules belong to this machine
        if !name.starts_with(b"security.")
            && let Err(error) = node.remove_xattr(name)
        {
            problems.push(error.to_string());
        }
    }
    for (name, value) in wanted.iter().filter(|(name, _)| name != CAPABILITY) {
        if let Err(error) = node.set_xattr(name, value) {
            problems.push(error.to_string());
        }
    }
}
