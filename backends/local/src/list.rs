//! Walking the folders below a prefix, a batch at a time, in memory bounded by their depth.
//!
//! What is not a plain file under a valid key is no object and left out: temporary files, files
//! of other programs, symbolic links. Every call blocks.

use std::{os::fd::OwnedFd, sync::Arc};

use rustix::{
    fs::{self, AtFlags, Dir, DirEntry, FileType, OFlags, Stat},
    io::Errno,
};
use strongroom_core::target::{
    KeyPrefix, ObjectKey, ObjectMeta, Operation, TargetError, TargetResult,
};

use crate::{
    error::failed,
    read::meta,
    root::{Root, SysResult, open_in},
};

/// How many objects are handed over at once.
const BATCH_OBJECTS: usize = 512;

/// A listing under way: the folders from the prefix down to where it is.
#[derive(Debug)]
pub(crate) struct Walk {
    folders: Vec<Folder>,
}

#[derive(Debug)]
struct Folder {
    path: String,
    fd: OwnedFd,
    entries: Dir,
}

impl Folder {
    fn new(path: String, fd: OwnedFd) -> TargetResult<Self> {
        match Dir::read_from(&fd) {
            Ok(entries) => Ok(Self { path, fd, entries }),
            Err(errno) => Err(not_listed(&path, errno)),
        }
    }

    /// The path of `entry`, if it may be a key or a folder of keys.
    fn path_of(&self, entry: &DirEntry) -> Option<ObjectKey> {
        let name = entry.file_name().to_str().ok()?;
        if name.contains('/') {
            return None;
        }
        let path = if self.path.is_empty() { name } else { &format!("{}/{name}", self.path) };
        ObjectKey::parse(path).ok()
    }
}

/// What an entry turned out to be.
enum Found {
    Object(ObjectMeta),
    Folder(Folder),
    Other,
}

impl Walk {
    /// Begins at `prefix`; one that is missing, or no folder, has no objects.
    pub(crate) fn begin(root: &Arc<Root>, prefix: &KeyPrefix) -> TargetResult<Self> {
        let path = prefix.as_str();
        let folders = match root.open_folder(path) {
            Ok(fd) => vec![Folder::new(path.to_owned(), fd)?],
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Vec::new(),
            Err(errno) => return Err(not_listed(path, errno)),
        };
        Ok(Self { folders })
    }

    /// The next objects; empty at the end. A listing that is not complete is an error.
    pub(crate) fn next_batch(&mut self) -> TargetResult<Vec<ObjectMeta>> {
        let mut batch = Vec::new();
        while batch.len() < BATCH_OBJECTS {
            let Some(folder) = self.folders.last_mut() else { break };
            match folder.entries.read() {
                None => drop(self.folders.pop()),
                Some(Err(errno)) => return Err(not_listed(&folder.path, errno)),
                Some(Ok(entry)) => match look_at(folder, &entry)? {
                    Found::Object(object) => batch.push(object),
                    Found::Folder(child) => self.folders.push(child),
                    Found::Other => {}
                },
            }
        }
        Ok(batch)
    }
}

fn look_at(folder: &Folder, entry: &DirEntry) -> TargetResult<Found> {
    let Some(key) = folder.path_of(entry) else { return Ok(Found::Other) };
    let found = match entry.file_type() {
        FileType::Directory => open_child(folder, &key).map(Some),
        FileType::RegularFile | FileType::Unknown => match stat(folder, entry) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => return Ok(Found::Object(meta(key, &stat))),
                FileType::Directory => open_child(folder, &key).map(Some),
                _ => Ok(None),
            },
            Err(errno) => Err(errno),
        },
        _ => Ok(None),
    };
    match found {
        Ok(Some(fd)) => Folder::new(key.as_str().to_owned(), fd).map(Found::Folder),
        // Gone, or replaced by something else, since its name was read.
        Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Found::Other),
        Err(errno) => Err(not_listed(key.as_str(), errno)),
    }
}

fn stat(folder: &Folder, entry: &DirEntry) -> SysResult<Stat> {
    fs::statat(&folder.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
}

fn open_child(folder: &Folder, key: &ObjectKey) -> SysResult<OwnedFd> {
    open_in(&folder.fd, key.name(), OFlags::RDONLY | OFlags::DIRECTORY)
}

fn not_listed(path: &str, errno: Errno) -> TargetError {
    failed(Operation::List, "read the folder", errno).at(if path.is_empty() { "." } else { path })
}
