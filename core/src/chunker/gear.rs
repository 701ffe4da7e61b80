//! The Gear hash over a window of 64 bytes, and the search for a position where it is small.
//!
//! Knows nothing of chunk sizes. The hash of a position is a function of the 64 bytes before it
//! alone, so parts of a buffer are searched side by side: one byte depends on the one before, and
//! only independent lanes keep a core busy.

use std::ops::Range;

use zeroize::Zeroize;

/// How many bytes before a position decide its hash.
pub(super) const WINDOW_BYTES: usize = 64;

const LANES: usize = 4;
const LANE_BYTES: usize = 2048;
const BLOCK_BYTES: usize = LANES * LANE_BYTES;
/// Steps between two looks at the loop counter; the compiler unrolls them.
const UNROLLED_BYTES: usize = 8;

/// A random number for every byte value.
pub(super) struct GearTable([u64; 256]);

impl GearTable {
    /// The table of `key`: BLAKE3's extendable output, keyed, as little-endian numbers.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let mut stream = [0; 256 * 8];
        blake3::Hasher::new_keyed(key)
            .update(b"strongroom/1 gear")
            .finalize_xof()
            .fill(&mut stream);
        let mut table = [0; 256];
        for (number, bytes) in table.iter_mut().zip(stream.as_chunks().0) {
            *number = u64::from_le_bytes(*bytes);
        }
        stream.zeroize();
        Self(table)
    }

    /// The number of one byte value.
    #[cfg(test)]
    pub(super) fn of(&self, byte: u8) -> u64 {
        self.0[usize::from(byte)]
    }

    /// The first of `positions` whose hash is below `limit`. A position is an offset into
    /// `data`, at least [`WINDOW_BYTES`] and at most its length; the bytes before it count.
    pub(super) fn find_below(
        &self,
        data: &[u8],
        positions: Range<usize>,
        limit: u64,
    ) -> Option<usize> {
        let Range { mut start, end } = positions;
        while start + BLOCK_BYTES <= end {
            if self.has_below(data, start, limit) {
                let hit = self.scan(data, start..start + BLOCK_BYTES, limit);
                debug_assert!(hit.is_some(), "the lanes and the scan agree");
                if hit.is_some() {
                    return hit;
                }
            }
            start += BLOCK_BYTES;
        }
        self.scan(data, start..end, limit)
    }

    /// True if one of the [`BLOCK_BYTES`] positions from `start` on has a hash below `limit`.
    #[inline]
    fn has_below(&self, data: &[u8], start: usize, limit: u64) -> bool {
        let lanes: [&[u8; LANE_BYTES]; LANES] =
            std::array::from_fn(|lane| lane_of(data, start + lane * LANE_BYTES));
        let mut hashes: [u64; LANES] =
            std::array::from_fn(|lane| self.hash_before(data, start + lane * LANE_BYTES));
        for base in (0..LANE_BYTES).step_by(UNROLLED_BYTES) {
            for index in base..base + UNROLLED_BYTES {
                for (hash, lane) in hashes.iter_mut().zip(lanes) {
                    *hash = self.roll(*hash, lane[index]);
                    if *hash < limit {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// One position after the other.
    fn scan(&self, data: &[u8], positions: Range<usize>, limit: u64) -> Option<usize> {
        if positions.is_empty() {
            return None;
        }
        let mut hash = self.hash_before(data, positions.start);
        let bytes = &data[positions.start - 1..positions.end - 1];
        let hit = bytes.iter().position(|&byte| {
            hash = self.roll(hash, byte);
            hash < limit
        });
        hit.map(|index| positions.start + index)
    }

    /// The hash over all bytes of the window of `position` but the last.
    #[inline]
    fn hash_before(&self, data: &[u8], position: usize) -> u64 {
        let window = &data[position - WINDOW_BYTES..position - 1];
        window.iter().fold(0, |hash, &byte| self.roll(hash, byte))
    }

    /// Takes one more byte in; the one of 64 steps ago has been shifted out.
    #[inline(always)]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.0[usize::from(byte)])
    }
}

impl Drop for GearTable {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The bytes that [`GearTable::has_below`] rolls in for the positions from `position` on.
#[inline]
#[expect(clippy::expect_used, reason = "the slice has the length of the array")]
fn lane_of(data: &[u8], position: usize) -> &[u8; LANE_BYTES] {
    data[position - 1..][..LANE_BYTES].try_into().expect("a slice of one lane")
}
