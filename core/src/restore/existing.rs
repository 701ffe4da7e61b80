//! Comparing and reusing files that are there already.

use std::{io, sync::Arc};

use super::{Context, file::FileJob, window::Copies};
use crate::{
    crypto::KeyRing,
    entry::{ChunkRef, Piece},
    format::pack::SEGMENT_PLAIN_BYTES_MAX,
    repository::packs::check_chunk,
    source::SinkRead,
};

/// Holes of a file that are read to see whether they are zeros. Where a file has more, it is
/// taken for different: its data is copied, nothing is fetched, and terabytes of zeros are not
/// read.
const HOLES_READ_BYTES_MAX: u64 = 256 << 20;
const ZEROS_READ_BYTES: usize = 256 << 10;

/// The comparison of one file with its pieces, in order, in as many steps as there are lists.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Where the next piece begins.
    pub(super) offset: u64,
    /// For every piece so far, whether the file has it.
    pub(super) matches: Vec<bool>,
    /// True to look only at both ends of long holes instead of taking them for different.
    is_sampling: bool,
    holes_read_bytes: u64,
}

impl Comparison {
    /// A comparison that looks only at both ends of long holes.
    pub(super) fn sampling() -> Self {
        Self { is_sampling: true, ..Self::default() }
    }

    /// True if every piece so far is there.
    pub(super) fn is_equal(&self) -> bool {
        self.matches.iter().all(|matches| *matches)
    }

    /// Compares the next pieces. What cannot be read is different.
    pub(super) fn step(&mut self, file: &dyn SinkRead, pieces: &[Piece], scratch: &mut Scratch) {
        for piece in pieces {
            let matches = match piece {
                Piece::Chunk(chunk) => scratch.read(file, self.offset, chunk).is_some(),
                Piece::Hole(length) => self.is_hole(file, *length, scratch),
            };
            self.matches.push(matches);
            self.offset = self.offset.saturating_add(piece.len_bytes());
        }
    }

    fn is_hole(&mut self, file: &dyn SinkRead, length: u64, scratch: &mut Scratch) -> bool {
        self.holes_read_bytes = self.holes_read_bytes.saturating_add(length);
        if self.holes_read_bytes <= HOLES_READ_BYTES_MAX {
            return scratch.is_zero(file, self.offset, length);
        }
        let end = length.min(ZEROS_READ_BYTES as u64);
        self.is_sampling
            && scratch.is_zero(file, self.offset, end)
            && scratch.is_zero(file, self.offset.saturating_add(length - end), end)
    }
}

/// A buffer and the keys to check what is read into it.
pub(super) struct Scratch {
    keys: KeyRing,
    buffer: Vec<u8>,
}

impl Scratch {
    pub(super) fn new(keys: &KeyRing) -> Self {
        Self { keys: keys.clone(), buffer: Vec::new() }
    }

    /// The bytes at `offset`, if they are that chunk.
    pub(super) fn read(
        &mut self,
        file: &dyn SinkRead,
        offset: u64,
        chunk: &ChunkRef,
    ) -> Option<&[u8]> {
        if chunk.len_bytes > SEGMENT_PLAIN_BYTES_MAX {
            return None;
        }
        self.fill(file, offset, chunk.len_bytes as usize)?;
        check_chunk(&self.keys, chunk, &self.buffer).is_ok().then_some(&self.buffer)
    }

    /// True if the file has `length` zeros at `offset`.
    pub(super) fn is_zero(&mut self, file: &dyn SinkRead, offset: u64, length: u64) -> bool {
        let mut done = 0;
        while done < length {
            let next = (length - done).min(ZEROS_READ_BYTES as u64);
            let Some(bytes) = self.fill(file, offset.saturating_add(done), next as usize) else {
                return false;
            };
            if bytes.iter().any(|byte| *byte != 0) {
                return false;
            }
            done += next;
        }
        true
    }

    fn fill(&mut self, file: &dyn SinkRead, offset: u64, length: usize) -> Option<&[u8]> {
        self.buffer.resize(length, 0);
        let mut done = 0;
        while done < length {
            match file.read_at(offset.checked_add(done as u64)?, &mut self.buffer[done..]) {
                Ok(0) => return None,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(&self.buffer)
    }
}

/// Opens the file that is there; `None` if it cannot be read, which makes it different.
pub(super) fn open(context: &Context, job: &FileJob) -> Option<Box<dyn SinkRead>> {
    context.folders.open(&job.folder).ok()?.open_file(&job.entry.name).ok()
}

/// Compares `pieces`, which lie at the comparison's offset, with the file that is there.
pub(super) fn compare(
    context: &Context,
    job: &FileJob,
    pieces: &[Piece],
    comparison: &mut Comparison,
) {
    match open(context, job) {
        Some(file) => comparison.step(&*file, pieces, &mut Scratch::new(&context.keys)),
        None => {
            comparison.matches.extend(pieces.iter().map(|_| false));
            let total: u64 = pieces.iter().map(Piece::len_bytes).fold(0, u64::saturating_add);
            comparison.offset = comparison.offset.saturating_add(total);
        }
    }
}

/// Copies pieces from the file that is there into the new one, each checked once more.
pub(super) fn copy(context: &Arc<Context>, copies: &Copies) {
    let work = &copies.file;
    let folder = context.folders.open(work.folder());
    let file = match folder.and_then(|folder| folder.open_file(&work.entry().name)) {
        Ok(file) => file,
        Err(error) => return work.fail(format!("cannot be read again: {error}")),
    };
    let mut scratch = Scratch::new(&context.keys);
    for (offset, chunk) in &copies.pieces {
        if work.has_failed() || context.control.is_stopped() {
            return;
        }
        match scratch.read(&*file, *offset, chunk) {
            Some(bytes) => work.write(*offset, bytes),
            None => return work.fail("the file that was there changed during the restore"),
        }
    }
}
