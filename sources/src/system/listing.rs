//! The names in a folder, through one reused buffer.
//!
//! Knows nothing of what the names stand for.

use std::{ffi::CStr, io, mem::MaybeUninit};

use rustix::{fd::AsFd, fs::RawDir};
use strongroom_core::entry::is_valid_name;

/// Room for one answer of `getdents64`; some thousand names.
const BUFFER_BYTES: usize = 64 * 1024;

/// The names of one folder at a time, kept in one allocation that is used again.
#[derive(Debug)]
pub(crate) struct Listing {
    buffer: Box<[MaybeUninit<u8>]>,
    /// All names, each with its NUL.
    arena: Vec<u8>,
    /// Where each name starts and ends in the arena; the end is that of the NUL.
    spans: Vec<(usize, usize)>,
}

impl Listing {
    pub(crate) fn new() -> Self {
        Self { buffer: Box::new_uninit_slice(BUFFER_BYTES), arena: Vec::new(), spans: Vec::new() }
    }

    /// Reads all names of `folder`, sorted by their bytes, each once. What was read before an
    /// error is kept.
    pub(crate) fn read(&mut self, folder: impl AsFd) -> io::Result<()> {
        self.arena.clear();
        self.spans.clear();
        let outcome = self.fill(folder);
        let arena = &self.arena;
        let name = |span: &(usize, usize)| &arena[span.0..span.1];
        // The NUL at the end is the smallest byte, so it does not disturb the order.
        self.spans.sort_unstable_by(|left, right| name(left).cmp(name(right)));
        self.spans.dedup_by(|left, right| name(left) == name(right));
        outcome
    }

    fn fill(&mut self, folder: impl AsFd) -> io::Result<()> {
        let mut directory = RawDir::new(folder, &mut self.buffer);
        while let Some(entry) = directory.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes_with_nul();
            // Also leaves out "." and "..".
            if is_valid_name(entry.file_name().to_bytes()) {
                let start = self.arena.len();
                self.arena.extend_from_slice(name);
                self.spans.push((start, self.arena.len()));
            }
        }
        Ok(())
    }

    /// The names that the last [`Self::read`] found.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &CStr> {
        self.spans.iter().map(|(start, end)| {
            CStr::from_bytes_with_nul(&self.arena[*start..*end]).unwrap_or_default()
        })
    }

    /// True if the last [`Self::read`] found `name`.
    pub(crate) fn contains(&self, name: &CStr) -> bool {
        let wanted = name.to_bytes_with_nul();
        self.spans.binary_search_by(|span| self.arena[span.0..span.1].cmp(wanted)).is_ok()
    }

    /// Keeps only `names`.
    pub(crate) fn retain(&mut self, keep: impl Fn(&[u8]) -> bool) {
        let arena = &self.arena;
        self.spans.retain(|(start, end)| keep(&arena[*start..*end - 1]));
    }
}
