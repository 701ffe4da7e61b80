//! Packs being filled: hands out segments, collects them sealed, sends finished packs on.
//!
//! All workers fill the same pack, so that one pack and one being finished is all that is held.
//! A chunk's place (pack and segment) is known when it is added, before anything is sealed.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    arena::{Arena, ArenaPool},
    known::Known,
    shared,
};
use crate::{
    compress::Algorithm,
    crypto::KeyRing,
    entry::PackRef,
    error::{Error, Result},
    format::pack::{Directory, PackSealer, SealedPack, SegmentRow},
    id::{ChunkId, PackId, SessionId},
    runtime::Randomness,
};

/// What a chunk is part of; for counting, for whether the index is asked, and for the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkUse {
    /// Content of files.
    Data,
    /// Pages, nodes, lists: never worth loading the index for.
    Table,
}

/// Bytes that a segment's row and each of its chunks take in the directory.
const ROW_BYTES: u64 = 13;
const CHUNK_ROW_BYTES: u64 = 36;
/// A sealed segment is so much longer than its payload.
const TAG_BYTES: u64 = 16;

/// A pack ready to be stored.
#[derive(Debug)]
pub(super) struct FinishedPack {
    pub(super) pack: PackRef,
    pub(super) sealed: SealedPack,
    /// Segments that hold pages, nodes and lists, in no order.
    pub(super) table_segments: Vec<u32>,
    /// Where its segments lie; to be dropped once the pack is stored.
    pub(super) arena: Arena,
}

/// Hands out segments of the pack being filled.
pub(super) struct Packer {
    keys: KeyRing,
    randomness: Arc<dyn Randomness>,
    session: SessionId,
    pack_bytes: u64,
    known: Arc<Known>,
    arenas: Arc<ArenaPool>,
    finished: mpsc::Sender<FinishedPack>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    pack: Option<Arc<OpenPack>>,
    next_counter: u32,
}

/// A pack being filled.
pub(super) struct OpenPack {
    sealer: PackSealer,
    pack: PackRef,
    /// Its number in [`Known`].
    number: u32,
    is_closing: AtomicBool,
    filling: Mutex<Filling>,
}

struct Filling {
    /// Taken out when the pack is finished.
    arena: Option<Arena>,
    /// Sealed bytes, and for open segments what they may take at most.
    used_bytes: u64,
    open: u32,
    segments: Vec<Option<(SegmentRow, Bytes)>>,
    table_segments: Vec<u32>,
}

/// A segment that was handed out: to be completed by [`Packer::complete`].
pub(super) struct Slot {
    pack: Arc<OpenPack>,
    segment: u32,
    reserved_bytes: u64,
}

impl Slot {
    /// The number of the pack in [`Known`], and the segment.
    pub(super) fn place(&self) -> (u32, u32) {
        (self.pack.number, self.segment)
    }

    /// The pack and the segment, as references name them.
    pub(super) fn reference(&self) -> (PackRef, u32) {
        (self.pack.pack, self.segment)
    }

    /// True once the pack waits only for its open segments.
    pub(super) fn is_urgent(&self) -> bool {
        self.pack.is_closing.load(Ordering::Relaxed)
    }
}

impl Packer {
    pub(super) fn new(
        keys: KeyRing,
        randomness: Arc<dyn Randomness>,
        session: SessionId,
        pack_bytes: u64,
        known: Arc<Known>,
        arenas: Arc<ArenaPool>,
        finished: mpsc::Sender<FinishedPack>,
    ) -> Self {
        let current = Mutex::default();
        Self { keys, randomness, session, pack_bytes, known, arenas, finished, current }
    }

    /// A segment for a payload of at most `payload_bytes` in the pack being filled; `None` if
    /// it has no more room. Never waits.
    pub(super) fn try_allocate(&self, payload_bytes: usize) -> Option<Slot> {
        let current = lock(&self.current);
        current.pack.as_ref()?.try_allocate(reservation(payload_bytes), self.pack_bytes)
    }

    /// Sees to it that [`Self::try_allocate`] has room for a payload of at most `payload_bytes`,
    /// unless others take it first. Waits for the memory of a pack: the caller must hold no slot,
    /// or packs would wait for each other.
    pub(super) fn make_room(&self, payload_bytes: usize) -> Result<()> {
        let full = {
            let mut current = lock(&self.current);
            if self.has_room(&current, payload_bytes) {
                return Ok(());
            }
            current.pack.take()
        };
        if let Some(full) = full {
            self.close(&full)?;
        }
        let arena = self.arenas.take().ok_or_else(shared::stopped)?;
        let mut current = lock(&self.current);
        // another writer may have opened the next one meanwhile
        if self.has_room(&current, payload_bytes) {
            return Ok(());
        }
        let pack = Arc::new(self.open(&mut current, arena)?);
        let replaced = current.pack.replace(pack);
        drop(current);
        replaced.map_or(Ok(()), |replaced| self.close(&replaced))
    }

    fn has_room(&self, current: &Current, payload_bytes: usize) -> bool {
        let reserved_bytes = reservation(payload_bytes);
        current.pack.as_ref().is_some_and(|pack| pack.has_room(reserved_bytes, self.pack_bytes))
    }

