//! A node: the list of the pages or nodes of the level below.

use minicbor::Decoder;

use super::{
    super::cbor::{self, Decoded, Encoded, Out},
    EntryKey,
    codec::{self, PackTable, PackTableReader},
};
use crate::{
    entry::{ChunkRef, Entry, EntryKind, TreePath, is_valid_name},
    error::Result,
    packset::PackSet,
};

/// How many entries of which kind, and the lengths of all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Everything else.
    pub others: u64,
    /// Lengths of all files.
    pub bytes: u64,
}

impl Counts {
    /// Counts one more entry.
    pub fn add_entry(&mut self, entry: &Entry) {
        match entry.stat.kind {
            EntryKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.stat.size);
            }
            EntryKind::Dir => self.dirs += 1,
            _ => self.others += 1,
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.files = self.files.saturating_add(other.files);
        self.dirs = self.dirs.saturating_add(other.dirs);
        self.others = self.others.saturating_add(other.others);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// How many entries.
    pub fn entries(&self) -> u64 {
        self.files.saturating_add(self.dirs).saturating_add(self.others)
    }

    /// Encodes as `[files, dirs, others, bytes]`.
    pub(in super::super) fn encode(&self, out: &mut Out<'_>) -> Encoded {
        out.array(4)?.u64(self.files)?.u64(self.dirs)?.u64(self.others)?.u64(self.bytes)?;
        Ok(())
    }

    pub(in super::super) fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        cbor::array_of(input, 4)?;
        Ok(Self {
            files: input.u64()?,
            dirs: input.u64()?,
            others: input.u64()?,
            bytes: input.u64()?,
        })
    }
}

/// One page or node of the level below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The key of its first entry.
    pub first: EntryKey,
    /// Its chunk.
    pub chunk: ChunkRef,
    /// What it holds.
    pub counts: Counts,
    /// Every pack that reading and restoring it needs, its own chunk's included.
    pub packs: PackSet,
}

/// A list of pages or nodes in table order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The level: 1 if the rows are pages.
    pub level: u8,
    /// The rows.
    pub rows: Vec<NodeRow>,
}

impl Node {
    /// What is below.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.rows.iter().for_each(|row| counts.add(&row.counts));
        counts
    }

    /// Every pack that is needed for what is below.
    pub fn packs(&self) -> PackSet {
        let mut packs = PackSet::default();
        self.rows.iter().for_each(|row| packs.union(&row.packs));
        packs
    }

    /// The node as bytes: a map of pack table (0), rows (1) and level (2).
    pub fn encode(&self) -> Vec<u8> {
        let mut table = PackTable::default();
        let rows = cbor::encode_with(|out| self.encode_rows(out, &mut table));
        let mut bytes = cbor::encode_with(|out| {
            out.map(3)?.u32(0)?;
            table.encode(out)?;
            out.u32(1)?;
            Ok(())
        });
        bytes.extend_from_slice(&rows);
        bytes.extend_from_slice(&cbor::encode_with(|out| {
            out.u32(2)?.u8(self.level)?;
            Ok(())
        }));
        bytes
    }

    fn encode_rows(&self, out: &mut Out<'_>, table: &mut PackTable) -> Encoded {
        out.array(self.rows.len() as u64)?;
        for row in &self.rows {
            out.array(5)?.bytes(row.first.folder.as_bytes())?.bytes(&row.first.name)?;
            codec::encode_chunk(&row.chunk, out, table)?;
            row.counts.encode(out)?;
            row.packs.encode(out)?;
        }
        Ok(())
    }

    /// Decodes what [`Self::encode`] wrote, checking level and order.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut table, mut node) = (None, Self::default());
        cbor::decode_with(bytes, "node", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => table = Some(PackTableReader::decode(input)?),
                    1 => {
                        let table = table.as_ref().ok_or_else(|| cbor::wrong("no pack table"))?;
                        node.rows = decode_rows(input, table)?;
                    }
                    2 => node.level = input.u8()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })?;
            if node.rows.is_empty() || node.level == 0 || node.level > super::LEVELS_MAX {
                return Err(cbor::wrong("no rows, or a level that cannot be"));
            }
            Ok(())
        })?;
        Ok(node)
    }
}

fn decode_rows(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<Vec<NodeRow>> {
    let count = cbor::array_len(input)?;
    let mut rows: Vec<NodeRow> = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        cbor::array_of(input, 5)?;
        let folder = TreePath::parse(input.bytes()?).ok_or_else(|| cbor::wrong("not a path"))?;
        let name = input.bytes()?.to_vec();
        let first = EntryKey { folder, name };
        if !is_valid_name(&first.name) || rows.last().is_some_and(|row| row.first >= first) {
            return Err(cbor::wrong("rows out of order"));
        }
        let chunk = codec::decode_chunk(input, table)?;
        let counts = Counts::decode(input)?;
        rows.push(NodeRow { first, chunk, counts, packs: PackSet::decode(input)? });
    }
    Ok(rows)
}
