//! An open folder of the file sink.
//!
//! Every call takes single names, checked again here, relative to the folder's descriptor.

use std::{
    any::Any,
    ffi::{CStr, CString},
    io,
    sync::Arc,
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags},
    io::{Errno, retry_on_intr},
};
use strongroom_core::{
    entry::{Details, Entry, EntryKind, Stat, display_name, is_valid_name},
    source::{SinkDir, SinkFile, SinkRead},
};

use super::{
    Shared,
    file::NewFile,
    leftovers,
    metadata::Restorer,
    permit::{change, open_folder},
    remove::remove_all,
};
use crate::system::{
    details::details_at,
    listing::Listing,
    node::{Node, OPEN_SAFELY, expect_kind},
    stat::{stat_at, stat_open},
};

/// How often a name that was just free is tried again when somebody else takes it.
const ATTEMPTS_MAX: usize = 16;

/// An open folder, shared with the files that are being restored into it.
#[derive(Debug)]
pub(super) struct FileDir(Arc<OpenFolder>);

/// What a folder and its unfinished files share.
#[derive(Debug)]
pub(super) struct OpenFolder {
    descriptor: OwnedFd,
    pub(super) shared: Arc<Shared>,
}

impl AsFd for OpenFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl FileDir {
    pub(super) fn new(descriptor: OwnedFd, shared: Arc<Shared>) -> Self {
        Self(Arc::new(OpenFolder { descriptor, shared }))
    }

    fn restorer(&self) -> Restorer<'_> {
        Restorer::new(&self.0.shared)
    }
}