    fn open(&self, current: &mut Current, arena: Arena) -> Result<OpenPack> {
        let id = PackId { session: self.session, counter: current.next_counter };
        current.next_counter = current
            .next_counter
            .checked_add(1)
            .ok_or_else(|| Error::internal("more packs than a session can number"))?;
        let sealer = PackSealer::new(&self.keys, id, &*self.randomness);
        let pack = PackRef { id, epoch: sealer.epoch(), salt: *sealer.salt() };
        let number = self.known.add_pack(pack);
        let is_closing = AtomicBool::new(false);
        let filling = Filling {
            arena: Some(arena),
            used_bytes: 0,
            open: 0,
            segments: Vec::new(),
            table_segments: Vec::new(),
        };
        Ok(OpenPack { sealer, pack, number, is_closing, filling: Mutex::new(filling) })
    }

    /// Seals `payload` (compressed with `algorithm` from the plaintext of `chunks`) in place and
    /// copies it into the slot.
    pub(super) fn complete(
        &self,
        slot: Slot,
        chunks: Vec<(ChunkId, u32)>,
        algorithm: Algorithm,
        payload: &mut Vec<u8>,
        chunk_use: ChunkUse,
    ) -> Result<()> {
        let plain_len = chunks.iter().map(|(_, length)| *length).sum();
        let pack = slot.pack;
        pack.sealer.seal_segment(slot.segment, &chunks, algorithm, plain_len, payload)?;
        let row_bytes = ROW_BYTES + CHUNK_ROW_BYTES * chunks.len() as u64;
        let stored_len = payload.len() as u32;
        let row = SegmentRow { algorithm, plain_len, stored_len, chunks };
        let mut filling = lock(&pack.filling);
        filling.used_bytes += u64::from(stored_len) + row_bytes;
        filling.used_bytes -= slot.reserved_bytes.min(filling.used_bytes);
        filling.open -= 1;
        let arena = filling.arena.as_mut();
        let arena = arena.ok_or_else(|| Error::internal("a slot of a finished pack"))?;
        let sealed = arena.add(payload);
        filling.segments[slot.segment as usize] = Some((row, sealed));
        if chunk_use == ChunkUse::Table {
            filling.table_segments.push(slot.segment);
        }
        let is_last = filling.open == 0 && pack.is_closing.load(Ordering::Relaxed);
        drop(filling);
        if is_last { self.finish(&pack) } else { Ok(()) }
    }

    /// No more segments go into `pack`; finishes it if none is open.
    fn close(&self, pack: &Arc<OpenPack>) -> Result<()> {
        let filling = lock(&pack.filling);
        let was_closing = pack.is_closing.swap(true, Ordering::Relaxed);
        let is_complete = filling.open == 0 && !filling.segments.is_empty();
        drop(filling);
        if is_complete && !was_closing { self.finish(pack) } else { Ok(()) }
    }

    fn finish(&self, pack: &OpenPack) -> Result<()> {
        let mut filling = lock(&pack.filling);
        let filled = std::mem::take(&mut filling.segments);
        let table_segments = std::mem::take(&mut filling.table_segments);
        let arena = filling.arena.take();
        drop(filling);
        let arena = arena.ok_or_else(|| Error::internal("a pack finished twice"))?;
        let mut directory = Directory { segments: Vec::with_capacity(filled.len()) };
        let mut segments = Vec::with_capacity(filled.len());
        for segment in filled {
            let (row, bytes) =
                segment.ok_or_else(|| Error::internal("a pack with an open segment"))?;
            directory.segments.push(row);
            segments.push(bytes);
        }
        let sealed = pack.sealer.finish(&directory, segments)?;
        let finished = FinishedPack { pack: pack.pack, sealed, table_segments, arena };
        self.finished.blocking_send(finished).map_err(|_| shared::stopped())
    }

    /// Closes the last pack. All slots must have been completed.
    pub(super) fn close_all(&self) -> Result<()> {
        let last = lock(&self.current).pack.take();
        last.map_or(Ok(()), |pack| self.close(&pack))
    }
}

impl OpenPack {
    fn try_allocate(self: &Arc<Self>, reserved_bytes: u64, limit_bytes: u64) -> Option<Slot> {
        let mut filling = lock(&self.filling);
        if !self.is_open_for(&filling, reserved_bytes, limit_bytes) {
            return None;
        }
        let segment = filling.segments.len() as u32;
        filling.segments.push(None);
        filling.used_bytes += reserved_bytes;
        filling.open += 1;
        Some(Slot { pack: self.clone(), segment, reserved_bytes })
    }

    fn has_room(&self, reserved_bytes: u64, limit_bytes: u64) -> bool {
        self.is_open_for(&lock(&self.filling), reserved_bytes, limit_bytes)
    }

    /// The first segment always has room, however small packs are to be.
    fn is_open_for(&self, filling: &Filling, reserved_bytes: u64, limit_bytes: u64) -> bool {
        let has_room = filling.used_bytes + reserved_bytes <= limit_bytes;
        (has_room || filling.segments.is_empty()) && !self.is_closing.load(Ordering::Relaxed)
    }
}

fn reservation(payload_bytes: usize) -> u64 {
    payload_bytes as u64 + TAG_BYTES + ROW_BYTES
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
