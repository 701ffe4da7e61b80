//! Stores finished packs, and index segments of what was stored.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::packer::FinishedPack;
use crate::{
    error::Result,
    format::{
        commit::WrittenObject,
        index::{self, IndexedPack},
        object::ObjectType,
        record,
    },
    id::{PackId, SessionId},
    repository::{
        Repository, directory_name,
        layout::{self, MetaName},
        segment_name,
    },
    target::{Payload, PutMode},
    tasks,
};

/// An index segment is written once so many chunks have come together: about 9 MiB of
/// directories, and what an interrupted run has to read again at most.
const INDEX_CHUNKS_MAX: usize = 250_000;
/// Packs in one index segment at most.
const INDEX_PACKS_MAX: usize = 64;
/// Transfers at once, whatever a target says: every one holds a pack in memory.
const UPLOADS_MAX: usize = 8;

/// What a session has stored.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) packs: BTreeMap<u32, WrittenObject>,
    pub(super) indexes: Vec<WrittenObject>,
    pub(super) bytes: u64,
}

/// Stores what one session writes.
pub(super) struct Uploader {
    repository: Repository,
    session: SessionId,
    is_dry_run: bool,
    waiting: Vec<IndexedPack>,
    stored: Stored,
}

impl Uploader {
    pub(super) fn new(repository: Repository, session: SessionId, is_dry_run: bool) -> Self {
        let (waiting, stored) = (Vec::new(), Stored::default());
        Self { repository, session, is_dry_run, waiting, stored }
    }

    /// Stores packs as they come, until there will be no more.
    pub(super) async fn run(&mut self, mut finished: mpsc::Receiver<FinishedPack>) -> Result<()> {
        let capabilities = self.repository.target().capabilities().await?;
        let at_once = capabilities.concurrency.clamp(1, UPLOADS_MAX);
        let mut uploads = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !uploads.is_empty() {
            tokio::select! {
                biased;
                pack = finished.recv(), if is_open && uploads.len() < at_once => match pack {
                    Some(pack) => {
                        // it must not stand still while an index segment is written
                        let stored = store(self.repository.clone(), self.is_dry_run, pack);
                        uploads.push(tasks::apart(stored));
                    }
                    None => is_open = false,
                },
                Some(stored) = uploads.next() => {
                    let row = stored?;
                    self.stored.bytes += row.size_bytes;
                    let counter = row.pack.id.counter;
                    let hash = row.hash.unwrap_or_default();
                    let object = WrittenObject { counter, size_bytes: row.size_bytes, hash };
                    self.stored.packs.insert(counter, object);
                    self.waiting.push(row);
                    let chunks: usize = self.waiting.iter().map(chunks_of).sum();
                    if chunks >= INDEX_CHUNKS_MAX || self.waiting.len() >= INDEX_PACKS_MAX {
                        let rows = std::mem::take(&mut self.waiting);
                        self.write_index(&rows).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the last index segment, `adopted` packs included.
    pub(super) async fn finish(mut self, adopted: Vec<IndexedPack>) -> Result<Stored> {
        let mut rows = std::mem::take(&mut self.waiting);
        rows.extend(adopted);
        for rows in rows.chunks(INDEX_PACKS_MAX) {
            self.write_index(rows).await?;
        }
        Ok(self.stored)
    }

    async fn write_index(&mut self, rows: &[IndexedPack]) -> Result<()> {
        let counter = self.stored.indexes.len() as u32;
        let name = MetaName::Index(self.session, counter).to_string();
        let content = index::encode(rows);
        let runtime = self.repository.runtime();
        let keys = self.repository.keys();
        let randomness = &*runtime.randomness;
        let sealed = record::seal(keys, ObjectType::IndexSegment, &name, &content, randomness)?;
        let hash = *blake3::hash(&sealed).as_bytes();
        let size_bytes = sealed.len() as u64;
        if !self.is_dry_run {
            let sealed = Bytes::from(sealed);
            let payload = Payload::from(sealed.clone());
            let key = layout::key(&name)?;
            self.repository.target().put(&key, payload, PutMode::Create).await?;
            self.repository.cache().put(&name, sealed).await;
        }
        self.stored.bytes += size_bytes;
        self.stored.indexes.push(WrittenObject { counter, size_bytes, hash });
        Ok(())
    }
}

fn chunks_of(row: &IndexedPack) -> usize {
    row.directory.segments.iter().map(|segment| segment.chunks.len()).sum()
}

/// Keeps what later commands read: the directory, which is the pack's first part, and the
/// segments of the table, one part each.
async fn keep_copies(repository: &Repository, pack: PackId, parts: &[Bytes], segments: &[u32]) {
    let Some(directory) = parts.first() else { return };
    repository.cache().put(&directory_name(pack), directory.clone()).await;
    for segment in segments {
        if let Some(sealed) = parts.get(*segment as usize + 1) {
            repository.cache().put(&segment_name(pack, *segment), sealed.clone()).await;
        }
    }
}

async fn store(
    repository: Repository,
    is_dry_run: bool,
    finished: FinishedPack,
) -> Result<IndexedPack> {
    let FinishedPack { pack, sealed, table_segments, arena } = finished;
    let row = IndexedPack {
        pack,
        size_bytes: sealed.size,
        hash: Some(sealed.blake3),
        directory: sealed.directory,
    };
    if !is_dry_run {
        let payload = Payload::from(sealed.parts.clone());
        repository.target().put(&layout::pack_key(pack.id)?, payload, PutMode::Create).await?;
        keep_copies(&repository, pack.id, &sealed.parts, &table_segments).await;
    }
    drop(sealed.parts);
    drop(arena);
    Ok(row)
}
