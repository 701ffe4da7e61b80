//! The directory of a pack: which chunks each segment holds, and so where each segment lies.
//!
//! ```text
//! LE32 segments | each segment: algorithm, LE32 plain, LE32 stored, LE32 chunks
//!               | each chunk: id 32, LE32 length
//! ```
//! There are no offsets: segments follow each other, so they tile the pack by construction. Packs
//! seal directories, and index segments embed them; this file knows the plain bytes only.

use super::{PACK_BYTES_MAX, PREFIX_BYTES};
use crate::{
    compress::Algorithm,
    crypto::{TAG_BYTES, padme},
    error::{Error, Result},
    format::wire::{Reader, is_zero},
    id::ChunkId,
};

/// The longest plaintext of one segment.
pub const SEGMENT_PLAIN_BYTES_MAX: u32 = 16 << 20;
/// The longest directory, before sealing: some 460,000 chunks.
pub const DIRECTORY_PLAIN_BYTES_MAX: usize = 16 << 20;

const COUNT_BYTES: usize = 4;
const SEGMENT_ROW_BYTES: usize = 1 + 3 * 4;
const CHUNK_ROW_BYTES: usize = ChunkId::LEN + 4;

/// What a pack holds, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// The segments, in the order in which they lie in the pack.
    pub segments: Vec<SegmentRow>,
}

/// One unit of compression and sealing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// How the chunks are stored.
    pub algorithm: Algorithm,
    /// Length of all its chunks together.
    pub plain_len: u32,
    /// Length in the pack, the authentication tag included.
    pub stored_len: u32,
    /// Id and plain length of the chunks that it holds, back to back.
    pub chunks: Vec<(ChunkId, u32)>,
}

impl SegmentRow {
    /// The row of a padding of `len` zeros.
    pub(super) fn padding(len: u32) -> Self {
        let stored_len = len.saturating_add(TAG_BYTES as u32);
        Self { algorithm: Algorithm::Padding, plain_len: len, stored_len, chunks: Vec::new() }
    }
}

impl Directory {
    /// Length of the encoded directory.
    pub fn encoded_bytes(&self) -> usize {
        let rows = |row: &SegmentRow| SEGMENT_ROW_BYTES + row.chunks.len() * CHUNK_ROW_BYTES;
        COUNT_BYTES + self.segments.iter().map(rows).sum::<usize>()
    }

    /// Length of the encoded directory with the zeros that hide it.
    pub(super) fn padded_bytes(&self) -> usize {
        padme(self.encoded_bytes() as u64) as usize
    }

    /// Where the first segment begins in the pack. For a whole directory, the padding's row
    /// included, as it is read from a pack or returned with a sealed one.
    pub fn segments_offset(&self) -> u64 {
        (PREFIX_BYTES + self.padded_bytes() + TAG_BYTES) as u64
    }

    /// Where each segment begins in the pack, in order; same condition.
    pub fn segment_offsets(&self) -> impl Iterator<Item = u64> {
        self.segments.iter().scan(self.segments_offset(), |offset, row| {
            let start = *offset;
            *offset += u64::from(row.stored_len);
            Some(start)
        })
    }

    /// Size of the pack; same condition.
    pub fn pack_bytes(&self) -> u64 {
        let stored = |row: &SegmentRow| u64::from(row.stored_len);
        self.segments_offset() + self.segments.iter().map(stored).sum::<u64>()
    }

