//! From plaintext chunks to sealed segments: one for each worker.
//!
//! Small chunks are gathered back to back into a segment of up to 1 MiB, so that they share a
//! compression window and one seal; a large chunk is a segment of its own.

use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};

use super::{
    known::{Claim, Known},
    packer::{ChunkUse, Packer, Slot},
    shared::Shared,
};
use crate::{
    compress::Compressor,
    crypto::KeyRing,
    entry::{ChunkRef, PackRef},
    error::Result,
    id::ChunkId,
};

/// A gathered segment holds at most so much plaintext.
pub(super) const GROUP_BYTES_MAX: usize = 1 << 20;
/// Chunks from this length on are segments of their own.
const LARGE_CHUNK_BYTES: usize = 256 << 10;

/// Turns chunks into segments.
pub(super) struct ChunkWriter {
    packer: Arc<Packer>,
    known: Arc<Known>,
    shared: Arc<Shared>,
    keys: KeyRing,
    compressor: Compressor,
    chunk_use: ChunkUse,
    group: Option<Group>,
    /// Room for the plaintext of the group, of which `filled` bytes are in use.
    plain: Vec<u8>,
    filled: usize,
    /// Output of the compressor, reused.
    compressed: Vec<u8>,
}

/// A pack and a segment of it.
type Place = (PackRef, u32);

/// A segment to be completed, or where the chunk is stored by somebody else.
type ClaimedSegment = std::result::Result<Slot, Place>;

struct Group {
    slot: Slot,
    chunks: Vec<(ChunkId, u32)>,
}

impl ChunkWriter {
    pub(super) fn new(
        packer: Arc<Packer>,
        known: Arc<Known>,
        shared: Arc<Shared>,
        keys: KeyRing,
        compressor: Compressor,
        chunk_use: ChunkUse,
    ) -> Self {
        Self {
            packer,
            known,
            shared,
            keys,
            compressor,
            chunk_use,
            group: None,
            plain: vec![0; GROUP_BYTES_MAX],
            filled: 0,
            compressed: Vec::new(),
        }
    }

    /// Adds a chunk, or finds where it is stored already.
    pub(super) fn add(&mut self, data: &[u8]) -> Result<ChunkRef> {
        let id = self.keys.chunk_keys().chunk_id(data);
        if let Some(found) = self.find(&id)? {
            return Ok(reference(id, found, data.len()));
        }
        if data.len() < LARGE_CHUNK_BYTES {
            self.make_room(data.len())?;
            self.plain[self.filled..self.filled + data.len()].copy_from_slice(data);
            return self.add_to_group(id, data.len());
        }
        self.flush_if_urgent()?;
        let slot = match self.claim_segment(&id, data.len())? {
            Ok(slot) => slot,
            Err(place) => return Ok(reference(id, place, data.len())),
        };
        let place = slot.reference();
        self.count(data.len());
        let algorithm = self.compressor.compress(data, &mut self.compressed);
        let chunks = vec![(id, data.len() as u32)];
        self.packer.complete(slot, chunks, algorithm, &mut self.compressed, self.chunk_use)?;
        Ok(reference(id, place, data.len()))
    }

