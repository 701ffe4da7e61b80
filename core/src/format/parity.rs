//! Parity of large objects: Reed-Solomon shards and checksums beside them, from which an object
//! that is damaged in places is rebuilt without any key.
//!
//! Bytes in, bytes out; knows nothing of where objects and their parity are stored. The checksums
//! find accidents, not forgers: what an object holds is sealed, and opened as ever after healing.

mod encode;
mod geometry;
mod heal;
#[cfg(test)]
mod tests;

use blake3::Hasher;

pub use self::{
    encode::{Encoder, encode},
    geometry::{DATA_BYTES_MAX, Geometry, Group},
    heal::{Outcome, Parity},
};
use super::wire::{Reader, is_zero};

const MAGIC: [u8; 4] = *b"SRPY";
const VERSION: u8 = 1;
/// The type of parity objects.
const TYPE: u8 = 7;
const HEADER_BYTES: usize = 64;
const CHECKED_BYTES: usize = HEADER_BYTES - SUM_BYTES;
const SUM_BYTES: usize = 16;

/// The first 16 bytes of the BLAKE3 of a shard.
type Sum = [u8; SUM_BYTES];

fn sum(bytes: &[u8]) -> Sum {
    shorten(Hasher::new().update(bytes))
}

fn shorten(hasher: &Hasher) -> Sum {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
    sum
}

/// The header of the parity of the object `name`; `table` is all checksums of shards.
fn header(name: &str, geometry: &Geometry, table: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    (header[4], header[5]) = (VERSION, TYPE);
    header[8..16].copy_from_slice(&(geometry.data_bytes() as u64).to_le_bytes());
    header[16..20].copy_from_slice(&(geometry.shard_bytes() as u32).to_le_bytes());
    header[32..CHECKED_BYTES].copy_from_slice(&sum(table));
    let sum = header_sum(name, &header);
    header[CHECKED_BYTES..].copy_from_slice(&sum);
    header
}

fn header_sum(name: &str, header: &[u8; HEADER_BYTES]) -> Sum {
    shorten(Hasher::new().update(&header[..CHECKED_BYTES]).update(name.as_bytes()))
}

/// What a header says: the geometry, and the checksum of the table.
fn read_header(name: &str, header: &[u8; HEADER_BYTES]) -> Option<(Geometry, Sum)> {
    if header_sum(name, header) != header[CHECKED_BYTES..] {
        return None;
    }
    let mut fields = Reader::new(header);
    let is_known = fields.array() == Some(MAGIC)
        && fields.u8() == Some(VERSION)
        && fields.u8() == Some(TYPE)
        && is_zero(fields.take(2)?);
    let (data_bytes, shard_bytes) = (fields.u64()?, fields.u32()?);
    let is_known = is_known && is_zero(fields.take(12)?);
    let geometry = Geometry::new(data_bytes, u64::from(shard_bytes))?;
    is_known.then_some((geometry, fields.array()?))
}
