//! References to chunks, by row of a page's pack table.

use std::collections::HashMap;

use minicbor::Decoder;

use super::super::cbor::{self, Decoded, Encoded, Out};
use crate::{
    entry::{ChunkRef, PackRef, Piece},
    id::{ChunkId, PackId, SessionId},
};

/// Collects the packs of a page while it is encoded; rows in order of first use.
#[derive(Debug, Default)]
pub(super) struct PackTable {
    rows: Vec<PackRef>,
    numbers: HashMap<PackId, u32>,
}

impl PackTable {
    fn row(&mut self, pack: &PackRef) -> u32 {
        let next = self.rows.len() as u32;
        *self.numbers.entry(pack.id).or_insert_with(|| {
            self.rows.push(*pack);
            next
        })
    }

    /// Encodes as an array of `[session, counter, epoch, salt]`.
    pub(super) fn encode(&self, out: &mut Out<'_>) -> Encoded {
        out.array(self.rows.len() as u64)?;
        for row in &self.rows {
            out.array(4)?.bytes(row.id.session.as_bytes())?.u32(row.id.counter)?;
            out.u32(row.epoch)?.bytes(&row.salt)?;
        }
        Ok(())
    }
}

/// The pack table of a page being decoded.
#[derive(Debug, Default)]
pub(super) struct PackTableReader(Vec<PackRef>);

impl PackTableReader {
    pub(super) fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        let count = cbor::array_len(input)?;
        let mut rows = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            cbor::array_of(input, 4)?;
            let session = SessionId(cbor::fixed(input)?);
            let id = PackId { session, counter: input.u32()? };
            rows.push(PackRef { id, epoch: input.u32()?, salt: cbor::fixed(input)? });
        }
        Ok(Self(rows))
    }

    fn get(&self, row: u32) -> Decoded<PackRef> {
        self.0.get(row as usize).copied().ok_or_else(|| cbor::wrong("no such pack row"))
    }
}

/// Encodes as `[id, pack row, segment, length]`.
pub(super) fn encode_chunk(chunk: &ChunkRef, out: &mut Out<'_>, table: &mut PackTable) -> Encoded {
    let row = table.row(&chunk.pack);
    out.array(4)?.bytes(chunk.id.as_bytes())?.u32(row)?;
    out.u32(chunk.segment)?.u32(chunk.len_bytes)?;
    Ok(())
}

pub(super) fn decode_chunk(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<ChunkRef> {
    cbor::array_of(input, 4)?;
    Ok(ChunkRef {
        id: ChunkId(cbor::fixed(input)?),
        pack: table.get(input.u32()?)?,
        segment: input.u32()?,
        len_bytes: input.u32()?,
    })
}

/// Encodes as an array whose items are chunk references or, for holes, plain numbers.
pub(super) fn encode_pieces(pieces: &[Piece], out: &mut Out<'_>, table: &mut PackTable) -> Encoded {
    out.array(pieces.len() as u64)?;
    for piece in pieces {
        match piece {
            Piece::Chunk(chunk) => encode_chunk(chunk, out, table)?,
            Piece::Hole(length) => {
                out.u64(*length)?;
            }
        }
    }
    Ok(())
}

pub(super) fn decode_pieces(
    input: &mut Decoder<'_>,
    table: &PackTableReader,
) -> Decoded<Vec<Piece>> {
    let count = cbor::array_len(input)?;
    let mut pieces = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        pieces.push(match input.datatype()? {
            minicbor::data::Type::Array => Piece::Chunk(decode_chunk(input, table)?),
            _ => Piece::Hole(input.u64()?),
        });
    }
    Ok(pieces)
}
