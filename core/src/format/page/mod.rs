//! A snapshot's table: entries sorted by folder and name, cut into pages, listed by nodes.
//!
//! The table is a tree of chunks. A *page* (level 0) holds entries; a *node* (level 1 and up)
//! lists the pages or nodes of the level below. Both are cut where the name of an entry says so
//! ([`Boundary`]), so that a change moves few cuts, and equal stretches of two snapshots are
//! equal chunks. Every page carries the packs that its references lie in, so that reading a
//! snapshot needs no index.
//!
//! Knows nothing of where chunks are stored or how they are fetched.

mod boundary;
mod codec;
mod entry;
mod node;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

pub use self::{
    boundary::{Boundary, PageKind, entry_weight, row_weight},
    node::{Counts, Node, NodeRow},
};
use super::cbor::{self, Decoded, Encoded, Out};
use crate::{
    entry::{ChunkRef, Content, Entry, Piece, TreePath},
    error::Result,
    packset::PackSet,
};
use codec::{PackTable, PackTableReader};
use minicbor::Decoder;

/// The largest page, node or list that is accepted: 64 MiB.
pub const PAGE_BYTES_MAX: u32 = 64 << 20;

/// Where a table begins, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRoot {
    /// 0 if the root is a page, else the level of the root node. At most [`LEVELS_MAX`].
    pub level: u8,
    /// The chunk of the root; `None` for a table without entries.
    pub chunk: Option<ChunkRef>,
    /// What the table holds.
    pub counts: Counts,
}

/// The deepest table that is accepted: enough for more entries than a file system can hold.
pub const LEVELS_MAX: u8 = 12;

/// The position of an entry in the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EntryKey {
    /// The folder.
    pub folder: TreePath,
    /// The name in it.
    pub name: Vec<u8>,
}

impl Ord for EntryKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folder.cmp(&other.folder).then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for EntryKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Entries of one folder, in order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The folder.
    pub folder: TreePath,
    /// Its entries, or a part of them.
    pub entries: Vec<Entry>,
}

/// A stretch of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Folders in table order.
    pub groups: Vec<Group>,
}

impl Page {
    /// Adds an entry at the end.
    pub fn push(&mut self, folder: &TreePath, entry: Entry) {
        match self.groups.last_mut() {
            Some(group) if group.folder == *folder => group.entries.push(entry),
            _ => self.groups.push(Group { folder: folder.clone(), entries: vec![entry] }),
        }
    }

    /// All entries with their folders, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.groups
            .iter()
            .flat_map(|group| group.entries.iter().map(move |entry| (&group.folder, entry)))
    }

    /// The key of the first entry.
    pub fn first_key(&self) -> Option<EntryKey> {
        let (folder, entry) = self.entries().next()?;
        Some(EntryKey { folder: folder.clone(), name: entry.name.clone() })
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// What the page holds.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.entries().for_each(|(_, entry)| counts.add_entry(entry));
        counts
    }

    /// Every pack that restoring the page's entries needs.
    pub fn packs(&self) -> PackSet {
        let mut packs = PackSet::default();
        self.entries().for_each(|(_, entry)| add_content(&mut packs, &entry.content));
        packs
    }

    /// The page as bytes; the same page gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut table = PackTable::default();
        let groups = cbor::encode_with(|out| self.encode_groups(out, &mut table));
        let mut bytes = cbor::encode_with(|out| {
            out.map(2)?.u32(0)?;
            table.encode(out)?;
            out.u32(1)?;
            Ok(())
        });
        bytes.extend_from_slice(&groups);
        bytes
    }

    fn encode_groups(&self, out: &mut Out<'_>, table: &mut PackTable) -> Encoded {
        out.array(self.groups.len() as u64)?;
        let mut last: &[u8] = &[];
        for group in &self.groups {
            let path = group.folder.as_bytes();
            let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
            out.array(3)?.u32(shared as u32)?.bytes(&path[shared..])?;
            out.array(group.entries.len() as u64)?;
            for entry in &group.entries {
                entry::encode(entry, out, table)?;
            }
            last = path;
        }
        Ok(())
    }

    /// Decodes what [`Self::encode`] wrote, checking names and order.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut table, mut groups) = (None, Vec::new());
        cbor::decode_with(bytes, "page", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => table = Some(PackTableReader::decode(input)?),
                    1 => {
                        let table = table.as_ref().ok_or_else(|| cbor::wrong("no pack table"))?;
                        groups = decode_groups(input, table)?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(Self { groups })
    }
}

fn decode_groups(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<Vec<Group>> {
    let count = cbor::array_len(input)?;
    let mut groups: Vec<Group> = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        cbor::array_of(input, 3)?;
        let shared = input.u32()? as usize;
        let suffix = input.bytes()?;
        let last = groups.last().map(|group| group.folder.as_bytes()).unwrap_or_default();
        let prefix = last.get(..shared).ok_or_else(|| cbor::wrong("shared path"))?;
        let folder =
            TreePath::parse(&[prefix, suffix].concat()).ok_or_else(|| cbor::wrong("not a path"))?;
        if groups.last().is_some_and(|before| before.folder >= folder) {
            return Err(cbor::wrong("folders out of order"));
        }
        groups.push(Group { folder, entries: decode_entries(input, table)? });
    }
    Ok(groups)
}

fn decode_entries(input: &mut Decoder<'_>, table: &PackTableReader) -> Decoded<Vec<Entry>> {
    let count = cbor::array_len(input)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        let entry = entry::decode(input, table)?;
        if entries.last().is_some_and(|before| before.name >= entry.name) {
            return Err(cbor::wrong("names out of order"));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(cbor::wrong("a folder without entries"));
    }
    Ok(entries)
}

fn add_content(packs: &mut PackSet, content: &Content) {
    match content {
        Content::Inline(pieces) => pieces.iter().for_each(|piece| {
            if let Piece::Chunk(chunk) = piece {
                packs.insert(chunk.pack.id);
            }
        }),
        Content::Listed { lists, packs: listed } => {
            lists.iter().for_each(|list| packs.insert(list.pack.id));
            packs.union(listed);
        }
    }
}

/// A part of a long list of pieces, as a chunk of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PieceList {
    /// Pieces in file order.
    pub pieces: Vec<Piece>,
}

impl PieceList {
    /// The list as bytes: a map of pack table (0) and pieces (1).
    pub fn encode(&self) -> Vec<u8> {
        let mut table = PackTable::default();
        let pieces = cbor::encode_with(|out| codec::encode_pieces(&self.pieces, out, &mut table));
        let mut bytes = cbor::encode_with(|out| {
            out.map(2)?.u32(0)?;
            table.encode(out)?;
            out.u32(1)?;
            Ok(())
        });
        bytes.extend_from_slice(&pieces);
        bytes
    }

    /// Decodes what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (mut table, mut pieces) = (None, Vec::new());
        cbor::decode_with(bytes, "piece list", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => table = Some(PackTableReader::decode(input)?),
                    1 => {
                        let table = table.as_ref().ok_or_else(|| cbor::wrong("no pack table"))?;
                        pieces = codec::decode_pieces(input, table)?;
                    }
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(Self { pieces })
    }
}
