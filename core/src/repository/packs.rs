//! Reading packs: directories, segments, chunks, each checked before it is given out.

mod locate;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{
    Inner,
    cache::{Cache, directory_name, segment_name},
    damage::KnownDamage,
    layout,
    protection::{heal, is_curable},
};
use crate::{
    compress::Decompressor,
    crypto::KeyRing,
    entry::{ChunkRef, PackRef},
    error::{Error, ErrorKind, Result},
    format::{
        damage::Damage,
        forwarding::Forwarding,
        pack::{DIRECTORY_READ_BYTES, Directory, PackHead, PackOpener, SegmentRow},
    },
    id::{ChunkId, PackId},
    target::{ByteRange, ObjectKey, SharedTarget, TargetErrorKind},
};

/// Directories kept open: a restore works on few packs at a time.
const DIRECTORIES_MAX: usize = 16;
/// Segments kept in plain: a snapshot's pages come one after the other out of the same ones.
const SEGMENTS_MAX: usize = 8;

/// The opened directory of a pack.
#[derive(Debug)]
pub struct PackDirectory {
    pack: PackRef,
    opener: PackOpener,
    directory: Directory,
    /// Where each segment begins, and where the last one ends.
    offsets: Vec<u64>,
    /// The segment of each chunk; made when somebody asks for one.
    places: OnceLock<BTreeMap<ChunkId, u32>>,
}

impl PackDirectory {
    pub(crate) fn new(pack: PackRef, opener: PackOpener, directory: Directory) -> Self {
        let mut offsets: Vec<u64> = directory.segment_offsets().collect();
        offsets.push(directory.pack_bytes());
        Self { pack, opener, directory, offsets, places: OnceLock::new() }
    }

    /// The pack.
    pub fn pack(&self) -> &PackRef {
        &self.pack
    }

    /// The directory, padding's row included.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All segments in order, padding last.
    pub fn segments(&self) -> &[SegmentRow] {
        &self.directory.segments
    }

    /// Where the last segment ends: the size that the object must have.
    pub fn end(&self) -> u64 {
        self.offsets.last().copied().unwrap_or_default()
    }

    /// The segment that holds the chunk.
    pub fn segment_of(&self, chunk: &ChunkId) -> Option<u32> {
        let places = self.places.get_or_init(|| {
            let segments = (0u32..).zip(&self.directory.segments);
            segments
                .flat_map(|(number, row)| row.chunks.iter().map(move |(id, _)| (*id, number)))
                .collect()
        });
        places.get(chunk).copied()
    }

    /// Where the sealed segment lies in the pack.
    ///
    /// # Errors
    /// `Damaged` if the pack has no such segment.
    pub fn segment_range(&self, segment: u32) -> Result<Range<u64>> {
        match self.offsets.get(segment as usize..segment as usize + 2) {
            Some(&[start, end]) => Ok(start..end),
            _ => Err(self.damaged(format!("has no segment {segment}"))),
        }
    }

    /// Where the chunk lies in the plaintext of its segment.
    ///
    /// # Errors
    /// `Damaged` if it is not there.
    pub fn chunk_range(&self, segment: u32, chunk: &ChunkId) -> Result<Range<usize>> {
        let row = self.directory.segments.get(segment as usize);
        let row = row.ok_or_else(|| self.damaged(format!("has no segment {segment}")))?;
        let mut start = 0;
        for (id, length) in &row.chunks {
            let end = start + *length as usize;
            if id == chunk {
                return Ok(start..end);
            }
            start = end;
        }
        Err(self.damaged(format!("segment {segment} lacks chunk {chunk}")))
    }

    /// Opens and decompresses a segment: `sealed` is exactly its range; the plaintext goes to
    /// `plain`, which is cleared first.
    ///
    /// # Errors
    /// `Damaged` if a single bit differs.
    pub fn open_segment(
        &self,
        segment: u32,
        sealed: &mut Vec<u8>,
        decompressor: &mut Decompressor,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let row = self.directory.segments.get(segment as usize);
        let row = row.ok_or_else(|| self.damaged(format!("has no segment {segment}")))?;
        self.opener.open_segment(segment, row, sealed)?;
        decompressor.decompress(row.algorithm, sealed, row.plain_len as usize, plain).map_err(
            |error| self.damaged(format!("segment {segment} does not decompress")).because(error),
        )
    }

