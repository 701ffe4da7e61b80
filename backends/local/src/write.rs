//! Writing an object so that it exists whole and durable, or not at all.
//!
//! Temporary file, its bytes to disk, its name into place, the folder to disk. A failed sync is
//! never repeated, as the kernel may have dropped what it could not write and call the next one
//! good: of content, a new try writes all of it anew; of a folder, there is no new try.
//! Knows nothing of async: every call blocks.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::{Errno, retry_on_intr},
};
use strongroom_core::target::{
    ObjectKey, Operation, PutMode, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    content::ContentWriter,
    error::{failed, refused},
    root::{Root, SysResult},
};

/// Where unfinished objects lie; begins with a dot, so it can never be part of a key.
pub(crate) const TEMP_FOLDER: &str = ".strongroom-tmp";

/// Leftovers older than this belong to nobody any more.
const LEFTOVER_AGE_SECONDS: i64 = 24 * 60 * 60;

/// An object that is being written; removed when dropped before [`TempFile::publish`].
#[derive(Debug)]
pub(crate) struct TempFile {
    root: Arc<Root>,
    folder: OwnedFd,
    content: ContentWriter,
    /// Empty once the object has its own name.
    name: String,
}

impl TempFile {
    /// Begins to write the object `key`.
    pub(crate) fn begin(root: &Arc<Root>, key: &ObjectKey, mode: PutMode) -> TargetResult<Self> {
        if mode == PutMode::Create {
            look_first(root, key)?;
        }
        Self::new(root)
    }

    /// A new, empty one with mode 0600.
    pub(crate) fn new(root: &Arc<Root>) -> TargetResult<Self> {
        let create = || -> SysResult<Self> {
            let folder = root.make_folder(TEMP_FOLDER)?;
            let (file, name) = create_unique(&folder)?;
            Ok(Self { root: root.clone(), folder, content: ContentWriter::new(file), name })
        };
        create().map_err(|errno| failed(Operation::Put, "create a temporary file", errno))
    }

    /// Appends `parts`; all at once is best.
    pub(crate) fn write(&mut self, parts: &[Bytes]) -> TargetResult<()> {
        self.content.append(parts).map_err(|errno| failed(Operation::Put, "write", errno))
    }

    /// Gives the object its name. When this returns, it is on disk.
    pub(crate) fn publish(mut self, key: &ObjectKey, mode: PutMode) -> TargetResult<()> {
        let step = |step| move |errno| failed(Operation::Put, step, errno);
        self.content.finish().map_err(step("bring the content to disk"))?;
        let (path, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let parent = self.root.make_folder(path).map_err(step("create the folder"))?;
        // From here on a second try might find this one's object and take it for proof that all
        // is well, although it never reached the disk: such failures are final.
        let named = match mode {
            PutMode::Create => self.name_if_free(&parent, name),
            PutMode::Replace => self.name_anyway(&parent, name),
        };
        named.map_err(|errno| not_named(&parent, name, errno))?;
        self.root.sync_folder(&parent).map_err(|errno| {
            if mode == PutMode::Create {
                // What may be gone after a power cut must not be seen before it either. Nothing
                // better can be done if this fails too: the error says that nothing is written.
                let _ = fs::unlinkat(&parent, name, AtFlags::empty());
            }
            failed(Operation::Put, "bring the name to disk", errno).retryable(false)
        })
    }

    /// Gives the file its name, in place of whatever has it, as one step.
    fn name_anyway(&mut self, parent: &OwnedFd, name: &str) -> SysResult<()> {
        retry_on_intr(|| fs::renameat(&self.folder, &self.name, parent, name))?;
        self.name.clear();
        Ok(())
    }

    /// Gives the file its name unless that is taken, as one step.
    fn name_if_free(&mut self, parent: &OwnedFd, name: &str) -> SysResult<()> {
        let flags = RenameFlags::NOREPLACE;
        match retry_on_intr(|| fs::renameat_with(&self.folder, &self.name, parent, name, flags)) {
            Ok(()) => {
                self.name.clear();
                Ok(())
            }
            // The file system does not know this flag; network file systems, mostly.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.link(parent, name),
            Err(errno) => Err(errno),
        }
    }

    /// The same by a hard link; the temporary name goes when `self` is dropped.
    fn link(&self, parent: &OwnedFd, name: &str) -> SysResult<()> {
        let flags = AtFlags::empty();
        match retry_on_intr(|| fs::linkat(&self.folder, &self.name, parent, name, flags)) {
            // NFS repeats a request whose answer was lost: a second link can only be that one.
            Err(Errno::EXIST) if fs::fstat(self.content.file())?.st_nlink > 1 => Ok(()),
            result => result,
        }
    }
}

impl Drop for TempFile {
    /// Removes the temporary name, if it is still there. Failing is harmless: leftovers are never
    /// listed, and removed when they are old.
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// What it means that a name could not be given.
fn not_named(parent: &OwnedFd, name: &str, errno: Errno) -> TargetError {
    if !matches!(errno, Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) {
        return failed(Operation::Put, "give the object its name", errno).retryable(false);
    }
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode).is_dir() => {
            let why = "there is a folder of this name";
            refused(Operation::Put, TargetErrorKind::Invalid, why)
        }
        _ => already_exists(),
    }
}

fn already_exists() -> TargetError {
    let why = "an object of this name exists";
    refused(Operation::Put, TargetErrorKind::AlreadyExists, why)
}

/// Refuses a create of what is there already; a quick look that spares writing a doomed object.
fn look_first(root: &Root, key: &ObjectKey) -> TargetResult<()> {
    let found = root.open_below(key.as_str(), OFlags::PATH).and_then(fs::fstat);
    match found {
        Ok(found) if FileType::from_raw_mode(found.st_mode).is_file() => Err(already_exists()),
        _ => Ok(()),
    }
}

/// Creates a file that nobody else has: exclusively, under a name that is hard to meet twice
/// even among machines that share the folder.
fn create_unique(folder: &OwnedFd) -> SysResult<(OwnedFd, String)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    const TRIES: usize = 100;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for _ in 0..TRIES {
        // The standard library seeds its hash tables at random: enough to be unlikely, and
        // O_EXCL decides.
        let random = RandomState::new().build_hasher().finish();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{random:016x}-{number}");
        let mode = Mode::RUSR | Mode::WUSR;
        match retry_on_intr(|| fs::openat(folder, &name, flags, mode)) {
            Err(Errno::EXIST) => {}
            result => return result.map(|file| (file, name)),
        }
    }
    Err(Errno::AGAIN)
}

/// Removes temporary files that are older than a day, by the clock of the file system: their age
/// is their distance from a file made now. Best effort, as leftovers harm nobody; does not touch
/// a root that never was written to.
pub(crate) fn remove_leftovers(root: &Arc<Root>) {
    let Ok(folder) = root.open_folder(TEMP_FOLDER) else { return };
    let Ok(names) = fs::Dir::new(folder) else { return };
    let mut fresh = None;
    for entry in names.flatten().filter(|entry| entry.file_name().to_bytes().first() != Some(&b'.'))
    {
        if fresh.is_none() {
            fresh = TempFile::new(root).ok();
        }
        let Some(fresh) = &fresh else { return };
        let now = fs::fstat(fresh.content.file()).map_or(i64::MIN, |stat| stat.st_mtime);
        let found = fs::statat(&fresh.folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| found.st_mtime < now.saturating_sub(LEFTOVER_AGE_SECONDS)) {
            let _ = fs::unlinkat(&fresh.folder, entry.file_name(), AtFlags::empty());
        }
    }
}
