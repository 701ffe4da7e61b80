//! Checking an object against its parity, and rebuilding what differs.

use bytes::Bytes;
use reed_solomon_simd::{
    engine::DefaultEngine,
    rate::{HighRateDecoder, RateDecoder},
};

use super::{Geometry, Group, HEADER_BYTES, SUM_BYTES, encode::refused, read_header, sum};
use crate::error::Result;

/// A parity object whose table of checksums can be trusted.
#[derive(Debug)]
pub struct Parity {
    geometry: Geometry,
    table: Bytes,
    object: Bytes,
    /// True if each of its two headers and tables, and its length, is right.
    is_framed: bool,
}

/// What came of an attempt to heal.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte is as it was written.
    Intact,
    /// The whole object as it was written; every checksum matches.
    Healed {
        /// Its content.
        data: Vec<u8>,
        /// Shards that were rebuilt; none if there were only bytes too many.
        shards: usize,
    },
    /// More is damaged than there is parity for.
    Hopeless {
        /// Shards of the object that are damaged or missing.
        damaged: usize,
    },
}

impl Parity {
    /// Reads the parity object of the object `name`; `None` if both of its tables are damaged, or
    /// if it belongs to another object.
    pub fn parse(name: &str, object: Bytes) -> Option<Self> {
        let front = front(name, &object);
        let back = back(name, &object);
        let is_twice = front.is_some() && front == back;
        let (geometry, table) = front.or(back)?;
        let is_framed = is_twice && object.len() == geometry.parity_object_bytes();
        Some(Self { geometry, table, object, is_framed })
    }

    /// How the object is divided.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// True if no bit of the parity object itself is damaged.
    pub fn is_whole(&self) -> bool {
        self.is_framed
            && (0..self.geometry.parity_shards()).all(|shard| self.parity_shard(shard).is_some())
    }

    /// Checks `found`, which is what there is of the object (unreadable stretches as any other
    /// bytes), and rebuilds what differs.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn heal(&self, found: &[u8]) -> Result<Outcome> {
        let (length, shards) = (self.geometry.data_bytes(), self.geometry.data_shards());
        let damaged: Vec<usize> =
            (0..shards).filter(|shard| !self.is_shard_right(found, *shard)).collect();
        if damaged.is_empty() && found.len() == length {
            return Ok(Outcome::Intact);
        }
        let hopeless = Outcome::Hopeless { damaged: damaged.len() };
        let mut data = found[..found.len().min(length)].to_vec();
        data.resize(length, 0);
        for group in self.geometry.groups() {
            let start = damaged.partition_point(|shard| *shard < group.data.start);
            let end = damaged.partition_point(|shard| *shard < group.data.end);
            let lost = &damaged[start..end];
            if !lost.is_empty() && !self.rebuild(&mut data, &group, lost)? {
                return Ok(hopeless);
            }
        }
        // nothing is given out that is not what was written
        match (0..shards).all(|shard| self.is_shard_right(&data, shard)) {
            true => Ok(Outcome::Healed { data, shards: damaged.len() }),
            false => Ok(hopeless),
        }
    }

    /// Rebuilds the `lost` shards of a group in `data`; false if there is too little parity.
    fn rebuild(&self, data: &mut [u8], group: &Group, lost: &[usize]) -> Result<bool> {
        let parity: Vec<(usize, &[u8])> = group
            .parity
            .clone()
            .enumerate()
            .filter_map(|(index, shard)| Some((index, self.parity_shard(shard)?)))
            .collect();
        if parity.len() < lost.len() {
            return Ok(false);
        }
        let (count, of, bytes) =
            (group.data.len(), group.parity.len(), self.geometry.shard_bytes());
        let engine = DefaultEngine::new();
        let mut coder = HighRateDecoder::new(count, of, bytes, engine, None).map_err(refused)?;
        let mut padded = Vec::new();
        for shard in group.data.clone().filter(|shard| lost.binary_search(shard).is_err()) {
            let mut content = &data[self.geometry.data_range(shard)];
            if content.len() < bytes {
                padded.extend_from_slice(content);
                padded.resize(bytes, 0);
                content = &padded;
            }
            coder.add_original_shard(shard - group.data.start, content).map_err(refused)?;
        }
        for (index, shard) in parity.into_iter().take(lost.len()) {
            coder.add_recovery_shard(index, shard).map_err(refused)?;
        }
        let result = coder.decode().map_err(refused)?;
        for (index, rebuilt) in result.restored_original_iter() {
            let range = self.geometry.data_range(group.data.start + index);
            let length = range.len();
            data[range].copy_from_slice(&rebuilt[..length]);
        }
        Ok(true)
    }

    fn is_shard_right(&self, data: &[u8], shard: usize) -> bool {
        let content = data.get(self.geometry.data_range(shard));
        content.is_some_and(|content| sum(content) == *self.sum_at(shard))
    }

    /// A shard of parity, if it is undamaged.
    fn parity_shard(&self, shard: usize) -> Option<&[u8]> {
        let content = self.object.get(self.geometry.parity_range(shard))?;
        let expected = self.sum_at(self.geometry.data_shards() + shard);
        (sum(content) == *expected).then_some(content)
    }

    fn sum_at(&self, row: usize) -> &[u8] {
        &self.table[row * SUM_BYTES..(row + 1) * SUM_BYTES]
    }
}

/// Header and table at the beginning.
fn front(name: &str, object: &Bytes) -> Option<(Geometry, Bytes)> {
    let (geometry, expected) = read_header(name, object.first_chunk::<HEADER_BYTES>()?)?;
    let end = HEADER_BYTES + geometry.table_bytes();
    let table = (end <= object.len()).then(|| object.slice(HEADER_BYTES..end))?;
    (sum(&table) == expected).then_some((geometry, table))
}

/// Table and header at the end.
fn back(name: &str, object: &Bytes) -> Option<(Geometry, Bytes)> {
    let (geometry, expected) = read_header(name, object.last_chunk::<HEADER_BYTES>()?)?;
    let end = object.len() - HEADER_BYTES;
    let start = end.checked_sub(geometry.table_bytes())?;
    let table = object.slice(start..end);
    (sum(&table) == expected).then_some((geometry, table))
}