    /// Like [`Self::open_segment`], without a copy where the content is stored as it is: the
    /// plaintext lies in `sealed` or in the decompressor.
    ///
    /// # Errors
    /// `Damaged` if a single bit differs.
    pub fn plain_segment<'a>(
        &self,
        segment: u32,
        sealed: &'a mut [u8],
        decompressor: &'a mut Decompressor,
    ) -> Result<&'a [u8]> {
        let row = self.directory.segments.get(segment as usize);
        let row = row.ok_or_else(|| self.damaged(format!("has no segment {segment}")))?;
        let payload = self.opener.open_in_place(segment, row, sealed)?;
        decompressor.plain(row.algorithm, payload, row.plain_len as usize).map_err(|error| {
            self.damaged(format!("segment {segment} does not decompress")).because(error)
        })
    }

    fn damaged(&self, why: String) -> Error {
        Error::damaged(format!("packs/{}", self.pack.id), why)
    }
}

/// Reads packs of one repository.
pub struct PackReader {
    target: SharedTarget,
    keys: KeyRing,
    cache: Cache,
    directories: Recent<PackRef, Arc<PackDirectory>>,
    segments: Recent<(PackId, u32), Bytes>,
    /// Where rewritten packs went.
    forwarding: RwLock<Arc<Forwarding>>,
    /// The collector generation that this was true for.
    generation: AtomicU64,
    /// Who can tell where packs went since.
    owner: OnceLock<Weak<Inner>>,
    /// What is known to be lost.
    known: RwLock<Arc<KnownDamage>>,
    /// What is taken for lost though nothing that is stored says so.
    suspects: RwLock<Damage>,
    /// Directories of packs that took the place of others: only their names are known.
    successors: Recent<PackId, Arc<PackDirectory>>,
}

/// The last few things that were fetched. Whoever asks for one that is on its way waits for it,
/// so that nothing is fetched twice at the same time.
struct Recent<K, V> {
    cells: Mutex<VecDeque<(K, Arc<OnceCell<V>>)>>,
    len_max: usize,
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    fn new(len_max: usize) -> Self {
        Self { cells: Mutex::default(), len_max }
    }

    async fn get_or_fetch(&self, key: K, fetch: impl Future<Output = Result<V>>) -> Result<V> {
        let cell = self.cell(key);
        cell.get_or_try_init(|| fetch).await.cloned()
    }

    fn cell(&self, key: K) -> Arc<OnceCell<V>> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let at = cells.iter().position(|(known, _)| *known == key);
        let entry = at.and_then(|at| cells.remove(at)).unwrap_or_else(|| (key, Arc::default()));
        let cell = entry.1.clone();
        cells.push_front(entry);
        cells.truncate(self.len_max);
        cell
    }
}

impl PackReader {
    pub(crate) fn new(target: SharedTarget, keys: KeyRing, cache: Cache) -> Self {
        Self {
            target,
            keys,
            cache,
            directories: Recent::new(DIRECTORIES_MAX),
            segments: Recent::new(SEGMENTS_MAX),
            forwarding: RwLock::default(),
            generation: AtomicU64::new(0),
            owner: OnceLock::new(),
            known: RwLock::default(),
            suspects: RwLock::default(),
            successors: Recent::new(DIRECTORIES_MAX),
        }
    }

    async fn successor(&self, pack: PackId) -> Result<Arc<PackDirectory>> {
        let fetch = async {
            if let Some(copy) = self.cached_directory(pack).await {
                return Ok(Arc::new(copy));
            }
            let (directory, head) = self.fetch_directory(pack, None).await?;
            keep_directory(&self.cache, &directory, &head).await;
            Ok(Arc::new(directory))
        };
        self.successors.get_or_fetch(pack, fetch).await
    }

    /// Another reader of the same packs, with room for `count` segments in plain instead of the
    /// usual few.
    pub(crate) fn with_segments(&self, count: usize) -> Self {
        let (target, keys, cache) = (self.target.clone(), self.keys.clone(), self.cache.clone());
        Self {
            target,
            keys,
            cache,
            directories: Recent::new(DIRECTORIES_MAX),
            segments: Recent::new(count),
            forwarding: RwLock::new(self.forwarding()),
            generation: AtomicU64::new(self.generation.load(Ordering::Relaxed)),
            owner: self.owner.clone(),
            known: RwLock::new(self.known_damage()),
            suspects: RwLock::default(),
            successors: Recent::new(DIRECTORIES_MAX),
        }
    }

    /// The directory of a pack, from memory or by one ranged read (two if it is long).
    ///
    /// # Errors
    /// `Damaged` if the pack is missing, altered, or not the one that the reference means.
    pub async fn directory(&self, pack: &PackRef) -> Result<Arc<PackDirectory>> {
        self.directory_through(pack, &Cache::default()).await
    }

