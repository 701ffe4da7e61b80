//! The doors to what is protected ([`Source`]) and to where it comes back ([`Sink`]).
//!
//! Implementations live outside of the engine (crate `strongroom-sources`). Both are synchronous:
//! file systems are; the engine calls them from its worker threads. Neither knows of targets,
//! repositories or encryption.

use std::{fmt, io, sync::Arc};

use crate::{
    entry::{Details, Entry, Stat, TreePath},
    monitor::Problem,
};

/// Something that can be protected: a tree of entries.
pub trait Source: fmt::Debug + Send + Sync {
    /// Starts a walk over the whole tree.
    ///
    /// An error here means that the source as a whole cannot be read.
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>>;

    /// The paths or names that the user asked for, for display and for finding the parent.
    fn roots(&self) -> Vec<String>;

    /// True if there must be no snapshot when a single item fails: half a stream is worth
    /// nothing. Else failed items are listed and the others are saved.
    fn is_all_or_nothing(&self) -> bool {
        false
    }

    /// The run is to stop: reads that wait for data fail soon. Sources whose reads never wait
    /// long need not do anything.
    fn interrupt(&self) {}
}

/// A running walk. Gives folders in table order: a folder's batch before the batches of the
/// folders in it, sibling folders by name (bytes), each batch sorted by name. Parents of the
/// roots come as batches too, with only the entries that lead to a root. Every folder among the
/// entries has a batch of its own, an empty one if it cannot be read or is not to be entered. A
/// large folder may come in several batches, one right after the other, names going up.
pub trait Scan: Send {
    /// The next folder, or `None` at the end.
    fn next_batch(&mut self) -> io::Result<Option<Batch>>;
}

/// One folder of a walk.
#[derive(Debug)]
pub struct Batch {
    /// The folder's path.
    pub path: TreePath,
    /// What is in it, sorted by name, each name once; excluded entries left out.
    pub entries: Vec<Found>,
    /// For reading details and content of the entries; may be kept while others are walked.
    pub folder: Arc<dyn Folder>,
    /// What could not be read here (the folder itself, or single entries of it).
    pub problems: Vec<Problem>,
}

/// An entry as walked: name and stat only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name in the folder.
    pub name: Vec<u8>,
    /// What `statx` told.
    pub stat: Stat,
}

/// An open folder of a source. Never follows links out of it.
pub trait Folder: fmt::Debug + Send + Sync {
    /// Reads what a stat does not tell.
    fn details(&self, found: &Found) -> io::Result<Details>;

    /// Opens a file for reading. Fails if it is no longer the same kind of thing; it may be
    /// another inode by now, which [`SourceFile::stat`] tells. A size of 0 does not mean that
    /// there is nothing to read: streams, and files that the system makes up, have it too.
    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>>;

    /// True if the source knows that the entry is not what the parent has, whatever its stat
    /// says. Sources that cannot know leave it to the stat.
    fn has_changed(&self, found: &Found) -> bool {
        let _ = found;
        false
    }

    /// What all names of one inode have in common, and no other entry of the tree has.
    fn inode(&self, found: &Found) -> InodeKey {
        (found.stat.device, found.stat.inode)
    }
}

/// Tells inodes apart within one walk: device and inode number, or what serves instead of them.
pub type InodeKey = (u64, u64);

/// An open file of a source.
pub trait SourceFile: Send {
    /// Reads at the current position; 0 bytes mean the end of the current data extent when
    /// [`Self::next_extent`] is in use, else the end of the file.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// For files with holes: seeks to the next extent of data at or after `offset` and returns
    /// it as `start..end`; reading then stops at `end`. `None` when only a hole (or nothing)
    /// is left. Callers that never call this read the file as one stream.
    fn next_extent(&mut self, offset: u64) -> io::Result<Option<std::ops::Range<u64>>>;

    /// The file's stat now: tells whether it changed while it was read. `None` for streams.
    fn stat(&mut self) -> io::Result<Option<Stat>>;

    /// True if the content is known to be a mixture of what the file held at several times: it is
    /// marked so, and reading it once more would not help.
    fn is_torn(&self) -> bool {
        false
    }

