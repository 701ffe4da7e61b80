//! What a stat does not tell about an entry.
//!
//! Opens files and folders, but nothing whose opening has an effect.

use std::{ffi::CStr, io};

use rustix::fd::BorrowedFd;
use strongroom_core::entry::{Details, EntryKind, Stat};

use super::{node::Node, owners::Owners};

/// The details of `name` in `folder`, whose stat is known.
pub(crate) fn details_at(
    folder: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
    owners: &Owners,
) -> io::Result<Details> {
    let link_target = match stat.kind {
        EntryKind::Symlink => Some(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok(Details {
        user: owners.user_name(stat.uid),
        group: owners.group_name(stat.gid),
        xattrs: Node::hold(folder, name, stat.kind)?.xattrs()?,
        link_target,
    })
}