impl OpenFolder {
    /// Makes something under a name that nobody knows; gives the name.
    pub(super) fn make_temporary<T>(
        &self,
        make: impl Fn(&CStr) -> Result<T, Errno>,
    ) -> io::Result<(CString, T)> {
        for _ in 0..ATTEMPTS_MAX {
            let name = CString::new(self.shared.temporary_name())?;
            match change(self.as_fd(), || make(&name)) {
                Ok(made) => return Ok((name, made)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Gives what is complete under a temporary name its own one, in place of what is there.
    pub(super) fn publish(&self, temporary: &CStr, name: &CStr) -> io::Result<()> {
        let outcome = rustix::fs::renameat(self, temporary, self, name);
        if outcome.is_err() {
            self.discard(temporary);
        }
        Ok(outcome?)
    }

    /// Removes what is under a temporary name. If that fails there is nobody to tell.
    pub(super) fn discard(&self, temporary: &CStr) {
        let _ = rustix::fs::unlinkat(self, temporary, AtFlags::empty());
    }

    /// Makes something that is complete at once, in place of a non-folder that is there.
    fn make(&self, name: &CStr, make: impl Fn(&CStr) -> Result<(), Errno>) -> io::Result<()> {
        match change(self.as_fd(), || make(name)) {
            Err(Errno::EXIST) => {}
            outcome => return Ok(outcome?),
        }
        let (temporary, ()) = self.make_temporary(make)?;
        self.publish(&temporary, name)?;
        // Renaming one name of an inode to another name of it does nothing, and says success.
        self.discard(&temporary);
        Ok(())
    }

    fn make_folder(&self, name: &CStr) -> Result<(), Errno> {
        change(self.as_fd(), || rustix::fs::mkdirat(self, name, Mode::RWXU))
    }

    /// Opens the folder `name`; `None` if nothing is there.
    fn open_existing(&self, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
        match open_folder(self.as_fd(), name) {
            Ok(descriptor) => Ok(Some(descriptor)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl SinkDir for FileDir {
    fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        // A descriptor of its own, for reading moves the position that all users share.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OPEN_SAFELY;
        let folder = rustix::fs::openat(&*self.0, c".", flags, Mode::empty())?;
        let mut listing = Listing::new();
        listing.read(folder)?;
        // Files that other threads are just restoring are nobody else's business.
        let prefix = self.0.shared.temporary_prefix.as_bytes();
        listing.retain(|name| !name.starts_with(prefix));
        Ok(listing.names().map(|name| name.to_bytes().to_vec()).collect())
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        match stat_at(&*self.0, &checked(name)?) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn details(&self, name: &[u8]) -> io::Result<Details> {
        let name = checked(name)?;
        let stat = stat_at(&*self.0, &name)?;
        details_at(self.0.as_fd(), &name, &stat, &self.0.shared.owners)
    }

    fn open_file(&self, name: &[u8]) -> io::Result<Box<dyn SinkRead>> {
        let flags = OFlags::RDONLY | OPEN_SAFELY;
        let file = rustix::fs::openat(&*self.0, checked(name)?, flags, Mode::empty())?;
        expect_kind(&stat_open(&file)?, EntryKind::File)?;
        Ok(Box::new(ExistingFile(file)))
    }

    fn open_dir(&self, name: &[u8], replace: bool) -> io::Result<(Arc<dyn SinkDir>, bool)> {
        let name = checked(name)?;
        let mut created = false;
        for _ in 0..ATTEMPTS_MAX {
            match self.0.open_existing(&name) {
                Ok(Some(descriptor)) => {
                    let folder = Self::new(descriptor, Arc::clone(&self.0.shared));
                    return Ok((Arc::new(folder), created));
                }
                Ok(None) => match self.0.make_folder(&name) {
                    Ok(()) => created = true,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                },
                Err(Errno::NOTDIR | Errno::LOOP) if replace => {
                    created = false;
                    remove_all(self.0.as_fd(), &name)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("somebody else keeps replacing the folder"))
    }

    fn create_file(&self, name: &[u8], size: u64) -> io::Result<Box<dyn SinkFile>> {
        Ok(Box::new(NewFile::create(Arc::clone(&self.0), checked(name)?, size)?))
    }

    fn create_special(&self, entry: &Entry) -> io::Result<()> {
        let name = checked(&entry.name)?;
        let kind = match entry.stat.kind {
            EntryKind::Symlink => {
                let target = entry.details.link_target.as_deref().unwrap_or_default();
                return self.0.make(&name, |name| rustix::fs::symlinkat(target, &*self.0, name));
            }
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Socket => FileType::Socket,
            EntryKind::BlockDevice => FileType::BlockDevice,
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::File | EntryKind::Dir => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a special file"));
            }
        };
        let number = entry.stat.device_number;
        let device = rustix::fs::makedev((number >> 32) as u32, number as u32);
        let mode = Mode::RUSR | Mode::WUSR;
        self.0.make(&name, |name| rustix::fs::mknodat(&*self.0, name, kind, mode, device))
    }

    fn create_hard_link(
        &self,
        name: &[u8],
        folder: &dyn SinkDir,
        original: &[u8],
    ) -> io::Result<()> {
        let Some(folder) = folder.as_any().downcast_ref::<Self>() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a folder of another sink"));
        };
        let (name, original) = (checked(name)?, checked(original)?);
        self.0.make(&name, |name| {
            rustix::fs::linkat(&*folder.0, &original, &*self.0, name, AtFlags::empty())
        })
    }

    fn set_metadata(&self, name: &[u8], entry: &Entry) -> Vec<String> {
        let outcome = checked(name).and_then(|name| {
            let node = Node::hold(self.0.as_fd(), &name, entry.stat.kind)?;
            let current = node.expect(entry.stat.kind)?;
            Ok(self.restorer().restore(&node, &current, entry))
        });
        outcome.unwrap_or_else(|error| vec![format!("metadata: {error}")])
    }

    fn remove(&self, name: &[u8]) -> io::Result<()> {
        remove_all(self.0.as_fd(), &checked(name)?)
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        leftovers::remove(self.0.as_fd())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The name for the system, if it is a single one.
fn checked(name: &[u8]) -> io::Result<CString> {
    if !is_valid_name(name) {
        let message = format!("not a valid name: `{}`", display_name(name));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(CString::new(name)?)
}

/// An existing file, for comparison.
struct ExistingFile(OwnedFd);

impl SinkRead for ExistingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let position = offset.saturating_add(filled as u64);
            match retry_on_intr(|| rustix::io::pread(&self.0, &mut *rest, position))? {
                0 => break,
                length => filled += length,
            }
        }
        Ok(filled)
    }
}
