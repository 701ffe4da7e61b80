//! Which chunks are stored already, and where.
//!
//! The repository's index is loaded only when the first new content turns up: an unchanged tree
//! never pays for it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    entry::PackRef,
    error::{Error, ErrorKind, Result},
    format::pack::Directory,
    id::ChunkId,
};

const SHARDS: usize = 64;

const NOT_LOADED: u8 = 0;
const LOADED: u8 = 1;
const FAILED: u8 = 2;

/// Where a chunk is: the number of the pack in [`Known`] and the segment.
#[derive(Debug, Clone, Copy)]
struct Place {
    pack: u32,
    segment: u32,
}

type Shard = HashMap<ChunkId, Place, BuildHasherDefault<IdHasher>>;

/// What became of the wish to store a chunk.
#[derive(Debug)]
pub(super) enum Claim<S> {
    /// It is to be stored in this segment.
    Ours(S),
    /// It is stored there already, or on its way.
    Taken((PackRef, u32)),
    /// No segment could be had without waiting.
    NoRoom,
}

/// All chunks that need not be stored again.
#[derive(Debug)]
pub(super) struct Known {
    shards: Vec<Mutex<Shard>>,
    packs: RwLock<Vec<PackRef>>,
    state: AtomicU8,
    state_lock: Mutex<()>,
    state_changed: Condvar,
    wanted: Notify,
    is_over: AtomicBool,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            packs: RwLock::default(),
            state: AtomicU8::new(NOT_LOADED),
            state_lock: Mutex::default(),
            state_changed: Condvar::new(),
            wanted: Notify::new(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Adds a pack; its number is used when chunks are added.
    pub(super) fn add_pack(&self, pack: PackRef) -> u32 {
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.push(pack);
        (packs.len() - 1) as u32
    }

    /// Adds all chunks of a stored pack.
    pub(super) fn add_directory(&self, pack: PackRef, directory: &Directory) {
        let number = self.add_pack(pack);
        for (segment, row) in directory.segments.iter().enumerate() {
            for (id, _) in &row.chunks {
                self.shard(id)
                    .entry(*id)
                    .or_insert(Place { pack: number, segment: segment as u32 });
            }
        }
    }

    /// Where the chunk is, if it is stored or on its way. Waits for the index on first use.
    ///
    /// # Errors
    /// `Interrupted` if the index could not be loaded; the loader reports the cause.
    pub(super) fn find(&self, id: &ChunkId) -> Result<Option<(PackRef, u32)>> {
        self.wait_for_index()?;
        Ok(self.find_loaded(id))
    }

    /// As [`Self::find`], among what is loaded at this moment.
    pub(super) fn find_loaded(&self, id: &ChunkId) -> Option<(PackRef, u32)> {
        let place = *self.shard(id).get(id)?;
        self.resolve(place)
    }

    /// Claims the segment for a new chunk. If another worker was faster, its place is returned.
    pub(super) fn claim(&self, id: &ChunkId, pack: u32, segment: u32) -> Option<(PackRef, u32)> {
        match self.claim_with(id, || Some((pack, segment)), |place| *place) {
            Claim::Taken(place) => Some(place),
            Claim::Ours(_) | Claim::NoRoom => None,
        }
    }

    /// Claims the segment that `allocate` hands out, and asks it for none if the chunk has a
    /// place already: of workers with the same chunk at the same time, one stores it.
    /// `allocate` must not wait.
    pub(super) fn claim_with<S>(
        &self,
        id: &ChunkId,
        allocate: impl FnOnce() -> Option<S>,
        place: impl FnOnce(&S) -> (u32, u32),
    ) -> Claim<S> {
        let mut shard = self.shard(id);
        let taken = shard.get(id).and_then(|place| self.resolve(*place));
        if let Some(place) = taken {
            return Claim::Taken(place);
        }
        let Some(slot) = allocate() else { return Claim::NoRoom };
        let (pack, segment) = place(&slot);
        shard.insert(*id, Place { pack, segment });
        Claim::Ours(slot)
    }

    /// Resolves once somebody waits for the index: true. False if nobody ever will.
    pub(super) async fn index_wanted(&self) -> bool {
        self.wanted.notified().await;
        !self.is_over.load(Ordering::Acquire)
    }

    /// Nobody will wait for the index any more.
    pub(super) fn index_not_wanted(&self) {
        self.is_over.store(true, Ordering::Release);
        self.wanted.notify_one();
    }

    /// Lets those who wait go on: everything is loaded, or it failed.
    pub(super) fn index_loaded(&self, succeeded: bool) {
        let guard = self.state_lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.store(if succeeded { LOADED } else { FAILED }, Ordering::Release);
        drop(guard);
        self.state_changed.notify_all();
    }

    fn wait_for_index(&self) -> Result<()> {
        if self.state.load(Ordering::Acquire) == LOADED {
            return Ok(());
        }
        self.wanted.notify_one();
        let mut guard = self.state_lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.state.load(Ordering::Acquire) {
                LOADED => return Ok(()),
                FAILED => return Err(Error::new(ErrorKind::Interrupted, "the index is missing")),
                _ => {
                    guard = self.state_changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn shard(&self, id: &ChunkId) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(id.0[31]) % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolve(&self, place: Place) -> Option<(PackRef, u32)> {
        let packs = self.packs.read().unwrap_or_else(PoisonError::into_inner);
        packs.get(place.pack as usize).map(|pack| (*pack, place.segment))
    }
}

/// Chunk ids are keyed hashes already: their first bytes serve as they are.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    // the length prefix of the array says nothing
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
