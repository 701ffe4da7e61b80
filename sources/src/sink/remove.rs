//! Removing a whole tree, however deep, with two descriptors and without following links.

use std::{
    ffi::{CStr, CString},
    io,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::dir::OPEN_FOLDER;
use crate::system::{
    listing::Listing,
    stat::{FolderId, stat_open},
};

/// Removes `name` in `folder`, with everything below it.
pub(super) fn remove_all(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut current = Level::enter(folder, name)?;
    // the folders above `current`, outermost first: which they are, and what they hold of us
    let mut above: Vec<(FolderId, CString)> = Vec::new();
    loop {
        match current.clear()? {
            Some(child) => {
                let inner = Level::enter(current.descriptor.as_fd(), &child)?;
                above.push((current.id, child));
                current = inner;
            }
            None => {
                let Some((id, child)) = above.pop() else { break };
                current = current.leave(id)?;
                rustix::fs::unlinkat(&current.descriptor, &child, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

struct Level {
    descriptor: OwnedFd,
    id: FolderId,
}

impl Level {
    fn enter(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Self> {
        let descriptor = rustix::fs::openat(folder, name, OPEN_FOLDER, Mode::empty())?;
        let id = FolderId::from(&stat_open(&descriptor)?);
        Ok(Self { descriptor, id })
    }

    /// Goes up to the folder `id`; refuses if this one was moved elsewhere meanwhile.
    fn leave(self, id: FolderId) -> io::Result<Self> {
        let up = Self::enter(self.descriptor.as_fd(), c"..")?;
        if up.id == id { Ok(up) } else { Err(io::Error::other("moved while it was removed")) }
    }

    /// Removes everything but folders; returns one of those that are left.
    fn clear(&self) -> io::Result<Option<CString>> {
        let mut listing = Listing::new();
        // a descriptor of its own, at the beginning of the list
        let fresh = rustix::fs::openat(&self.descriptor, c".", OPEN_FOLDER, Mode::empty())?;
        listing.read(&fresh)?;
        for name in listing.names() {
            match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