    /// The directory's bytes, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.padded_bytes());
        bytes.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for row in &self.segments {
            bytes.push(row.algorithm.code());
            for number in [row.plain_len, row.stored_len, row.chunks.len() as u32] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
        for (id, len) in self.segments.iter().flat_map(|row| &row.chunks) {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&len.to_le_bytes());
        }
        bytes
    }

    /// The directory that `bytes` are, with nothing before or after it.
    ///
    /// # Errors
    /// `Damaged` if they are none, or one that breaks a rule of the format. Nothing is allocated
    /// beyond a small multiple of the input.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match Self::decode_prefix(bytes)? {
            (directory, used) if used == bytes.len() => Ok(directory),
            _ => Err(damaged("bytes after a pack directory")),
        }
    }

    /// The directory that `bytes` begin with, and how many bytes it takes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_prefix(bytes: &[u8]) -> Result<(Self, usize)> {
        let directory = parse(bytes).map_err(damaged)?;
        directory.check().map_err(damaged)?;
        let used = directory.encoded_bytes();
        Ok((directory, used))
    }

    /// The directory from the plaintext that a pack seals: padded with zeros to a PADME length,
    /// and ending with the row of the pack's padding.
    pub(super) fn decode_padded(plain: &[u8]) -> Result<Self, String> {
        let directory = parse(plain)?;
        directory.check()?;
        let is_padded =
            plain.len() == directory.padded_bytes() && is_zero(&plain[directory.encoded_bytes()..]);
        if !is_padded {
            return Err("the directory is not padded as it must be".to_owned());
        }
        if directory.segments.last().is_none_or(|row| row.algorithm != Algorithm::Padding) {
            return Err("the directory lacks the padding".to_owned());
        }
        Ok(directory)
    }

    /// Whether it keeps the rules of the format, apart from the presence of a padding.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.encoded_bytes() > DIRECTORY_PLAIN_BYTES_MAX {
            return Err("a directory over 16 MiB".to_owned());
        }
        for (number, row) in self.segments.iter().enumerate() {
            check_row(row.algorithm, row.plain_len, row.stored_len as usize, &row.chunks)
                .map_err(|why| format!("segment {number}: {why}"))?;
            if row.algorithm == Algorithm::Padding && number + 1 != self.segments.len() {
                return Err(format!("segment {number}: a padding before the end"));
            }
        }
        if self.pack_bytes() > PACK_BYTES_MAX {
            return Err("a pack over 256 MiB".to_owned());
        }
        Ok(())
    }
}

/// Whether one segment keeps the rules of the format.
pub(super) fn check_row(
    algorithm: Algorithm,
    plain_len: u32,
    stored_len: usize,
    chunks: &[(ChunkId, u32)],
) -> Result<(), String> {
    if plain_len > SEGMENT_PLAIN_BYTES_MAX {
        return Err(format!("{plain_len} bytes, over 16 MiB"));
    }
    let is_stored_len_right = match algorithm {
        Algorithm::Stored | Algorithm::Padding => stored_len == plain_len as usize + TAG_BYTES,
        Algorithm::Zstd => (TAG_BYTES + 1..plain_len as usize + TAG_BYTES).contains(&stored_len),
    };
    if !is_stored_len_right {
        return Err(format!("{plain_len} bytes stored as {stored_len}"));
    }
    if (algorithm == Algorithm::Padding) != chunks.is_empty() {
        return Err("a padding with chunks, or content without".to_owned());
    }
    let chunk_bytes: u64 = chunks.iter().map(|(_, len)| u64::from(*len)).sum();
    if algorithm != Algorithm::Padding && chunk_bytes != u64::from(plain_len) {
        return Err(format!("chunks of {chunk_bytes} bytes in a segment of {plain_len}"));
    }
    Ok(())
}

fn damaged(why: impl Into<String>) -> Error {
    Error::new(crate::error::ErrorKind::Damaged, why)
}

/// The rows, however wrong; every count is checked against the bytes that are there.
fn parse(bytes: &[u8]) -> Result<Directory, String> {
    let truncated = || "a truncated pack directory".to_owned();
    let mut reader = Reader::new(bytes);
    let segment_count = reader.u32().ok_or_else(truncated)? as usize;
    if segment_count > reader.rest().len() / SEGMENT_ROW_BYTES {
        return Err(truncated());
    }
    let mut segments = Vec::with_capacity(segment_count);
    let mut chunk_counts = Vec::with_capacity(segment_count);
    for _ in 0..segment_count {
        let code = reader.u8().ok_or_else(truncated)?;
        let algorithm =
            Algorithm::from_code(code).ok_or_else(|| format!("unknown algorithm {code}"))?;
        let plain_len = reader.u32().ok_or_else(truncated)?;
        let stored_len = reader.u32().ok_or_else(truncated)?;
        chunk_counts.push(reader.u32().ok_or_else(truncated)? as usize);
        segments.push(SegmentRow { algorithm, plain_len, stored_len, chunks: Vec::new() });
    }
    for (segment, count) in segments.iter_mut().zip(chunk_counts) {
        let rows = count.checked_mul(CHUNK_ROW_BYTES).and_then(|bytes| reader.take(bytes));
        let (rows, _) = rows.ok_or_else(truncated)?.as_chunks::<CHUNK_ROW_BYTES>();
        segment.chunks = rows.iter().map(parse_chunk).collect();
    }
    Ok(Directory { segments })
}

fn parse_chunk(row: &[u8; CHUNK_ROW_BYTES]) -> (ChunkId, u32) {
    let (id, len) = row.split_at(ChunkId::LEN);
    let mut id_bytes = [0; ChunkId::LEN];
    let mut len_bytes = [0; 4];
    id_bytes.copy_from_slice(id);
    len_bytes.copy_from_slice(len);
    (ChunkId(id_bytes), u32::from_le_bytes(len_bytes))
}
