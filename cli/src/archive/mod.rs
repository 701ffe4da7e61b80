//! Archives of what a snapshot holds, written as a stream.
//!
//! Knows nothing of repositories: entries and content come in, bytes go out.

pub mod order;
pub mod tar;
pub mod zip;

use std::io;

use strongroom_core::entry::Entry;

/// An archive that is being written: entry by entry, each with its content in order.
pub trait Archive {
    /// Begins the entry with this path (names joined by `/`, no leading slash).
    fn begin(&mut self, path: &[u8], entry: &Entry) -> io::Result<Begun>;

    /// Content of the entry that was begun.
    fn content(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends the entry after all of its content.
    fn end(&mut self) -> io::Result<()>;

    /// Ends the archive.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// What an archive makes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Its content must follow, then [`Archive::end`].
    WantsContent,
    /// It is complete.
    Complete,
    /// This kind of archive cannot hold it.
    Unsupported,
}