    /// Gives `fill` room for up to `length_max` bytes (at most [`GROUP_BYTES_MAX`]) at the place
    /// where a small chunk is stored, and adds what it put there: without a copy. `None` if
    /// `fill` put nothing there.
    pub(super) fn add_in_place(
        &mut self,
        length_max: usize,
        fill: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<std::io::Result<Option<ChunkRef>>> {
        self.make_room(length_max)?;
        let room = &mut self.plain[self.filled..self.filled + length_max];
        let length = match fill(room) {
            Err(error) => return Ok(Err(error)),
            Ok(0) => return Ok(Ok(None)),
            Ok(length) => length.min(length_max),
        };
        let id = self.keys.chunk_keys().chunk_id(&room[..length]);
        if let Some(found) = self.find(&id)? {
            return Ok(Ok(Some(reference(id, found, length))));
        }
        self.add_to_group(id, length).map(|chunk| Ok(Some(chunk)))
    }

    /// The id that a chunk has.
    pub(super) fn id_of(&self, data: &[u8]) -> ChunkId {
        self.keys.chunk_keys().chunk_id(data)
    }

    /// Adds the `length` bytes behind the filled ones to the group.
    fn add_to_group(&mut self, id: ChunkId, length: usize) -> Result<ChunkRef> {
        let taken = match &self.group {
            Some(group) => {
                let (pack, segment) = group.slot.place();
                self.known.claim(&id, pack, segment)
            }
            None => self.begin_group(&id)?,
        };
        if let Some(place) = taken {
            return Ok(reference(id, place, length));
        }
        let Some(group) = &mut self.group else { return Err(super::shared::stopped()) };
        group.chunks.push((id, length as u32));
        let place = group.slot.reference();
        self.filled += length;
        self.count(length);
        Ok(reference(id, place, length))
    }

    /// Begins a group, of which the chunk is to be the first; none if another worker stores the
    /// chunk, whose place is returned then.
    fn begin_group(&mut self, first: &ChunkId) -> Result<Option<Place>> {
        match self.claim_segment(first, GROUP_BYTES_MAX)? {
            Ok(slot) => self.group = Some(Group { slot, chunks: Vec::new() }),
            Err(place) => return Ok(Some(place)),
        }
        Ok(None)
    }

    fn find(&self, id: &ChunkId) -> Result<Option<Place>> {
        match self.chunk_use {
            ChunkUse::Data => self.known.find(id),
            ChunkUse::Table => Ok(self.known.find_loaded(id)),
        }
    }

    fn make_room(&mut self, length: usize) -> Result<()> {
        if self.filled + length > GROUP_BYTES_MAX {
            return self.flush();
        }
        self.flush_if_urgent()
    }

    /// A pack that waits for our group must not wait long: it is held in memory.
    pub(super) fn flush_if_urgent(&mut self) -> Result<()> {
        match &self.group {
            Some(group) if group.slot.is_urgent() => self.flush(),
            _ => Ok(()),
        }
    }

    /// Seals what has been gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(Group { slot, chunks }) = self.group.take() {
            let plain = &self.plain[..self.filled];
            let algorithm = self.compressor.compress(plain, &mut self.compressed);
            let payload = &mut self.compressed;
            self.packer.complete(slot, chunks, algorithm, payload, self.chunk_use)?;
        }
        self.filled = 0;
        Ok(())
    }

    /// A segment that the chunk is the first of, or the place where another worker stores it.
    /// What has been gathered is sealed first if there is to be a new pack: a writer that waits
    /// for one must not keep another one open.
    fn claim_segment(&mut self, id: &ChunkId, payload_bytes: usize) -> Result<ClaimedSegment> {
        loop {
            let allocate = || self.packer.try_allocate(payload_bytes);
            match self.known.claim_with(id, allocate, Slot::place) {
                Claim::Ours(slot) => return Ok(Ok(slot)),
                Claim::Taken(place) => return Ok(Err(place)),
                Claim::NoRoom => {
                    self.flush()?;
                    self.packer.make_room(payload_bytes)?;
                }
            }
        }
    }

    fn count(&self, length: usize) {
        let counters = &self.shared.counters;
        let add = |counter: &AtomicU64, by: usize| counter.fetch_add(by as u64, Ordering::Relaxed);
        match self.chunk_use {
            ChunkUse::Data => add(&counters.data_chunks, 1),
            ChunkUse::Table => add(&counters.table_chunks, 1),
        };
        add(&counters.added_bytes, length);
    }
}

fn reference(id: ChunkId, place: Place, length: usize) -> ChunkRef {
    let (pack, segment) = place;
    ChunkRef { id, pack, segment, len_bytes: length as u32 }
}
