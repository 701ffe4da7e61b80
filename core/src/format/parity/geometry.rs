//! How an object is divided: shards, groups of shards, and where each lies. Knows no content.

use std::ops::Range;

use super::{HEADER_BYTES, SUM_BYTES};

/// Larger objects have no parity.
pub const DATA_BYTES_MAX: u64 = 256 << 20;

/// Shards of data in a full group.
const GROUP_DATA_MAX: usize = 256;
/// Data shards that one parity shard is for: 8 for a full group, about 3 % of the bytes.
const DATA_PER_PARITY: usize = 32;
/// Parity shards of the smallest group.
const GROUP_PARITY_MIN: usize = 2;
/// The size of shards; objects under 4 MiB have smaller ones, so that parity stays in proportion.
const SHARD_BYTES_MAX: usize = 64 << 10;
const SHARD_BYTES_USUAL_MIN: usize = 4 << 10;
/// Shards of small objects are multiples of this.
const SHARD_UNIT_BYTES: usize = 64;
/// Shards that an object of less than 4 MiB is divided into at most.
const SHARDS_SMALL_MAX: usize = 64;

/// How an object is divided into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    data_bytes: usize,
    shard_bytes: usize,
}

/// Shards that are protected together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which shards of data, counted over the object.
    pub data: Range<usize>,
    /// Which shards of parity, counted over the parity object.
    pub parity: Range<usize>,
}

impl Geometry {
    /// How a writer divides an object of `data_bytes`; `None` if that is over
    /// [`DATA_BYTES_MAX`].
    pub fn of(data_bytes: u64) -> Option<Self> {
        let length = usize::try_from(data_bytes).ok()?;
        let shard_bytes = match length {
            0..=SHARD_BYTES_USUAL_MIN => length.max(1).next_multiple_of(SHARD_UNIT_BYTES),
            _ => length
                .div_ceil(SHARDS_SMALL_MAX)
                .next_power_of_two()
                .clamp(SHARD_BYTES_USUAL_MIN, SHARD_BYTES_MAX),
        };
        Self::new(data_bytes, shard_bytes as u64)
    }

    /// What a header says, if it makes sense.
    pub(super) fn new(data_bytes: u64, shard_bytes: u64) -> Option<Self> {
        let shard_bytes = usize::try_from(shard_bytes).ok()?;
        let is_shard = (SHARD_UNIT_BYTES..=SHARD_BYTES_MAX).contains(&shard_bytes)
            && shard_bytes.is_multiple_of(SHARD_UNIT_BYTES);
        // a header that divides into tiny shards would ask for more memory than the object has
        let is_object = data_bytes <= DATA_BYTES_MAX
            && (shard_bytes >= SHARD_BYTES_USUAL_MIN || data_bytes <= shard_bytes as u64);
        let data_bytes = usize::try_from(data_bytes).ok()?;
        (is_shard && is_object).then_some(Self { data_bytes, shard_bytes })
    }

    /// Length of the object.
    pub fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Length of a shard; the last one of the data may be shorter.
    pub fn shard_bytes(&self) -> usize {
        self.shard_bytes
    }

    /// Shards of the object.
    pub fn data_shards(&self) -> usize {
        self.data_bytes.div_ceil(self.shard_bytes)
    }

    /// Shards of parity.
    pub fn parity_shards(&self) -> usize {
        self.groups().last().map_or(0, |group| group.parity.end)
    }

    /// All groups in order.
    pub fn groups(&self) -> impl Iterator<Item = Group> + use<> {
        let shards = self.data_shards();
        (0..shards.div_ceil(GROUP_DATA_MAX)).map(move |number| {
            let start = number * GROUP_DATA_MAX;
            let data = start..(start + GROUP_DATA_MAX).min(shards);
            let first = number * (GROUP_DATA_MAX / DATA_PER_PARITY);
            let count = data.len().div_ceil(DATA_PER_PARITY).max(GROUP_PARITY_MIN);
            Group { data, parity: first..first + count }
        })
    }

    /// Where a shard of data lies in the object.
    pub fn data_range(&self, shard: usize) -> Range<usize> {
        let start = (shard * self.shard_bytes).min(self.data_bytes);
        start..(start + self.shard_bytes).min(self.data_bytes)
    }

    /// Where a shard of parity lies in the parity object.
    pub(super) fn parity_range(&self, shard: usize) -> Range<usize> {
        let start = HEADER_BYTES + self.table_bytes() + shard * self.shard_bytes;
        start..start + self.shard_bytes
    }

    /// Length of the table: the checksums of all data shards, then those of all parity shards.
    pub(super) fn table_bytes(&self) -> usize {
        (self.data_shards() + self.parity_shards()) * SUM_BYTES
    }

    /// Length of the parity object.
    pub fn parity_object_bytes(&self) -> usize {
        2 * (HEADER_BYTES + self.table_bytes()) + self.parity_shards() * self.shard_bytes
    }
}