    /// Also from `cache`; what is read is kept there.
    async fn directory_through(&self, pack: &PackRef, cache: &Cache) -> Result<Arc<PackDirectory>> {
        let fetch = async {
            if let Some(copy) = self.cached_directory(pack.id).await
                && copy.pack == *pack
            {
                return Ok(Arc::new(copy));
            }
            let (directory, head) = self.fetch_directory(pack.id, Some(pack)).await?;
            keep_directory(cache, &directory, &head).await;
            Ok(Arc::new(directory))
        };
        self.directories.get_or_fetch(*pack, fetch).await
    }

    /// The directory from the cache, where packs with tables have theirs.
    async fn cached_directory(&self, pack: PackId) -> Option<PackDirectory> {
        let name = directory_name(pack);
        let head = self.cache.get(&name).await?;
        match PackOpener::from_head(&self.keys, pack, &head) {
            Ok(PackHead::Opened { opener, directory }) => {
                let found = PackRef { id: pack, epoch: opener.epoch(), salt: *opener.salt() };
                Some(PackDirectory::new(found, opener, directory))
            }
            _ => {
                self.cache.remove(&name).await;
                None
            }
        }
    }

    /// Reads the directory of a pack that only its name is known of.
    pub(crate) async fn read_directory(
        &self,
        id: PackId,
        expected: Option<&PackRef>,
    ) -> Result<PackDirectory> {
        Ok(self.fetch_directory(id, expected).await?.0)
    }

    /// The directory, and the beginning of the pack that it stands in; healed if need be.
    async fn fetch_directory(
        &self,
        id: PackId,
        expected: Option<&PackRef>,
    ) -> Result<(PackDirectory, Bytes)> {
        let key = layout::pack_key(id)?;
        let first = self.try_directory(&key, id, expected).await;
        self.or_healed(&key, first, self.try_directory(&key, id, expected)).await
    }

    async fn try_directory(
        &self,
        key: &ObjectKey,
        id: PackId,
        expected: Option<&PackRef>,
    ) -> Result<(PackDirectory, Bytes)> {
        let mut length = DIRECTORY_READ_BYTES;
        loop {
            let head = self.read(key, 0, length).await?;
            match PackOpener::from_head(&self.keys, id, &head)? {
                PackHead::Opened { opener, directory } => {
                    let pack = PackRef { id, epoch: opener.epoch(), salt: *opener.salt() };
                    if expected.is_some_and(|expected| *expected != pack) {
                        let why = "is another pack than the one referred to";
                        return Err(Error::damaged(key, why));
                    }
                    return Ok((PackDirectory::new(pack, opener, directory), head));
                }
                PackHead::NeedsMore { bytes } if bytes <= length => {
                    return Err(Error::damaged(key, "is shorter than its directory"));
                }
                PackHead::NeedsMore { bytes } => length = bytes,
            }
        }
    }

    /// What reading a pack gave, or what it gives once the pack is healed: if the `first` reading
    /// found damage that the target can heal. `again` is not begun otherwise.
    ///
    /// # Errors
    /// Those of either reading.
    pub async fn or_healed<T>(
        &self,
        key: &ObjectKey,
        first: Result<T>,
        again: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match first {
            Err(error) if is_curable(&error) && heal(&*self.target, key).await => again.await,
            outcome => outcome,
        }
    }

    /// Raw bytes of a pack: cut short only where the object ends.
    ///
    /// # Errors
    /// `Damaged` if the pack is missing.
    pub async fn read(&self, key: &ObjectKey, offset: u64, length: u64) -> Result<Bytes> {
        let range = ByteRange::From { offset, length };
        self.target.get(key, range).await.map_err(|error| match error.kind() {
            TargetErrorKind::NotFound => Error::damaged(key, "is missing"),
            _ => error.into(),
        })
    }

