//! An open folder of the file sink.

use std::{any::Any, ffi::CString, io, sync::Arc};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, makedev},
    io::Errno,
};
use strongroom_core::{
    entry::{Details, Entry, EntryKind, Stat, is_valid_name},
    source::{SinkDir, SinkFile, SinkRead},
};

use super::{
    Shared,
    file::{ExistingFile, NewFile},
    metadata,
    remove::remove_all,
    temporary::{discard, put_in_place},
};
use crate::system::{
    details::details_at,
    listing::Listing,
    node::{Node, OPEN_SAFELY, expect_kind},
    stat::{stat_at, stat_open},
};

pub(super) const OPEN_FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OPEN_SAFELY);

/// An open folder.
#[derive(Debug)]
pub(super) struct FileSinkDir {
    descriptor: Arc<OwnedFd>,
    shared: Arc<Shared>,
}

impl FileSinkDir {
    pub(super) fn new(descriptor: OwnedFd, shared: Arc<Shared>) -> Self {
        Self { descriptor: Arc::new(descriptor), shared }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn open(&self, name: &CString) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.fd(), name, OPEN_FOLDER, Mode::empty())
    }

    fn make_special(&self, temporary: &CString, entry: &Entry) -> Result<(), Errno> {
        let stat = &entry.stat;
        let kind = match stat.kind {
            EntryKind::Symlink => {
                let target = entry.details.link_target.as_deref().unwrap_or_default();
                return rustix::fs::symlinkat(target, self.fd(), temporary);
            }
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Socket => FileType::Socket,
            EntryKind::BlockDevice => FileType::BlockDevice,
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::File | EntryKind::Dir => return Err(Errno::INVAL),
        };
        let (major, minor) = ((stat.device_number >> 32) as u32, stat.device_number as u32);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(self.fd(), temporary, kind, mode, makedev(major, minor))
    }
}

/// A name as the system takes it: one component, nothing else.
pub(super) fn checked(name: &[u8]) -> io::Result<CString> {
    if !is_valid_name(name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a name of an entry"));
    }
    Ok(CString::new(name)?)
}

impl SinkDir for FileSinkDir {
    fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        // a descriptor of its own: reading moves a position
        let folder = self.open(&CString::from(c"."))?;
        let mut listing = Listing::new();
        listing.read(&folder)?;
        Ok(listing.names().map(|name| name.to_bytes().to_vec()).collect())
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match stat_at(self.fd(), &checked(name)?) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn details(&self, name: &[u8]) -> io::Result<Details> {
        let name = checked(name)?;
        let stat = stat_at(self.fd(), &name)?;
        details_at(self.fd(), &name, &stat, &self.shared.owners)
    }

    fn open_file(&self, name: &[u8]) -> io::Result<Box<dyn SinkRead>> {
        let flags = OFlags::RDONLY | OPEN_SAFELY;
        let file = rustix::fs::openat(self.fd(), &checked(name)?, flags, Mode::empty())?;
        expect_kind(&stat_open(&file)?, EntryKind::File)?;
        Ok(Box::new(ExistingFile::new(file)))
    }

    fn open_dir(&self, name: &[u8], replace: bool) -> io::Result<(Arc<dyn SinkDir>, bool)> {
        let name = checked(name)?;
        let opened = |descriptor| Arc::new(Self::new(descriptor, self.shared.clone()));
        match self.open(&name) {
            Ok(descriptor) => return Ok((opened(descriptor), false)),
            Err(Errno::NOENT) => {}
            Err(Errno::NOTDIR | Errno::LOOP) if replace => {
                rustix::fs::unlinkat(self.fd(), &name, AtFlags::empty())?;
            }
            Err(error) => return Err(error.into()),
        }
        rustix::fs::mkdirat(self.fd(), &name, Mode::RWXU)?;
        Ok((opened(self.open(&name)?), true))
    }

    fn create_file(&self, name: &[u8], size: u64) -> io::Result<Box<dyn SinkFile>> {
        let name = checked(name)?;
        let file = NewFile::create(self.descriptor.clone(), name, size, self.shared.clone())?;
        Ok(Box::new(file))
    }

    fn create_special(&self, entry: &Entry) -> io::Result<()> {
        let name = checked(&entry.name)?;
        let make = |temporary: &CString| self.make_special(temporary, entry);
        let (temporary, ()) = self.shared.names.make(make)?;
        put_in_place(self.fd(), &temporary, &name)
    }

    fn create_hard_link(
        &self,
        name: &[u8],
        folder: &dyn SinkDir,
        original: &[u8],
    ) -> io::Result<()> {
        let (name, original) = (checked(name)?, checked(original)?);
        let folder = folder.as_any().downcast_ref::<Self>();
        let folder = folder.ok_or_else(|| io::Error::other("a folder of another sink"))?;
        let link = |temporary: &CString| {
            // without SYMLINK_FOLLOW a link to a link is made, never to what it points to
            rustix::fs::linkat(folder.fd(), &original, self.fd(), temporary, AtFlags::empty())
        };
        let (temporary, ()) = self.shared.names.make(link)?;
        put_in_place(self.fd(), &temporary, &name)?;
        // renaming one name of an inode onto another one leaves both
        discard(self.fd(), &temporary);
        Ok(())
    }

    fn set_metadata(&self, name: &[u8], entry: &Entry) -> Vec<String> {
        let node = checked(name).and_then(|name| {
            let node = Node::hold(self.fd(), &name, entry.stat.kind)?;
            node.expect(entry.stat.kind)?;
            Ok(node)
        });
        match node {
            Ok(node) => metadata::apply(&node, entry, &self.shared),
            Err(error) => vec![format!("metadata not set: {error}")],
        }
    }

    fn remove(&self, name: &[u8]) -> io::Result<()> {
        remove_all(self.fd(), &checked(name)?)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
