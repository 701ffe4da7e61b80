//! How much of each pack snapshots still need.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt;

use super::references::{self, Blind};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        index::{self, IndexedPack},
        object::ObjectType,
        record,
    },
    id::{PackId, SessionId},
    monitor::Monitor,
    packset::PackSet,
    repository::{LoadedCommit, Overview, Repository, layout, layout::MetaName},
    tasks,
};

/// Index segments read at once.
const READS_AT_ONCE: usize = 8;
/// Chunks told apart in one walk over the tables, at 16 to 32 bytes of memory each. A repository
/// with more of them is walked several times.
const CHUNKS_AT_ONCE: u64 = 4 << 20;

/// What is known of a stored pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackUsage {
    /// Size of the object, in bytes.
    pub(crate) size_bytes: u64,
    /// Plaintext of all its chunks; 0 if no index row tells.
    pub(crate) plain_bytes: u64,
    /// Plaintext of the chunks that snapshots need.
    pub(crate) live_bytes: u64,
    /// That part of it that belongs to tables.
    pub(crate) table_bytes: u64,
    /// How many chunks it has.
    pub(crate) chunks: u64,
    /// Those of them that snapshots need.
    pub(crate) live_chunks: u64,
    /// The key epoch it is sealed in, if an index row tells.
    pub(super) epoch: Option<u32>,
}

impl PackUsage {
    /// About how many bytes of the object nobody needs.
    pub(crate) fn unused_bytes(&self) -> u64 {
        if self.plain_bytes == 0 {
            return 0;
        }
        let unused = self.plain_bytes.saturating_sub(self.live_bytes);
        (u128::from(self.size_bytes) * u128::from(unused) / u128::from(self.plain_bytes)) as u64
    }
}

/// Usage by pack.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) packs: BTreeMap<PackId, PackUsage>,
    /// Index segments that count, and rows in them of packs that are no longer there.
    pub(crate) index_segments: u64,
    pub(super) index_rows: u64,
    pub(super) index_rows_void: u64,
    pub(crate) blind: Blind,
}

/// All stored packs with their sizes.
pub(super) async fn stored_packs(repository: &Repository) -> Result<BTreeMap<PackId, PackUsage>> {
    let prefix = layout::prefix(layout::PACKS)?;
    let mut packs = BTreeMap::new();
    let mut objects = repository.target().list(&prefix);
    while let Some(object) = objects.try_next().await? {
        if let Some(pack) = layout::pack_of(&object.key) {
            let size_bytes = object.size_bytes;
            packs.insert(pack, PackUsage { size_bytes, ..PackUsage::default() });
        }
    }
    Ok(packs)
}

/// Calls `found` with every row of the index segments that count. Segments that are damaged or
/// missing are left out.
pub(super) async fn each_row(
    repository: &Repository,
    segments: &[(SessionId, u32)],
    found: &mut (dyn FnMut(IndexedPack) + Send),
) -> Result<()> {
    let segments = segments.iter().copied();
    let reads = segments.map(|(session, counter)| read_segment(repository, session, counter));
    tasks::each(reads, READS_AT_ONCE, |rows| {
        rows?.into_iter().for_each(&mut *found);
        Ok(())
    })
    .await
}

/// The rows of one index segment; none if it cannot be read.
pub(super) async fn read_segment(
    repository: &Repository,
    session: SessionId,
    counter: u32,
) -> Result<Vec<IndexedPack>> {
    let name = MetaName::Index(session, counter).to_string();
    let open = |bytes: &bytes::Bytes| {
        let keys = repository.keys();
        index::decode(&record::open(keys, ObjectType::IndexSegment, &name, bytes)?)
    };
    match repository.cache().read(repository.target(), &name, open).await {
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
            tracing::warn!(%error, object = name, "index segment left out");
            Ok(Vec::new())
        }
        result => result.map_err(|error: Error| error),
    }
}

/// Measures what `snapshots` need of every stored pack.
pub(crate) async fn measure(
    repository: &Repository,
    overview: &Overview,
    snapshots: &[&LoadedCommit],
    monitor: &dyn Monitor,
) -> Result<Usage> {
    let mut usage = Usage { packs: stored_packs(repository).await?, ..Usage::default() };
    let segments = repository.counting_indexes(overview).await?;
    usage.index_segments = segments.len() as u64;
    let (mut rows, mut void) = (0, 0);
    each_row(repository, &segments, &mut |row| {
        rows += 1;
        if overview.view.is_damaged(row.pack.id) {
            // not void, and nothing to be rewritten: what is lost of it would not come along
            return;
        }
        match usage.packs.get_mut(&row.pack.id) {
            Some(pack) if overview.view.is_usable(row.pack.id) => describe(pack, &row),
            _ => void += 1,
        }
    })
    .await?;
    (usage.index_rows, usage.index_rows_void) = (rows, void);
    let chunks: u64 = usage.packs.values().map(|pack| pack.chunks).sum();
    let shares = chunks.div_ceil(CHUNKS_AT_ONCE).max(1);
    for share in 0..shares {
        let mut seen: HashSet<u64> = HashSet::new();
        let packs = &mut usage.packs;
        usage.blind = references::walk(repository, snapshots, monitor, &mut |reference| {
            let chunk = reference.chunk;
            let fingerprint = fingerprint(&chunk.id.0, chunk.pack.id);
            if fingerprint % shares == share
                && let Some(pack) = packs.get_mut(&chunk.pack.id)
                && seen.insert(fingerprint)
            {
                let bytes = u64::from(chunk.len_bytes);
                pack.live_bytes += bytes;
                pack.table_bytes += if reference.is_table { bytes } else { 0 };
                pack.live_chunks += 1;
            }
        })
        .await?;
    }
    Ok(usage)
}

fn describe(pack: &mut PackUsage, row: &IndexedPack) {
    let segments = &row.directory.segments;
    pack.chunks = segments.iter().map(|segment| segment.chunks.len() as u64).sum();
    let content = segments.iter().filter(|segment| !segment.chunks.is_empty());
    pack.plain_bytes = content.map(|segment| u64::from(segment.plain_len)).sum();
    pack.epoch = Some(row.pack.epoch);
}

/// Tells chunks of packs apart well enough to count bytes.
fn fingerprint(chunk: &[u8; 32], pack: PackId) -> u64 {
    let half = |bytes: &[u8]| bytes.first_chunk::<8>().map_or(0, |b| u64::from_le_bytes(*b));
    half(chunk) ^ half(pack.session.as_bytes()).rotate_left(pack.counter % 64)
}

/// How many chunks each of `packs` has, as far as index rows tell.
pub(super) async fn chunk_counts(
    repository: &Repository,
    overview: &Overview,
    packs: &PackSet,
) -> Result<BTreeMap<PackId, u64>> {
    let segments = repository.counting_indexes(overview).await?;
    let mut counts = BTreeMap::new();
    each_row(repository, &segments, &mut |row| {
        if packs.contains(row.pack.id) {
            let segments = &row.directory.segments;
            counts.insert(row.pack.id, segments.iter().map(|s| s.chunks.len() as u64).sum());
        }
    })
    .await?;
    Ok(counts)
}
