//! Making parity: one pass over the object.

use reed_solomon_simd::{
    engine::DefaultEngine,
    rate::{HighRateEncoder, RateEncoder},
};

use super::{Geometry, Group, HEADER_BYTES, SUM_BYTES, header, sum};
use crate::error::{Error, Result};

/// Takes an object piece by piece and makes its parity.
pub struct Encoder {
    geometry: Geometry,
    groups: std::vec::IntoIter<Group>,
    current: Option<Group>,
    coder: Option<HighRateEncoder<DefaultEngine>>,
    /// The beginning of the next shard.
    partial: Vec<u8>,
    pushed_bytes: usize,
    data_sums: Vec<u8>,
    parity_sums: Vec<u8>,
    shards: Vec<u8>,
}

/// The parity of the object `name`, which consists of `parts`.
///
/// # Errors
/// `Internal` only: every length up to [`super::DATA_BYTES_MAX`] can be encoded.
pub fn encode<T: AsRef<[u8]>>(name: &str, geometry: Geometry, parts: &[T]) -> Result<Vec<u8>> {
    let mut encoder = Encoder::new(geometry);
    parts.iter().try_for_each(|part| encoder.push(part.as_ref()))?;
    encoder.finish(name)
}

impl Encoder {
    /// For an object that is divided like that.
    pub fn new(geometry: Geometry) -> Self {
        let groups: Vec<Group> = geometry.groups().collect();
        Self {
            geometry,
            groups: groups.into_iter(),
            current: None,
            coder: None,
            partial: Vec::new(),
            pushed_bytes: 0,
            data_sums: Vec::with_capacity(geometry.data_shards() * SUM_BYTES),
            parity_sums: Vec::new(),
            shards: Vec::with_capacity(geometry.parity_shards() * geometry.shard_bytes()),
        }
    }

    /// Takes the next bytes of the object.
    ///
    /// # Errors
    /// `Internal` if they are more than the geometry says.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.pushed_bytes += bytes.len();
        if self.pushed_bytes > self.geometry.data_bytes() {
            return Err(Error::internal("more bytes than parity was asked for"));
        }
        let shard_bytes = self.geometry.shard_bytes();
        if !self.partial.is_empty() {
            let missing = (shard_bytes - self.partial.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(missing);
            self.partial.extend_from_slice(head);
            bytes = rest;
            if self.partial.len() < shard_bytes {
                return Ok(());
            }
            let mut full = std::mem::take(&mut self.partial);
            self.add_shard(&full)?;
            full.clear();
            self.partial = full;
        }
        let whole = bytes.chunks_exact(shard_bytes);
        self.partial.extend_from_slice(whole.remainder());
        for shard in whole {
            self.add_shard(shard)?;
        }
        Ok(())
    }

    /// The parity object of the object `name`.
    ///
    /// # Errors
    /// `Internal` if bytes are missing.
    pub fn finish(mut self, name: &str) -> Result<Vec<u8>> {
        if self.pushed_bytes != self.geometry.data_bytes() {
            return Err(Error::internal("fewer bytes than parity was asked for"));
        }
        if !self.partial.is_empty() {
            // the checksum is that of the bytes that are there, the code is over a whole shard
            let mut last = std::mem::take(&mut self.partial);
            self.data_sums.extend_from_slice(&sum(&last));
            last.resize(self.geometry.shard_bytes(), 0);
            self.code(&last)?;
        }
        let mut table = self.data_sums;
        table.extend_from_slice(&self.parity_sums);
        let header = header(name, &self.geometry, &table);
        let mut object = Vec::with_capacity(2 * (HEADER_BYTES + table.len()) + self.shards.len());
        object.extend_from_slice(&header);
        object.extend_from_slice(&table);
        object.extend_from_slice(&self.shards);
        object.extend_from_slice(&table);
        object.extend_from_slice(&header);
        Ok(object)
    }

    fn add_shard(&mut self, shard: &[u8]) -> Result<()> {
        self.data_sums.extend_from_slice(&sum(shard));
        self.code(shard)
    }

    /// Takes a whole shard into its group; the last one of a group completes it.
    fn code(&mut self, shard: &[u8]) -> Result<()> {
        let group = match self.current.take() {
            Some(group) => group,
            None => self.begin_group()?,
        };
        let coder = self.coder.as_mut().ok_or_else(no_group)?;
        coder.add_original_shard(shard).map_err(refused)?;
        let coded = self.data_sums.len() / SUM_BYTES;
        if coded < group.data.end {
            self.current = Some(group);
            return Ok(());
        }
        let result = coder.encode().map_err(refused)?;
        for parity in result.recovery_iter() {
            self.parity_sums.extend_from_slice(&sum(parity));
            self.shards.extend_from_slice(parity);
        }
        Ok(())
    }

    fn begin_group(&mut self) -> Result<Group> {
        let group = self.groups.next().ok_or_else(no_group)?;
        let (data, parity) = (group.data.len(), group.parity.len());
        let shard_bytes = self.geometry.shard_bytes();
        match &mut self.coder {
            Some(coder) => coder.reset(data, parity, shard_bytes).map_err(refused)?,
            none => {
                let engine = DefaultEngine::new();
                let coder = HighRateEncoder::new(data, parity, shard_bytes, engine, None);
                *none = Some(coder.map_err(refused)?);
            }
        }
        Ok(group)
    }
}

fn no_group() -> Error {
    Error::internal("more shards than the groups of an object have")
}

pub(super) fn refused(error: reed_solomon_simd::Error) -> Error {
    Error::internal("parity cannot be computed").because(error)
}