    /// Called once after the last byte was read: a stream that ended in an error (a command
    /// that failed) says so here, and the snapshot fails.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place where a tree comes back. Every path goes through [`SinkDir`]s, opened one below the
/// other without following links, so that nothing is ever written outside.
pub trait Sink: fmt::Debug + Send + Sync {
    /// The folder that everything is restored into; created if it is missing.
    fn root(&self) -> io::Result<Arc<dyn SinkDir>>;

    /// The folder at `path` below the root, opened name by name; folders that are missing on
    /// the way are created, anything else in the way is an error.
    fn folder(&self, path: &TreePath) -> io::Result<Arc<dyn SinkDir>> {
        let mut folder = self.root()?;
        for name in path.names() {
            folder = folder.open_dir(name, false)?.0;
        }
        Ok(folder)
    }

    /// Room left for data, if known.
    fn available_bytes(&self) -> Option<u64>;

    /// True if the folder of [`Self::root`] is there already. A dry run asks, so that it creates
    /// nothing.
    fn exists(&self) -> bool {
        true
    }

    /// True if extended attributes are left out on purpose: then reading back does not take
    /// them for missing.
    fn leaves_out_xattrs(&self) -> bool {
        false
    }
}

/// An open folder of a sink. Safe to use from several threads.
///
/// Whatever is made or removed in a folder may change the folder's own mode and times: its
/// metadata is to be set after that.
pub trait SinkDir: fmt::Debug + Send + Sync {
    /// The names in it.
    fn names(&self) -> io::Result<Vec<Vec<u8>>>;

    /// What is there under `name`, links not followed; `None` if nothing.
    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>>;

    /// The metadata beyond stat of what is there under `name`.
    fn details(&self, name: &[u8]) -> io::Result<Details>;

    /// Opens an existing regular file for comparison.
    fn open_file(&self, name: &[u8]) -> io::Result<Box<dyn SinkRead>>;

    /// Opens the folder `name`, creating it (mode 0700) if nothing is there. If something other
    /// than a folder is there (a link too), it is replaced when `replace` is true, else this
    /// fails. The second value is true if the folder was created.
    fn open_dir(&self, name: &[u8], replace: bool) -> io::Result<(Arc<dyn SinkDir>, bool)>;

    /// Starts a file of `size` bytes that becomes visible under `name` when it is finished,
    /// atomically replacing a file or link that is there. Dropping it unfinished leaves what
    /// was there.
    fn create_file(&self, name: &[u8], size: u64) -> io::Result<Box<dyn SinkFile>>;

    /// Makes anything but a file or a folder (link, pipe, socket, device), replacing a
    /// non-folder that is there. Its metadata is left to [`Self::set_metadata`].
    fn create_special(&self, entry: &Entry) -> io::Result<()>;

    /// Makes `name` a further name of the file `original` in `folder`, replacing a non-folder
    /// that is there.
    fn create_hard_link(
        &self,
        name: &[u8],
        folder: &dyn SinkDir,
        original: &[u8],
    ) -> io::Result<()>;

    /// Sets everything but content under `name`: owner, mode, extended attributes, times. For
    /// folders this is called after all that is in them. Returns what could not be set.
    fn set_metadata(&self, name: &[u8], entry: &Entry) -> Vec<String>;

    /// Removes what is there under `name`, folders with all that is in them.
    fn remove(&self, name: &[u8]) -> io::Result<()>;

    /// Removes what a killed restore left unfinished in this folder (not in those below), and
    /// nothing that a running one still writes.
    fn remove_leftovers(&self) -> io::Result<()> {
        Ok(())
    }

    /// For [`Self::create_hard_link`]: the concrete folder behind the trait.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A file being restored. Ranges that are never written become holes.
pub trait SinkFile: fmt::Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`; ranges may come in any order and from any thread.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Sets metadata and makes the file visible under its name. Returns what could not be set.
    fn finish(self: Box<Self>, entry: &Entry) -> io::Result<Vec<String>>;
}

/// An existing file of a sink, for comparison.
pub trait SinkRead: Send {
    /// Reads exactly `buffer.len()` bytes at `offset`, or as many as there are.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}
