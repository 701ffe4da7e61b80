//! A bounded stretch of the work, sorted by where its data lies. Pure bookkeeping, no I/O.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::file::FileWork;
use crate::{
    entry::{ChunkRef, PackRef},
    id::ChunkId,
};

/// Pieces of one window: what is planned ahead costs some hundred bytes each.
const PIECES_MAX: usize = 4096;
/// Content of one window: it is never held in memory at once.
const PLAIN_BYTES_MAX: u64 = 256 << 20;
/// Files of several pieces in one window: each may be open while its data arrives.
const LONG_FILES_MAX: usize = 64;
/// The longest read that several segments share. Twice as much costs 20 MiB of memory on a local
/// target and saves no time there.
const READ_BYTES_MAX: u64 = 2 << 20;
/// The most segments in one read.
const READ_SEGMENTS_MAX: usize = 512;
/// Bytes that are read in vain rather than asking twice.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// A place in a file that a chunk goes to.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) file: Arc<FileWork>,
    pub(super) offset: u64,
    pub(super) chunk: ChunkId,
    pub(super) len_bytes: u32,
}

/// Pieces that are copied from the file that is there.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) file: Arc<FileWork>,
    pub(super) pieces: Vec<(u64, ChunkRef)>,
}

/// What is wanted of one pack, by segment.
pub(super) type Segments = BTreeMap<u32, Vec<Use>>;

/// Work that is fetched and written together.
#[derive(Debug, Default)]
pub(super) struct Window {
    packs: BTreeMap<PackRef, Segments>,
    copies: Vec<Copies>,
    endings: Vec<Arc<FileWork>>,
    pieces: usize,
    plain_bytes: u64,
    long_files: usize,
}

impl Window {
    /// A piece to be fetched. The caller holds the file for it.
    pub(super) fn add(&mut self, file: &Arc<FileWork>, offset: u64, chunk: &ChunkRef) {
        let pack = self.packs.entry(chunk.pack).or_default();
        pack.entry(chunk.segment).or_default().push(Use {
            file: file.clone(),
            offset,
            chunk: chunk.id,
            len_bytes: chunk.len_bytes,
        });
        self.grow(u64::from(chunk.len_bytes));
    }

    /// A piece to be copied from the file that is there. The caller holds the file for it.
    pub(super) fn add_copy(&mut self, file: &Arc<FileWork>, offset: u64, chunk: &ChunkRef) {
        match self.copies.last_mut() {
            Some(copies) if Arc::ptr_eq(&copies.file, file) => copies.pieces.push((offset, *chunk)),
            _ => {
                let pieces = vec![(offset, *chunk)];
                self.copies.push(Copies { file: file.clone(), pieces });
            }
        }
        self.grow(u64::from(chunk.len_bytes));
    }

    fn grow(&mut self, plain_bytes: u64) {
        self.pieces += 1;
        self.plain_bytes += plain_bytes;
    }

    /// A file of more than one piece begins or goes on here.
    pub(super) fn add_long_file(&mut self) {
        self.long_files += 1;
    }

    /// A file that waits for nothing more.
    pub(super) fn add_ending(&mut self, file: Arc<FileWork>) {
        self.endings.push(file);
        self.pieces += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.pieces >= PIECES_MAX
            || self.plain_bytes >= PLAIN_BYTES_MAX
            || self.long_files >= LONG_FILES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces == 0
    }

    /// Takes it apart: what to copy, what to finish, and what to fetch in pack order.
    pub(super) fn into_parts(
        self,
    ) -> (Vec<Copies>, Vec<Arc<FileWork>>, impl Iterator<Item = (PackRef, Segments)>) {
        (self.copies, self.endings, self.packs.into_iter())
    }
}

/// Cuts ascending ranges into runs that one read each brings.
pub(super) fn runs(ranges: &[Range<u64>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    for (index, range) in ranges.iter().enumerate() {
        if let Some(run) = runs.last_mut() {
            let before = &ranges[run.end - 1];
            let is_near = range.start.saturating_sub(before.end) <= GAP_BYTES_MAX;
            let is_short = range.end.saturating_sub(start) <= READ_BYTES_MAX;
            if is_near && is_short && run.len() < READ_SEGMENTS_MAX {
                run.end = index + 1;
                continue;
            }
        }
        start = range.start;
        runs.push(index..index + 1);
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn neighbours_share_a_read_up_to_a_bound() {
        let ranges: Vec<_> = (0..9).map(|i| i * MIB..(i + 1) * MIB).collect();
        assert_eq!(runs(&ranges), [0..2, 2..4, 4..6, 6..8, 8..9]);
        assert_eq!(runs(&[0..10, 20..30, 30 + GAP_BYTES_MAX..40 + GAP_BYTES_MAX]), vec![0..3]);
        assert_eq!(runs(&[0..10, 11 + GAP_BYTES_MAX..20 + GAP_BYTES_MAX]), [0..1, 1..2]);
        assert_eq!(runs(&[0..9 * MIB, 9 * MIB..9 * MIB + 1]), [0..1, 1..2]);
        let tiny: Vec<_> = (0..1000).map(|i| i * 20..i * 20 + 20).collect();
        assert_eq!(runs(&tiny), [0..512, 512..1000]);
        assert!(runs(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_range_is_in_one_read_and_reads_are_bounded(
            steps in prop::collection::vec((0u64..200_000, 1u64..2_000_000), 0..60),
        ) {
            let mut end = 0;
            let ranges: Vec<Range<u64>> = steps.iter().map(|(gap, length)| {
                let start = end + gap;
                end = start + length;
                start..end
            }).collect();
            let runs = runs(&ranges);
            let all: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..ranges.len()).collect::<Vec<_>>());
            for run in runs {
                let length = ranges[run.end - 1].end - ranges[run.start].start;
                prop_assert!(length <= READ_BYTES_MAX || run.len() == 1);
                prop_assert!(run.len() <= READ_SEGMENTS_MAX);
            }
        }
    }
}
