//! Unfinished files that a killed restore left behind.
//!
//! Whoever restores a file holds a lock on it (flock(2)), which the system drops with the
//! process: an unfinished file that nobody holds is a leftover, and nobody's.

use std::{ffi::CStr, io};

use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};
use strongroom_core::entry::EntryKind;

use crate::system::{listing::Listing, node::OPEN_SAFELY, stat::stat_at};

/// What the names of unfinished files start with; 16 hex digits of the restore, a dash and the
/// number of the file follow.
const MARK: &[u8] = b".strongroom-";
const RESTORE_DIGITS: usize = 16;

/// What the names of the unfinished files of one restore start with.
pub(super) fn prefix(restore: u64) -> String {
    format!("{}{restore:016x}-", String::from_utf8_lossy(MARK))
}

/// Keeps other restores from taking `file` for a leftover. Where the file system knows no locks,
/// they cannot lock it either, and leave it alone.
pub(super) fn hold(file: impl AsFd) {
    let _ = rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive);
}

/// Removes the leftovers in `folder`.
pub(super) fn remove(folder: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OPEN_SAFELY;
    let mut listing = Listing::new();
    listing.read(rustix::fs::openat(folder, c".", flags, Mode::empty())?)?;
    listing.retain(is_temporary);
    for name in listing.names() {
        if is_abandoned(folder, name)? {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn is_temporary(name: &[u8]) -> bool {
    let Some((restore, number)) =
        name.strip_prefix(MARK).and_then(|rest| rest.split_at_checked(RESTORE_DIGITS))
    else {
        return false;
    };
    let is_hex = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    is_hex(restore) && number.strip_prefix(b"-").is_some_and(is_hex)
}

fn is_abandoned(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match stat_at(folder, name) {
        // A link or a node has its temporary name for a moment, while it replaces another.
        Ok(stat) if stat.kind != EntryKind::File => return Ok(stat.kind != EntryKind::Dir),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    let file = match rustix::fs::openat(folder, name, OFlags::RDONLY | OPEN_SAFELY, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}
