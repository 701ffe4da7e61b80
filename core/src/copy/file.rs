//! A file of a stored snapshot: its chunks as one stream, or extent by extent.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use futures::StreamExt;

use super::{
    feed::{Feed, Feeder},
    source::Shared,
};
use crate::{
    entry::{Entry, Piece, Stat},
    look::content::{Block, blocks, pieces},
    repository::packs::PackReader,
    source::SourceFile,
};

/// Chunks that wait to be taken, beyond those that are being fetched.
const BLOCKS_MAX: usize = 4;
/// Extents found ahead.
const EXTENTS_MAX: usize = 64;

/// An open file.
pub(super) struct StoredFile {
    entry: Arc<Entry>,
    shared: Arc<Shared>,
    blocks: Feed<Block>,
    extents: Option<Feed<Range<u64>>>,
    /// Where the extent ends that is being read.
    extent_end: Option<u64>,
    position: u64,
    /// What is left of the block at the position.
    data: Bytes,
    hole: u64,
}

impl StoredFile {
    pub(super) fn open(entry: &Entry, shared: Arc<Shared>) -> Self {
        let entry = Arc::new(entry.clone());
        let blocks = Feed::start(&shared, "file to copy", BLOCKS_MAX, |feeder| {
            feed_blocks(shared.packs.clone(), entry.clone(), feeder)
        });
        Self {
            entry,
            shared,
            blocks,
            extents: None,
            extent_end: None,
            position: 0,
            data: Bytes::new(),
            hole: 0,
        }
    }

    /// Takes the next block; false at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        match self.blocks.next().map_err(io::Error::other)? {
            None => return Ok(false),
            Some(Block::Data(bytes)) => self.data = bytes,
            Some(Block::Hole(length)) => self.hole = length,
        }
        Ok(true)
    }
}

impl SourceFile for StoredFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.extent_end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
        let room = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if room == 0 {
            return Ok(0);
        }
        loop {
            if self.hole > 0 && self.extent_end.is_some() {
                // the caller asked for data: the hole lies before it
                self.position += std::mem::take(&mut self.hole);
            } else if self.hole > 0 {
                let count = usize::try_from(self.hole).map_or(room, |hole| hole.min(room));
                buffer[..count].fill(0);
                self.hole -= count as u64;
                self.position += count as u64;
                return Ok(count);
            } else if !self.data.is_empty() {
                let count = room.min(self.data.len());
                buffer[..count].copy_from_slice(&self.data.split_to(count));
                self.position += count as u64;
                return Ok(count);
            } else if !self.next_block()? {
                return Ok(0);
            }
        }
    }

    fn next_extent(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let extents = self.extents.get_or_insert_with(|| {
            Feed::start(&self.shared, "extents to copy", EXTENTS_MAX, |feeder| {
                feed_extents(self.shared.packs.clone(), self.entry.clone(), feeder)
            })
        });
        loop {
            match extents.next().map_err(io::Error::other)? {
                None => return Ok(None),
                Some(extent) if extent.end <= offset => {}
                Some(extent) => {
                    self.extent_end = Some(extent.end);
                    return Ok(Some(extent));
                }
            }
        }
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(Some(self.entry.stat))
    }

    fn is_torn(&self) -> bool {
        self.entry.is_torn
    }
}

async fn feed_blocks(
    packs: Arc<PackReader>,
    entry: Arc<Entry>,
    feeder: Feeder<Block>,
) -> Feeder<Block> {
    let mut blocks = blocks(&packs, &entry);
    while let Some(block) = blocks.next().await {
        if !feeder.send(block).await {
            break;
        }
    }
    feeder
}

/// Sends stretches of data between holes; neighbouring chunks are one.
async fn feed_extents(
    packs: Arc<PackReader>,
    entry: Arc<Entry>,
    feeder: Feeder<Range<u64>>,
) -> Feeder<Range<u64>> {
    let mut pieces = pieces(&packs, &entry);
    let (mut position, mut extent) = (0, 0..0);
    while let Some(piece) = pieces.next().await {
        let before = match piece {
            Ok(Piece::Chunk(chunk)) => {
                if extent.is_empty() {
                    extent.start = position;
                }
                position += u64::from(chunk.len_bytes);
                extent.end = position;
                continue;
            }
            Ok(Piece::Hole(length)) => {
                position += length;
                Ok(std::mem::replace(&mut extent, 0..0))
            }
            Err(error) => Err(error),
        };
        if before.as_ref().is_ok_and(Range::is_empty) {
            continue;
        }
        if !feeder.send(before).await {
            return feeder;
        }
    }
    if !extent.is_empty() {
        feeder.send(Ok(extent)).await;
    }
    feeder
}
