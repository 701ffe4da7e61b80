//! Sources that are a single file of unknown length: a reader, or a command's output.
//!
//! Knows nothing of files on disk. Content is never kept: each source can be read once.

mod command;
mod tree;

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
    io::Errno,
};
use strongroom_core::{
    entry::{FileTime, Stat, TreePath},
    error::{Error, ErrorKind, Result},
    source::{Scan, Source, SourceFile},
};

pub use command::{CommandOptions, CommandSource, CommandStderr};
use tree::{Opener, StreamTree};

/// What a stream is saved as.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Its path in the snapshot; the folders on the way are made up.
    pub path: TreePath,
    /// The time of last change that it gets: that of the run.
    pub time: FileTime,
}

impl StreamOptions {
    /// Options for a path as a user gives it: a leading slash does not matter.
    ///
    /// # Errors
    /// `Invalid` if `path` holds no name, or `.` or `..`.
    pub fn new(path: &[u8], time: FileTime) -> Result<Self> {
        let trimmed = path.strip_prefix(b"/").unwrap_or(path);
        match TreePath::parse(trimmed) {
            Some(path) if !path.is_root() => Ok(Self { path, time }),
            _ => Err(Error::new(ErrorKind::Invalid, "not a path that a stream can be saved as")
                .on(strongroom_core::entry::display_name(path))),
        }
    }
}

/// A reader, such as standard input, as a [`Source`] with one file of unknown length. The stat
/// of that file says 0 bytes.
#[derive(Debug)]
pub struct StreamSource {
    tree: StreamTree,
    is_interrupted: Arc<AtomicBool>,
}

impl StreamSource {
    /// A source of what `reader` gives until its end.
    pub fn new(options: StreamOptions, reader: impl Read + Send + 'static) -> Self {
        let opener = ReaderOpener(Mutex::new(Some(Box::new(reader))));
        Self { tree: StreamTree::new(options, opener), is_interrupted: Arc::default() }
    }

    /// As [`Self::new`], for a reader over a descriptor: reads that wait for data end when the
    /// run is to stop.
    pub fn interruptible(
        options: StreamOptions,
        reader: impl Read + AsFd + Send + 'static,
    ) -> Self {
        let is_interrupted = Arc::<AtomicBool>::default();
        let waiting = Waiting { reader, is_interrupted: is_interrupted.clone() };
        Self { is_interrupted, ..Self::new(options, waiting) }
    }
}

impl Source for StreamSource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        self.tree.scan()
    }

    fn roots(&self) -> Vec<String> {
        self.tree.roots()
    }

    fn is_all_or_nothing(&self) -> bool {
        self.tree.is_all_or_nothing()
    }

    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
    }
}

/// A reader over a descriptor, whose reads can be interrupted.
struct Waiting<R> {
    reader: R,
    is_interrupted: Arc<AtomicBool>,
}

impl<R: Read + AsFd> Read for Waiting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        wait_for_data(&self.reader, || self.is_interrupted.load(Ordering::Relaxed))?;
        self.reader.read(buffer)
    }
}

/// A reader, until it is taken.
struct ReaderOpener(Mutex<Option<Box<dyn Read + Send>>>);

impl Opener for ReaderOpener {
    fn open(&self) -> io::Result<Box<dyn SourceFile>> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match taken {
            Some(reader) => Ok(Box::new(StreamFile(reader))),
            None => Err(io::Error::other("a stream can be read only once")),
        }
    }
}

impl fmt::Debug for ReaderOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReaderOpener")
    }
}

/// A reader being read.
struct StreamFile(Box<dyn Read + Send>);

impl SourceFile for StreamFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn next_extent(&mut self, _: u64) -> io::Result<Option<Range<u64>>> {
        Err(no_extents())
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(None)
    }
}

fn no_extents() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a stream has no extents")
}

/// How often a read that waits looks whether it is to stop.
const INTERRUPT_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Returns once reading from `input` will not wait.
///
/// # Errors
/// `Interrupted` once `is_interrupted` says so.
fn wait_for_data(input: impl AsFd, is_interrupted: impl Fn() -> bool) -> io::Result<()> {
    loop {
        if is_interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        let mut watched = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut watched, Some(&INTERRUPT_POLL)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
