//! Writes packs and their index segments one after the other: for maintenance, where a few chunks
//! move. Backups have a pipeline of their own.

use bytes::Bytes;

use super::{
    Repository, directory_name,
    layout::{self, MetaName},
    segment_name,
};
use crate::{
    compress::Compressor,
    entry::{ChunkRef, PackRef},
    error::{Error, Result},
    format::{
        commit::WrittenObject,
        index::{self, IndexedPack},
        object::ObjectType,
        pack::{Directory, PackSealer, SegmentRow},
        record,
    },
    id::{ChunkId, PackId, SessionId},
    target::{Payload, PutMode},
};

/// A gathered segment holds at most so much plaintext.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Chunks from this length on are segments of their own.
const LARGE_CHUNK_BYTES: usize = 256 << 10;
/// Chunks in one index segment, at about 40 bytes each.
const INDEX_CHUNKS_MAX: usize = 250_000;
/// Packs in one index segment.
const INDEX_PACKS_MAX: usize = 64;

/// What a session has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) packs: Vec<WrittenObject>,
    pub(crate) indexes: Vec<WrittenObject>,
    pub(crate) bytes: u64,
}

/// Writes the packs of one session.
pub(crate) struct PackWriter {
    repository: Repository,
    session: SessionId,
    compressor: Compressor,
    pack: Option<OpenPack>,
    group: Group,
    compressed: Vec<u8>,
    rows: Vec<IndexedPack>,
    written: Written,
}

/// A pack being filled.
struct OpenPack {
    sealer: PackSealer,
    pack: PackRef,
    directory: Directory,
    segments: Vec<Bytes>,
    table_segments: Vec<u32>,
    bytes: u64,
}

/// Small chunks that become one segment.
#[derive(Default)]
struct Group {
    plain: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
    is_table: bool,
}

impl PackWriter {
    pub(crate) fn new(repository: &Repository, session: SessionId) -> Result<Self> {
        Ok(Self {
            repository: repository.clone(),
            session,
            compressor: Compressor::new(repository.settings().compression)?,
            pack: None,
            group: Group::default(),
            compressed: Vec::new(),
            rows: Vec::new(),
            written: Written::default(),
        })
    }

