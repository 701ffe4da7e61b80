//! Where content is cut: at positions that the content itself decides, or at a fixed size.
//!
//! Sees one buffer at a time; knows nothing of files, ids or compression. Content-defined cuts
//! are a normalised Gear hash (Xia et al., "FastCDC", 2016 and 2020) whose table comes from a key,
//! so that chunk sizes tell nothing about known content to those without it.

mod gear;
#[cfg(test)]
mod tests;

use std::fmt;

use self::gear::{GearTable, WINDOW_BYTES};
use crate::error::{Error, ErrorKind, Result};

/// The largest chunk that any parameters may ask for, in bytes.
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;

/// Between the average and this many times more or less, cuts are made harder below the average
/// and easier above it: `2^NORMALISATION` on each side.
const NORMALISATION: u32 = 2;

/// How a cut is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChunkerAlgorithm {
    /// Every chunk has the maximum size, the last one may be shorter: for disk images and
    /// databases, which change in place.
    Fixed,
    /// Normalised Gear over a window of 64 bytes.
    Gear,
}

impl ChunkerAlgorithm {
    /// The number that stands for it in stored settings.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fixed => 1,
            Self::Gear => 2,
        }
    }

    /// The algorithm with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Fixed),
            2 => Some(Self::Gear),
            _ => None,
        }
    }
}

/// Sizes of chunks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkParams {
    algorithm: ChunkerAlgorithm,
    min: u32,
    average: u32,
    max: u32,
}

impl Default for ChunkParams {
    /// Content-defined chunks of 128 KiB to 2 MiB, 512 KiB on average.
    fn default() -> Self {
        Self { algorithm: ChunkerAlgorithm::Gear, min: 128 << 10, average: 512 << 10, max: 2 << 20 }
    }
}

impl ChunkParams {
    /// Content-defined chunks of `min` to `max` bytes, cut more readily from `average` on.
    ///
    /// # Errors
    /// `Invalid` unless 64 <= min <= average <= max <= 16 MiB and the average is at least 256.
    pub fn content_defined(min: u32, average: u32, max: u32) -> Result<Self> {
        let is_ordered = WINDOW_BYTES as u32 <= min && min <= average && average <= max;
        if !is_ordered || average < 256 || max > CHUNK_BYTES_MAX {
            let message = format!("chunk sizes {min}, {average}, {max} are out of order or bounds");
            return Err(Error::new(ErrorKind::Invalid, message)
                .hint("use 64 <= minimum <= average <= maximum <= 16 MiB, average at least 256"));
        }
        Ok(Self { algorithm: ChunkerAlgorithm::Gear, min, average, max })
    }

    /// Chunks of exactly `size` bytes.
    ///
    /// # Errors
    /// `Invalid` unless 64 <= size <= 16 MiB.
    pub fn fixed(size: u32) -> Result<Self> {
        if !(WINDOW_BYTES as u32..=CHUNK_BYTES_MAX).contains(&size) {
            let message = format!("chunk size {size} is not between 64 bytes and 16 MiB");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self { algorithm: ChunkerAlgorithm::Fixed, min: size, average: size, max: size })
    }

    /// How cuts are found.
    pub fn algorithm(&self) -> ChunkerAlgorithm {
        self.algorithm
    }

    /// No chunk is shorter, but the last of a file.
    pub fn min_bytes(&self) -> usize {
        self.min as usize
    }

    /// What most chunks come near to.
    pub fn average_bytes(&self) -> usize {
        self.average as usize
    }

    /// No chunk is longer.
    pub fn max_bytes(&self) -> usize {
        self.max as usize
    }
}

/// Cuts content into chunks; shared by all workers.
pub struct Chunker {
    params: ChunkParams,
    gear: GearTable,
    /// A position below the average is cut where the hash is below this.
    hard_limit: u64,
    /// A position from the average on is cut where the hash is below this.
    easy_limit: u64,
}

impl Chunker {
    /// A chunker whose cuts depend on `key`.
    pub fn new(key: &[u8; 32], params: ChunkParams) -> Self {
        // The hash is below 2^(64 - n) at one position in 2^n.
        let average_bits = params.average.ilog2();
        Self {
            params,
            gear: GearTable::new(key),
            hard_limit: 1 << (64 - (average_bits + NORMALISATION)),
            easy_limit: 1 << (64 - (average_bits - NORMALISATION)),
        }
    }

    /// The sizes that it cuts to.
    pub fn params(&self) -> &ChunkParams {
        &self.params
    }

    /// The length of the first chunk of `data`, which begins where the last chunk ended.
    ///
    /// `None` if that cannot be said yet: there are fewer bytes than the longest chunk has and
    /// `is_end` is false, or there are none. With `is_end`, `data` is all that is left.
    pub fn cut(&self, data: &[u8], is_end: bool) -> Option<usize> {
        let ChunkParams { algorithm, .. } = self.params;
        let max = self.params.max_bytes();
        if data.is_empty() || (data.len() < max && !is_end) {
            return None;
        }
        let end = data.len().min(max);
        if algorithm == ChunkerAlgorithm::Fixed || end <= self.params.min_bytes() {
            return Some(end);
        }
        let min = self.params.min_bytes();
        let average = self.params.average_bytes().min(end);
        let cut = self
            .gear
            .find_below(data, min..average, self.hard_limit)
            .or_else(|| self.gear.find_below(data, average..end, self.easy_limit));
        Some(cut.unwrap_or(end))
    }
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker").field("params", &self.params).finish_non_exhaustive()
    }
}
