//! A file being restored: under a temporary name until it is complete.
//!
//! Space is not reserved beforehand: which ranges stay holes is not known here, and file systems
//! choose the blocks when the data is written out, in order of the file.

use std::{
    ffi::CString,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{Mode, OFlags},
    io::retry_on_intr,
};
use strongroom_core::{
    entry::{Entry, EntryKind},
    source::SinkFile,
};

use super::{folder::OpenFolder, leftovers, metadata::Restorer};
use crate::system::node::{Node, OPEN_SAFELY};

/// A file being restored.
pub(super) struct NewFile {
    node: Node,
    folder: Arc<OpenFolder>,
    name: CString,
    /// The name until it is finished; `None` once it is.
    temporary: Option<CString>,
    size: u64,
    /// Where the data written so far ends.
    end: AtomicU64,
}

impl NewFile {
    /// Starts a file that only the user may read.
    pub(super) fn create(folder: Arc<OpenFolder>, name: CString, size: u64) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OPEN_SAFELY;
        let (temporary, descriptor) = folder.make_temporary(|temporary| {
            rustix::fs::openat(&*folder, temporary, flags, Mode::RUSR | Mode::WUSR)
        })?;
        leftovers::hold(&descriptor);
        Ok(Self {
            node: Node::Open(descriptor),
            folder,
            name,
            temporary: Some(temporary),
            size,
            end: AtomicU64::new(0),
        })
    }
}

impl SinkFile for NewFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the file"));
        };
        let mut written = 0;
        while written < bytes.len() {
            let position = offset + written as u64;
            let rest = &bytes[written..];
            match retry_on_intr(|| rustix::io::pwrite(self.node.descriptor(), rest, position))? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                length => written += length,
            }
        }
        self.end.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    fn finish(mut self: Box<Self>, entry: &Entry) -> io::Result<Vec<String>> {
        if *self.end.get_mut() < self.size {
            // The file ends in a hole.
            rustix::fs::ftruncate(self.node.descriptor(), self.size)?;
        }
        let current = self.node.expect(EntryKind::File)?;
        let restorer = Restorer::new(&self.folder.shared);
        let problems = restorer.restore(&self.node, &current, entry);
        if let Some(temporary) = self.temporary.take() {
            self.folder.publish(&temporary, &self.name)?;
        }
        Ok(problems)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            self.folder.discard(&temporary);
        }
    }
}

impl fmt::Debug for NewFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewFile").field("name", &self.name).field("size", &self.size).finish()
    }
}
