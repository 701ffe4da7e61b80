//! The folder that a target lives in, and the only ways to reach what is inside.
//!
//! Every path is resolved relative to one descriptor, so it stays below the root whatever is
//! planted there: by `openat2` with BENEATH and NO_SYMLINKS where the kernel has it, else
//! segment by segment with O_NOFOLLOW. Knows nothing of keys' meaning or of content.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{self, Mode, OFlags, ResolveFlags},
    io::{Errno, retry_on_intr},
};

/// Result of a system call.
pub(crate) type SysResult<T> = Result<T, Errno>;

/// Folders are for their owner only.
const FOLDER_MODE: Mode = Mode::RWXU;

/// How many folders are remembered as durable before all are forgotten.
const DURABLE_MAX: usize = 4096;

/// How paths of several segments are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resolver {
    /// In the kernel, by one `openat2`.
    Kernel,
    /// By us, one segment at a time.
    Segments,
}

/// An open root folder.
#[derive(Debug)]
pub(crate) struct Root {
    dir: OwnedFd,
    path: PathBuf,
    resolver: Resolver,
    /// Folders whose own names are known to be on disk. Right as long as nobody removes folders
    /// behind our back; a target never does.
    durable: Mutex<HashSet<String>>,
    /// Set for good once a folder could not be brought to disk: a later sync of the same folder
    /// may well succeed without what the failed one dropped.
    is_distrusted: AtomicBool,
}

impl Root {
    /// Opens an existing folder; symbolic links on the way to it are the caller's and followed.
    pub(crate) fn open(path: &Path) -> SysResult<Self> {
        let dir = retry_on_intr(|| fs::open(path, FOLDER_FLAGS, Mode::empty()))?;
        // Where openat2 is unknown, or forbidden by a sandbox, even the root itself fails.
        let resolver = match fs::openat2(&dir, ".", FOLDER_FLAGS, Mode::empty(), BELOW) {
            Ok(_) => Resolver::Kernel,
            Err(_) => Resolver::Segments,
        };
        let root = Self::with(dir, path, resolver);
        // Reading the names inside is not enough: they must be reachable.
        root.open_folder("").map(|_| root)
    }

    fn with(dir: OwnedFd, path: &Path, resolver: Resolver) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            dir,
            path,
            resolver,
            durable: Mutex::default(),
            is_distrusted: AtomicBool::new(false),
        }
    }

    /// The same folder, resolved in the other way.
    #[cfg(test)]
    pub(crate) fn resolved_by(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// Where it is, for people.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor of the root itself.
    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Opens the folder at `path`; empty is the root.
    pub(crate) fn open_folder(&self, path: &str) -> SysResult<OwnedFd> {
        self.open_below(if path.is_empty() { "." } else { path }, FOLDER_FLAGS)
    }

    /// Opens what is at `path` with `flags`; a symbolic link anywhere is an error.
    pub(crate) fn open_below(&self, path: &str, flags: OFlags) -> SysResult<OwnedFd> {
        match self.resolver {
            Resolver::Kernel => self.open_in_kernel(path, flags),
            Resolver::Segments => self.open_by_segments(path, flags),
        }
    }

    fn open_in_kernel(&self, path: &str, flags: OFlags) -> SysResult<OwnedFd> {
        // The kernel gives up with AGAIN when something is renamed at the same moment.
        const TRIES: usize = 64;
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut last = Errno::AGAIN;
        for _ in 0..TRIES {
            match fs::openat2(&self.dir, path, flags, Mode::empty(), BELOW) {
                Err(errno @ (Errno::AGAIN | Errno::INTR)) => last = errno,
                result => return result,
            }
        }
        Err(last)
    }

    fn open_by_segments(&self, path: &str, flags: OFlags) -> SysResult<OwnedFd> {
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (Some(self.open_by_segments(parent, FOLDER_FLAGS)?), name),
            None => (None, path),
        };
        open_in(parent.as_ref().unwrap_or(&self.dir), name, flags)
    }

    /// Opens the folder at `path`, creating it and its parents where they are missing. When this
    /// returns, the names of all of them are on disk.
    pub(crate) fn make_folder(&self, path: &str) -> SysResult<OwnedFd> {
        if path.is_empty() || self.is_durable(path) {
            match self.open_folder(path) {
                Err(Errno::NOENT) => self.forget_durable(),
                result => return result,
            }
        }
        let mut folder = self.open_folder("")?;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let so_far = &path[..end];
            let name = so_far.rsplit('/').next().unwrap_or(so_far);
            match retry_on_intr(|| fs::mkdirat(&folder, name, FOLDER_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let child = open_in(&folder, name, FOLDER_FLAGS)?;
            if !self.is_durable(so_far) {
                // Also when another process made it: it may not have synced it yet.
                self.sync_folder(&folder)?;
                self.remember_durable(so_far);
            }
            folder = child;
        }
        Ok(folder)
    }

    /// Brings the names in `folder` to disk. Once this has failed, it fails always.
    pub(crate) fn sync_folder(&self, folder: &OwnedFd) -> SysResult<()> {
        if self.is_distrusted.load(Ordering::SeqCst) {
            return Err(Errno::IO);
        }
        retry_on_intr(|| fs::fsync(folder))
            .inspect_err(|_| self.is_distrusted.store(true, Ordering::SeqCst))
    }

    fn is_durable(&self, path: &str) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    fn remember_durable(&self, path: &str) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.insert(path.to_owned());
    }

    fn forget_durable(&self) {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Opens `name`, a single segment, inside `folder`; a symbolic link is an error.
pub(crate) fn open_in(folder: &OwnedFd, name: &str, flags: OFlags) -> SysResult<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    retry_on_intr(|| fs::openat(folder, name, flags, Mode::empty()))
}

/// Creates the folder `path` and its missing parents, each 0700 and its name on disk. An existing
/// folder is left as it is.
pub(crate) fn create_root(path: &Path) -> SysResult<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(Errno::INVAL),
    };
    create_root(parent)?;
    match retry_on_intr(|| fs::mkdir(path, FOLDER_MODE)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let parent = retry_on_intr(|| fs::open(parent, FOLDER_FLAGS, Mode::empty()))?;
    retry_on_intr(|| fs::fsync(&parent))
}