    /// Adds a chunk and says where it will lie. Chunks of tables get segments of their own, of
    /// which the cache keeps copies.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn add(
        &mut self,
        id: ChunkId,
        data: &[u8],
        is_table: bool,
    ) -> Result<ChunkRef> {
        let is_full = self.group.plain.len() + data.len() > GROUP_BYTES_MAX;
        if is_full || self.group.is_table != is_table {
            self.flush_group().await?;
        }
        self.make_room(data.len()).await?;
        if data.len() >= LARGE_CHUNK_BYTES {
            self.flush_group().await?;
            let chunks = vec![(id, data.len() as u32)];
            let place = self.add_segment(data.to_vec(), chunks, is_table)?;
            return Ok(reference(id, place, data.len()));
        }
        self.group.is_table = is_table;
        self.group.plain.extend_from_slice(data);
        self.group.chunks.push((id, data.len() as u32));
        let pack = self.open_pack()?;
        let place = (pack.pack, pack.segments.len() as u32);
        Ok(reference(id, place, data.len()))
    }

    /// Stores what is left, and the index segments of all packs, `also` included.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn finish(mut self, also: Vec<IndexedPack>) -> Result<Written> {
        self.flush_group().await?;
        self.store_pack().await?;
        for row in also {
            self.add_row(row).await?;
        }
        self.write_index().await?;
        Ok(self.written)
    }

    /// Adds a pack that is stored already to the index segments.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn add_row(&mut self, row: IndexedPack) -> Result<()> {
        self.rows.push(row);
        let chunks: usize = self.rows.iter().map(chunks_of).sum();
        if chunks >= INDEX_CHUNKS_MAX || self.rows.len() >= INDEX_PACKS_MAX {
            self.write_index().await?;
        }
        Ok(())
    }

    /// The pack being filled is stored if the next chunk could make it too large.
    async fn make_room(&mut self, length: usize) -> Result<()> {
        let limit = u64::from(self.repository.settings().pack_target_bytes);
        let waiting = (self.group.plain.len() + length) as u64;
        let is_full = self.pack.as_ref().is_some_and(|pack| {
            !(pack.segments.is_empty() && self.group.chunks.is_empty())
                && pack.bytes + waiting > limit
        });
        if is_full {
            self.flush_group().await?;
            self.store_pack().await?;
        }
        Ok(())
    }

    async fn flush_group(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        if !group.chunks.is_empty() {
            self.add_segment(group.plain, group.chunks, group.is_table)?;
        }
        Ok(())
    }

    fn add_segment(
        &mut self,
        plain: Vec<u8>,
        chunks: Vec<(ChunkId, u32)>,
        is_table: bool,
    ) -> Result<(PackRef, u32)> {
        let mut payload = std::mem::take(&mut self.compressed);
        let algorithm = self.compressor.compress(&plain, &mut payload);
        let pack = self.open_pack()?;
        let number = pack.segments.len() as u32;
        let plain_len = plain.len() as u32;
        pack.sealer.seal_segment(number, &chunks, algorithm, plain_len, &mut payload)?;
        let stored_len = payload.len() as u32;
        pack.bytes += u64::from(stored_len) + 36 * chunks.len() as u64;
        pack.directory.segments.push(SegmentRow { algorithm, plain_len, stored_len, chunks });
        pack.segments.push(Bytes::from(payload));
        if is_table {
            pack.table_segments.push(number);
        }
        Ok((pack.pack, number))
    }

    fn open_pack(&mut self) -> Result<&mut OpenPack> {
        if self.pack.is_none() {
            let counter = u32::try_from(self.written.packs.len())
                .map_err(|_| Error::internal("more packs than a session can number"))?;
            let id = PackId { session: self.session, counter };
            let randomness = &*self.repository.runtime().randomness;
            let sealer = PackSealer::new(self.repository.keys(), id, randomness);
            let pack = PackRef { id, epoch: sealer.epoch(), salt: *sealer.salt() };
            self.pack = Some(OpenPack {
                sealer,
                pack,
                directory: Directory::default(),
                segments: Vec::new(),
                table_segments: Vec::new(),
                bytes: 0,
            });
        }
        self.pack.as_mut().ok_or_else(|| Error::internal("a pack that was just opened"))
    }

    async fn store_pack(&mut self) -> Result<()> {
        let Some(open) = self.pack.take() else { return Ok(()) };
        let sealed = open.sealer.finish(&open.directory, open.segments)?;
        let id = open.pack.id;
        let payload = Payload::from(sealed.parts.clone());
        let target = self.repository.target();
        target.put(&layout::pack_key(id)?, payload, PutMode::Create).await?;
        let cache = self.repository.cache();
        if let Some(directory) = sealed.parts.first() {
            cache.put(&directory_name(id), directory.clone()).await;
        }
        for segment in open.table_segments {
            if let Some(part) = sealed.parts.get(segment as usize + 1) {
                cache.put(&segment_name(id, segment), part.clone()).await;
            }
        }
        let object =
            WrittenObject { counter: id.counter, size_bytes: sealed.size, hash: sealed.blake3 };
        self.written.packs.push(object);
        self.written.bytes += sealed.size;
        let row = IndexedPack {
            pack: open.pack,
            size_bytes: sealed.size,
            hash: Some(sealed.blake3),
            directory: sealed.directory,
        };
        self.add_row(row).await
    }

    async fn write_index(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let counter = self.written.indexes.len() as u32;
        let name = MetaName::Index(self.session, counter).to_string();
        let randomness = &*self.repository.runtime().randomness;
        let content = index::encode(&rows);
        let keys = self.repository.keys();
        let sealed = record::seal(keys, ObjectType::IndexSegment, &name, &content, randomness)?;
        let sealed = Bytes::from(sealed);
        let payload = Payload::from(sealed.clone());
        self.repository.target().put(&layout::key(&name)?, payload, PutMode::Create).await?;
        let hash = *blake3::hash(&sealed).as_bytes();
        let size_bytes = sealed.len() as u64;
        self.repository.cache().put(&name, sealed).await;
        self.written.indexes.push(WrittenObject { counter, size_bytes, hash });
        self.written.bytes += size_bytes;
        Ok(())
    }
}

fn chunks_of(row: &IndexedPack) -> usize {
    row.directory.segments.iter().map(|segment| segment.chunks.len()).sum()
}

fn reference(id: ChunkId, place: (PackRef, u32), length: usize) -> ChunkRef {
    ChunkRef { id, pack: place.0, segment: place.1, len_bytes: length as u32 }
}
