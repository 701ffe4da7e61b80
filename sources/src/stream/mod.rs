//! One file out of a stream: standard input, or what a command prints.
//!
//! A stream that ends in an error must not become a snapshot, so everything that goes wrong here
//! fails the whole source.

mod command;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

pub use self::command::CommandSource;
use strongroom_core::{
    entry::{Details, EntryKind, FileTime, Stat, TreePath, display_name, is_valid_name},
    error::{Error, ErrorKind, Result},
    source::{Batch, Folder, Found, Scan, Source, SourceFile},
};

/// The next read of a stream, which can be had once.
type Once = Mutex<Option<Box<dyn SourceFile>>>;

/// Any reader as a source of one file.
pub struct StreamSource {
    name: Vec<u8>,
    reader: Mutex<Option<Box<dyn Read + Send>>>,
}

impl StreamSource {
    /// A source of one file called `name` with all that `reader` gives.
    ///
    /// # Errors
    /// `Invalid` if `name` is no name of a file.
    pub fn new(name: &[u8], reader: Box<dyn Read + Send>) -> Result<Self> {
        Ok(Self { name: checked(name)?, reader: Mutex::new(Some(reader)) })
    }
}

impl fmt::Debug for StreamSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamSource({})", display_name(&self.name))
    }
}

impl Source for StreamSource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reader = reader.ok_or_else(|| io::Error::other("the stream was read before"))?;
        Ok(Box::new(OneFile::new(&self.name, Box::new(StreamFile { reader }))))
    }

    fn roots(&self) -> Vec<String> {
        vec![root(&self.name)]
    }
}

/// How the one file is called among the paths of a snapshot.
fn root(name: &[u8]) -> String {
    format!("/{}", display_name(name))
}

fn checked(name: &[u8]) -> Result<Vec<u8>> {
    if is_valid_name(name) {
        return Ok(name.to_vec());
    }
    Err(Error::new(ErrorKind::Invalid, "not a name of a file").on(display_name(name)))
}

/// A walk over one file in the root.
struct OneFile(Option<Batch>);

impl OneFile {
    fn new(name: &[u8], file: Box<dyn SourceFile>) -> Self {
        let found = Found { name: name.to_vec(), stat: stat_now() };
        let folder = Arc::new(OneFolder(Mutex::new(Some(file))));
        let (path, problems) = (TreePath::root(), Vec::new());
        Self(Some(Batch { path, entries: vec![found], folder, problems }))
    }
}

impl Scan for OneFile {
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        Ok(self.0.take())
    }
}

/// The folder of the one file.
struct OneFolder(Once);

impl fmt::Debug for OneFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneFolder")
    }
}

impl Folder for OneFolder {
    fn details(&self, _: &Found) -> io::Result<Details> {
        Ok(Details::default())
    }

    fn open(&self, _: &Found) -> io::Result<Box<dyn SourceFile>> {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        file.ok_or_else(|| io::Error::other("a stream can be read only once"))
    }
}

/// A file of unknown length, changed just now, that belongs to who runs this.
fn stat_now() -> Stat {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = FileTime { seconds: since.as_secs() as i64, nanoseconds: since.subsec_nanos() };
    Stat {
        kind: EntryKind::File,
        mode: 0o600,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        size: 0,
        allocated_bytes: 0,
        mtime: now,
        ctime: now,
        inode: 0,
        device: 0,
        links: 1,
        device_number: 0,
    }
}

struct StreamFile {
    reader: Box<dyn Read + Send>,
}

impl SourceFile for StreamFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_some(&mut self.reader, buffer)
    }

    fn next_extent(&mut self, _: u64) -> io::Result<Option<Range<u64>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(None)
    }
}

/// Reads once more where a signal came in between.
fn read_some(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
