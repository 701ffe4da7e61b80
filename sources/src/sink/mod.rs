//! A folder of this machine that a snapshot is restored into.
//!
//! Every step is relative to an open folder and takes one name, links never followed: whatever a
//! snapshot says, and whoever swaps folders for links meanwhile, nothing is written outside.
//! Files, links and the rest are made under a temporary name and renamed when they are complete.

mod dir;
mod file;
mod metadata;
mod remove;
mod temporary;
#[cfg(test)]
mod tests;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{CWD, Mode, OFlags};
use strongroom_core::source::{Sink, SinkDir};

use self::{dir::FileSinkDir, temporary::TemporaryNames};
use crate::system::owners::Owners;

/// How owners are restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileSinkOptions {
    /// Leaves owner and group as the system sets them.
    pub no_owner: bool,
    /// Takes the stored numbers; else names count, and numbers only where a name is unknown.
    pub numeric_owner: bool,
}

/// A folder of this machine as a [`Sink`].
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// What all folders of a sink share.
#[derive(Debug)]
struct Shared {
    options: FileSinkOptions,
    owners: Owners,
    names: TemporaryNames,
    /// Only root may give files away; for others a refusal is no news.
    is_root: bool,
}

impl FileSink {
    /// A sink at `path`, which is created (mode 0700, with its parents) when it is first used.
    pub fn new(path: &Path, options: FileSinkOptions) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let (owners, names) = (Owners::default(), TemporaryNames::new());
        let shared = Arc::new(Shared { options, owners, names, is_root });
        Self { path: path.to_owned(), shared }
    }
}

impl Sink for FileSink {
    fn root(&self) -> io::Result<Arc<dyn SinkDir>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(CWD, &self.path, flags, Mode::empty())?;
        Ok(Arc::new(FileSinkDir::new(descriptor, self.shared.clone())))
    }

    fn available_bytes(&self) -> Option<u64> {
        // the folder need not exist yet
        let existing = self
            .path
            .ancestors()
            .find(|path| path.is_dir())
            .or_else(|| self.path.is_relative().then(|| Path::new(".")))?;
        let space = rustix::fs::statvfs(existing).ok()?;
        Some(space.f_bavail.saturating_mul(space.f_frsize))
    }
}
