//! Files of the sink: one being written, one to compare with.

use std::{
    ffi::CString,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
};
use strongroom_core::{
    entry::Entry,
    source::{SinkFile, SinkRead},
};

use super::{
    Shared, metadata,
    temporary::{discard, put_in_place},
};
use crate::system::node::{Node, OPEN_SAFELY};

/// A file that is not complete yet: it has a temporary name, and goes with it.
#[derive(Debug)]
pub(super) struct NewFile {
    folder: Arc<OwnedFd>,
    temporary: Option<CString>,
    name: CString,
    /// Taken when the file is finished.
    file: Option<OwnedFd>,
    size: u64,
    /// One past the last byte written.
    end: AtomicU64,
    shared: Arc<Shared>,
}

impl NewFile {
    pub(super) fn create(
        folder: Arc<OwnedFd>,
        name: CString,
        size: u64,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OPEN_SAFELY;
        let mode = Mode::RUSR | Mode::WUSR;
        let (temporary, file) =
            shared.names.make(|temporary| rustix::fs::openat(&*folder, temporary, flags, mode))?;
        let (temporary, file) = (Some(temporary), Some(file));
        Ok(Self { folder, temporary, name, file, size, end: AtomicU64::new(0), shared })
    }
}

impl SinkFile for NewFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or_else(finished)?;
        let (mut position, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            match rustix::io::pwrite(file, rest, position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    position += count as u64;
                    rest = &rest[count..];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.end.fetch_max(position, Ordering::Relaxed);
        Ok(())
    }

    fn finish(mut self: Box<Self>, entry: &Entry) -> io::Result<Vec<String>> {
        let file = self.file.take().ok_or_else(finished)?;
        if *self.end.get_mut() < self.size {
            rustix::fs::ftruncate(&file, self.size)?;
        }
        let problems = metadata::apply(&Node::Open(file), entry, &self.shared);
        if let Some(temporary) = self.temporary.take() {
            put_in_place(self.folder.as_fd(), &temporary, &self.name)?;
        }
        Ok(problems)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            discard(self.folder.as_fd(), &temporary);
        }
    }
}

fn finished() -> io::Error {
    io::Error::other("the file is finished")
}

/// A file that is there already.
#[derive(Debug)]
pub(super) struct ExistingFile(OwnedFd);

impl ExistingFile {
    pub(super) fn new(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl SinkRead for ExistingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&self.0, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }
}
