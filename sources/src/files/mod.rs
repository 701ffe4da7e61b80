//! The file source: folders and files of this machine, walked by descriptors.
//!
//! Paths in the tree are the absolute paths of the machine without the leading slash. The walk
//! never follows a link below a root, never opens a pipe, socket or device, and goes on past
//! everything that cannot be read.
//!
//! Knows nothing of what becomes of the entries.

mod content;
mod excludes;
mod folder;
mod problems;
mod reader;
mod roots;
mod tags;
mod walk;

use std::{io, path::PathBuf, sync::Arc};

use rustix::fs::{CWD, Mode, OFlags};
use strongroom_core::{
    entry::display_name,
    error::{Error, Result},
    source::{Scan, Source},
};

pub use crate::system::stat::FolderId;
pub use tags::Tag;
use {excludes::Excludes, folder::Shared, roots::Roots, walk::Walk};

/// What a [`FileSource`] takes in and what it leaves out.
#[derive(Debug, Clone, Default)]
pub struct FileSourceOptions {
    /// The files and folders to protect; relative ones are taken from the current folder.
    ///
    /// Links above a root are followed, for that is how the user named it; a root that is a link
    /// itself is saved as a link.
    pub roots: Vec<PathBuf>,
    /// Patterns in gitignore syntax of what to leave out; a later one overrides an earlier one,
    /// and all of them override those of [`Self::exclude_files`].
    ///
    /// A pattern with a leading slash is matched against the whole absolute path; every other
    /// one at any depth: `*.o`, `target/`, `.cache/mozilla`. A leading `!` takes in again what an
    /// earlier pattern left out, but not what lies in a folder that was left out. Roots are
    /// always taken.
    pub exclude_patterns: Vec<String>,
    /// Files with one such pattern a line; lines that are empty or start with `#` are skipped.
    pub exclude_files: Vec<PathBuf>,
    /// Of folders with a valid `CACHEDIR.TAG`, takes only the folder and the tag.
    pub exclude_caches: bool,
    /// Of folders that hold one of these, takes only the folder and the tag.
    pub exclude_if_present: Vec<Tag>,
    /// Leaves out files longer than this.
    pub exclude_larger_than_bytes: Option<u64>,
    /// Stays on the file system of each root; of a folder where another one is mounted, takes
    /// only the folder.
    pub one_file_system: bool,
    /// Folders to leave out, with a note: the repository, if it is a local one.
    pub skip_folders: Vec<FolderId>,
}

/// Files and folders of this machine as a [`Source`].
#[derive(Debug)]
pub struct FileSource {
    roots: Roots,
    excludes: Excludes,
    tags: Vec<Tag>,
    larger_than_bytes: Option<u64>,
    one_file_system: bool,
    skip_folders: Vec<FolderId>,
    shared: Arc<Shared>,
}

impl FileSource {
    /// A source of what `options` say. Nothing is walked yet.
    ///
    /// # Errors
    /// `Invalid` if there is no root, a root cannot be made absolute, or a pattern or a tag is
    /// not one; `Io` if a file with patterns cannot be read.
    pub fn new(options: FileSourceOptions) -> Result<Self> {
        let excludes = Excludes::new(&options.exclude_files, &options.exclude_patterns)?;
        let mut tags = options.exclude_if_present;
        if options.exclude_caches {
            tags.push(Tag::cachedir());
        }
        for tag in &tags {
            tag.check()?;
        }
        Ok(Self {
            roots: Roots::new(&options.roots)?,
            excludes,
            tags,
            larger_than_bytes: options.exclude_larger_than_bytes,
            one_file_system: options.one_file_system,
            skip_folders: options.skip_folders,
            shared: Arc::default(),
        })
    }
}

impl Source for FileSource {
    /// Fails if not one of the roots is there.
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut first_error = None;
        for path in self.roots.paths() {
            match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
                Ok(_) => return Ok(Box::new(Walk::new(self)?)),
                Err(error) if first_error.is_none() => first_error = Some((path, error)),
                Err(_) => {}
            }
        }
        let Some((path, error)) = first_error else { return Ok(Box::new(Walk::new(self)?)) };
        let error = io::Error::from(error);
        Err(io::Error::new(error.kind(), format!("{}: {error}", display_name(path))))
    }

    fn roots(&self) -> Vec<String> {
        self.roots.paths().iter().map(|path| display_name(path)).collect()
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(strongroom_core::error::ErrorKind::Invalid, message)
}
