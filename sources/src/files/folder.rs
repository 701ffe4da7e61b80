//! An open folder of the file source: details and content of the entries in it.
//!
//! Everything is relative to the folder's descriptor and follows no link.

use std::{
    ffi::{CStr, CString},
    io,
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
};
use strongroom_core::{
    entry::{Details, EntryKind},
    source::{Folder, Found, SourceFile},
};

use super::reader::FileReader;
use crate::system::{
    details::details_at,
    node::{OPEN_SAFELY, expect_kind},
    owners::Owners,
    stat::stat_open,
};

/// What all folders of a source share.
#[derive(Debug)]
pub(super) struct Shared {
    owners: Owners,
    user: u32,
}

impl Default for Shared {
    fn default() -> Self {
        Self { owners: Owners::default(), user: rustix::process::geteuid().as_raw() }
    }
}

impl Shared {
    /// Opens `name` in `folder`, which belongs to `owner`, without changing its time of last
    /// access if the system allows that: it does for the owner and for root.
    pub(super) fn open(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        flags: OFlags,
        owner: u32,
    ) -> io::Result<OwnedFd> {
        if self.user == 0 || self.user == owner {
            match rustix::fs::openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
                Err(Errno::PERM) => {}
                outcome => return Ok(outcome?),
            }
        }
        Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
    }
}

/// An open folder.
#[derive(Debug)]
pub(super) struct FileFolder {
    descriptor: OwnedFd,
    shared: Arc<Shared>,
}

impl FileFolder {
    pub(super) fn new(descriptor: OwnedFd, shared: Arc<Shared>) -> Self {
        Self { descriptor, shared }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Folder for FileFolder {
    fn details(&self, found: &Found) -> io::Result<Details> {
        let name = CString::new(found.name.as_slice())?;
        details_at(self.descriptor(), &name, &found.stat, &self.shared.owners)
    }

    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>> {
        let name = CString::new(found.name.as_slice())?;
        if found.stat.kind != EntryKind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        let flags = OFlags::RDONLY | OPEN_SAFELY;
        let descriptor = self.shared.open(self.descriptor(), &name, flags, found.stat.uid)?;
        expect_kind(&stat_open(&descriptor)?, EntryKind::File)?;
        Ok(Box::new(FileReader::new(descriptor)))
    }
}

/// Stands for a folder that could not be opened: nothing in it can be read.
#[derive(Debug)]
pub(super) struct ClosedFolder;

impl Folder for ClosedFolder {
    fn details(&self, _: &Found) -> io::Result<Details> {
        Err(io::Error::other("the folder could not be opened"))
    }

    fn open(&self, _: &Found) -> io::Result<Box<dyn SourceFile>> {
        Err(io::Error::other("the folder could not be opened"))
    }
}
