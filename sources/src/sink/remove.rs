//! Removes an entry with all that is in it.
//!
//! Follows no links, enters no other file system, and holds one folder open at a time, however
//! deep the tree is.

use std::{
    ffi::{CStr, CString},
    io,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use strongroom_core::entry::EntryKind;

use super::permit::{change, open_folder};
use crate::system::{
    listing::Listing,
    node::OPEN_SAFELY,
    stat::{FolderId, stat_at, stat_open},
};

/// A folder being emptied.
struct Level {
    name: CString,
    id: FolderId,
    /// The folders in it that are left to remove.
    folders: Vec<CString>,
}

/// Removes `name` from `folder`. Nothing there is an error, as for files.
pub(super) fn remove_all(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    if unlink(folder, name)? {
        return Ok(());
    }
    let mut removal =
        Removal { device: stat_open(folder)?.device, levels: Vec::new(), listing: Listing::new() };
    let Some(mut current) = removal.enter(folder, name)? else { return Ok(()) };
    loop {
        match removal.levels.last_mut().and_then(|level| level.folders.pop()) {
            Some(child) => {
                if let Some(inner) = removal.enter(current.as_fd(), &child)? {
                    current = inner;
                }
            }
            None => match removal.leave(folder, &current)? {
                Some(above) => current = above,
                None => return Ok(()),
            },
        }
    }
}

struct Removal {
    device: u64,
    levels: Vec<Level>,
    listing: Listing,
}

impl Removal {
    /// Opens a folder and removes all in it but folders. `None` if somebody else removed it.
    fn enter(&mut self, above: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<OwnedFd>> {
        let folder = match open_folder(above, name) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let id = FolderId::from(&stat_open(&folder)?);
        if id.device != self.device {
            let message = "not removed: another file system is mounted in it";
            return Err(io::Error::new(io::ErrorKind::CrossesDevices, message));
        }
        self.listing.read(&folder)?;
        let mut folders = Vec::new();
        for name in self.listing.names() {
            match unlink(folder.as_fd(), name) {
                Ok(true) => {}
                Ok(false) => folders.push(name.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.levels.push(Level { name: name.to_owned(), id, folders });
        Ok(Some(folder))
    }

    /// Removes the current folder, now empty, and gives the one above it, if that is to be
    /// removed too.
    fn leave(&mut self, top: BorrowedFd<'_>, current: &OwnedFd) -> io::Result<Option<OwnedFd>> {
        let Some(done) = self.levels.pop() else { return Ok(None) };
        let Some(level) = self.levels.last() else {
            change(top, || rustix::fs::unlinkat(top, &done.name, AtFlags::REMOVEDIR))?;
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OPEN_SAFELY;
        let above = rustix::fs::openat(current, c"..", flags, Mode::empty())?;
        if FolderId::from(&stat_open(&above)?) != level.id {
            return Err(io::Error::other("moved away while it was removed"));
        }
        change(above.as_fd(), || rustix::fs::unlinkat(&above, &done.name, AtFlags::REMOVEDIR))?;
        Ok(Some(above))
    }
}

/// Removes anything but a folder; false if it is one.
fn unlink(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match change(folder, || rustix::fs::unlinkat(folder, name, AtFlags::empty())) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        // What POSIX says for folders, and what some file systems still answer.
        Err(Errno::PERM) if stat_at(folder, name)?.kind == EntryKind::Dir => Ok(false),
        Err(error) => Err(error.into()),
    }
}
