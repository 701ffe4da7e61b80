//! Changes in folders whose own mode forbids them to their owner, such as those of a tree that
//! was restored before: the mode is lifted, and set again with the folder's metadata, which has
//! to be set after every change in it anyway.
//!
//! Never changes a mode unless the system has refused something.

use std::ffi::CStr;

use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
};
use strongroom_core::entry::EntryKind;

use crate::system::node::{Node, OPEN_SAFELY};

/// All that an owner may do.
const OWNER: u32 = 0o700;

/// Opens the folder `name` in `above`, and nothing but a folder.
pub(super) fn open_folder(above: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OPEN_SAFELY;
    let open = || rustix::fs::openat(above, name, flags, Mode::empty());
    match open() {
        Err(Errno::ACCESS)
            if Node::hold(above, name, EntryKind::Dir).is_ok_and(|node| lift(&node)) =>
        {
            open()
        }
        outcome => outcome,
    }
}

/// Makes a change in `folder`.
pub(super) fn change<T>(
    folder: BorrowedFd<'_>,
    change: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match change() {
        Err(Errno::ACCESS)
            if Node::hold(folder, c".", EntryKind::Dir).is_ok_and(|node| lift(&node)) =>
        {
            change()
        }
        outcome => outcome,
    }
}

/// Gives the owner of a folder all rights; false if there was nothing to give, or no right to.
fn lift(node: &Node) -> bool {
    node.expect(EntryKind::Dir)
        .is_ok_and(|stat| stat.mode & OWNER != OWNER && node.set_mode(stat.mode | OWNER).is_ok())
}
