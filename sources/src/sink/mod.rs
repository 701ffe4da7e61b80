//! The file sink: a folder of this machine that a tree is restored into.
//!
//! Whatever a snapshot holds and whoever changes the target meanwhile, nothing is written
//! outside of the target: every name is checked to be a single one, and every call is relative
//! to an open folder and does not follow links. Files become visible complete or not at all.
//!
//! Knows nothing of where the content comes from.

mod file;
mod folder;
mod leftovers;
mod metadata;
mod permit;
mod remove;

use std::{
    fs::DirBuilder,
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{Mode, OFlags};
use strongroom_core::source::{Sink, SinkDir};

use crate::system::owners::Owners;
use folder::FileDir;

/// Who is to own what is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OwnerPolicy {
    /// The user and group of the saved names, if this machine has them, else of the saved ids.
    #[default]
    Names,
    /// The saved ids.
    Numeric,
    /// Whoever restores.
    None,
}

/// How a [`FileSink`] restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileSinkOptions {
    /// Who is to own what is restored.
    pub owner: OwnerPolicy,
    /// Without the right to change owners, reports every owner that could not be set; otherwise
    /// only root does. In any case the set-user-id and set-group-id bits are left out, and
    /// reported, where the owner or group they were meant for could not be set.
    pub report_owner_failures: bool,
    /// Leaves extended attributes alone, ACLs and capabilities among them.
    pub skip_xattrs: bool,
}

/// A folder of this machine as a [`Sink`].
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    shared: Arc<Shared>,
}

/// What all folders and files of a sink share.
#[derive(Debug)]
struct Shared {
    options: FileSinkOptions,
    owners: Owners,
    is_root: bool,
    /// What the names of this sink's unfinished files start with.
    temporary_prefix: String,
    temporary_count: AtomicU64,
}

impl FileSink {
    /// A sink that restores into `path`. Nothing is created yet.
    pub fn new(path: impl Into<PathBuf>, options: FileSinkOptions) -> Self {
        // Only has to differ from that of another restore into the same folder.
        let unique = RandomState::new().build_hasher().finish();
        let shared = Shared {
            options,
            owners: Owners::default(),
            is_root: rustix::process::geteuid().is_root(),
            temporary_prefix: leftovers::prefix(unique),
            temporary_count: AtomicU64::new(0),
        };
        Self { path: path.into(), shared: Arc::new(shared) }
    }
}

impl Shared {
    fn temporary_name(&self) -> String {
        let number = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        format!("{}{number:x}", self.temporary_prefix)
    }
}

impl Sink for FileSink {
    /// Folders that are missing on the way are created for the user alone (mode 0700). Links on
    /// the way are followed: that is how the user named the target.
    fn root(&self) -> io::Result<Arc<dyn SinkDir>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(&self.path, flags, Mode::empty())?;
        Ok(Arc::new(FileDir::new(descriptor, Arc::clone(&self.shared))))
    }

    fn available_bytes(&self) -> Option<u64> {
        let path = std::path::absolute(&self.path).ok()?;
        let existing = path.ancestors().find(|path: &&Path| path.exists())?;
        let found = rustix::fs::statvfs(existing).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn exists(&self) -> bool {
        self.path.exists()
    }

    fn leaves_out_xattrs(&self) -> bool {
        self.shared.options.skip_xattrs
    }
}