    /// One segment as stored.
    ///
    /// # Errors
    /// `Damaged` if the pack is missing or too short.
    pub async fn sealed_segment(&self, directory: &PackDirectory, segment: u32) -> Result<Bytes> {
        let range = directory.segment_range(segment)?;
        let key = layout::pack_key(directory.pack.id)?;
        let bytes = self.read(&key, range.start, range.end - range.start).await?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(Error::damaged(key, "is truncated"));
        }
        Ok(bytes)
    }

    /// One chunk, checked against its id. Keeps the last few segments in memory.
    ///
    /// # Errors
    /// `Damaged` if it is missing or altered.
    pub async fn chunk(&self, chunk: &ChunkRef) -> Result<Bytes> {
        let mut chunk = self.locate(chunk).await?;
        loop {
            match self.stored_chunk(&chunk).await {
                Err(error) if self.went_away(&chunk, &error).await? => {
                    chunk = self.locate(&chunk).await?;
                }
                outcome => return outcome,
            }
        }
    }

    /// True if `error` came of a prune that rewrote the pack meanwhile.
    async fn went_away(&self, chunk: &ChunkRef, error: &Error) -> Result<bool> {
        Ok(error.kind() == ErrorKind::Damaged && self.was_moved(chunk.pack.id).await?)
    }

    async fn stored_chunk(&self, chunk: &ChunkRef) -> Result<Bytes> {
        let directory = self.directory(&chunk.pack).await?;
        let fetch =
            async { self.healed_segment(&directory, chunk.segment).await.map(|(plain, _)| plain) };
        self.chunk_of(chunk, &directory, fetch).await
    }

    /// A page, node or list: like [`Self::chunk`], and its segment is kept in the cache.
    ///
    /// # Errors
    /// `Damaged` if it is missing or altered.
    pub async fn table_chunk(&self, chunk: &ChunkRef) -> Result<Bytes> {
        let mut chunk = self.locate(chunk).await?;
        loop {
            match self.stored_table_chunk(&chunk).await {
                Err(error) if self.went_away(&chunk, &error).await? => {
                    chunk = self.locate(&chunk).await?;
                }
                outcome => return outcome,
            }
        }
    }

    async fn stored_table_chunk(&self, chunk: &ChunkRef) -> Result<Bytes> {
        let directory = self.directory_through(&chunk.pack, &self.cache).await?;
        let name = segment_name(chunk.pack.id, chunk.segment);
        let fetch = async {
            if let Some(copy) = self.cache.get(&name).await {
                match open_segment(&directory, chunk.segment, copy) {
                    Ok(plain) => return Ok(plain),
                    Err(error) => {
                        tracing::warn!(%error, "the cached copy is damaged");
                        self.cache.remove(&name).await;
                    }
                }
            }
            let (plain, sealed) = self.healed_segment(&directory, chunk.segment).await?;
            self.cache.put(&name, sealed).await;
            Ok(plain)
        };
        self.chunk_of(chunk, &directory, fetch).await
    }

    /// One segment, opened and as stored; its pack is healed if need be.
    async fn healed_segment(
        &self,
        directory: &PackDirectory,
        segment: u32,
    ) -> Result<(Bytes, Bytes)> {
        let key = layout::pack_key(directory.pack.id)?;
        let first = self.try_segment(directory, segment).await;
        self.or_healed(&key, first, self.try_segment(directory, segment)).await
    }

    async fn try_segment(&self, directory: &PackDirectory, segment: u32) -> Result<(Bytes, Bytes)> {
        let sealed = self.sealed_segment(directory, segment).await?;
        Ok((open_segment(directory, segment, sealed.clone())?, sealed))
    }

    async fn chunk_of(
        &self,
        chunk: &ChunkRef,
        directory: &PackDirectory,
        fetch: impl Future<Output = Result<Bytes>>,
    ) -> Result<Bytes> {
        let range = directory.chunk_range(chunk.segment, &chunk.id)?;
        let plain = self.segments.get_or_fetch((chunk.pack.id, chunk.segment), fetch).await?;
        let bytes = plain.slice(range);
        check_chunk(&self.keys, chunk, &bytes)?;
        Ok(bytes)
    }
}

/// Keeps the sealed directory, which is where `head` begins.
async fn keep_directory(cache: &Cache, directory: &PackDirectory, head: &Bytes) {
    let end = directory.offsets.first().copied().unwrap_or_default();
    if let Ok(end) = usize::try_from(end)
        && end <= head.len()
    {
        cache.put(&directory_name(directory.pack.id), head.slice(..end)).await;
    }
}

fn open_segment(directory: &PackDirectory, segment: u32, sealed: Bytes) -> Result<Bytes> {
    let mut plain = Vec::new();
    let mut sealed = Vec::from(sealed);
    directory.open_segment(segment, &mut sealed, &mut Decompressor::new()?, &mut plain)?;
    Ok(Bytes::from(plain))
}

/// Checks plaintext against the id and length of its reference.
///
/// # Errors
/// `Damaged` if they differ.
pub fn check_chunk(keys: &KeyRing, chunk: &ChunkRef, plain: &[u8]) -> Result<()> {
    if plain.len() != chunk.len_bytes as usize || keys.chunk_keys().chunk_id(plain) != chunk.id {
        let why = format!("chunk {} does not have the content that its id says", chunk.id);
        return Err(Error::new(ErrorKind::Damaged, why).on(format!("packs/{}", chunk.pack.id)));
    }
    Ok(())
}
