//! Moving what is needed of condemned packs into new ones.
//!
//! Runs in a maintenance session, after every writer that could refer to the packs has ended: what
//! is needed of them no longer grows. The session's commit tells where everything went.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{PruneReport, references, references::Reference, usage};
use crate::{
    compress::Decompressor,
    entry::ChunkRef,
    error::{Error, ErrorKind, Result},
    format::forwarding::Forwarding,
    id::{ChunkId, PackId},
    monitor::{Monitor, Problem, Progress},
    packset::PackSet,
    repository::{
        LoadedCommit, Overview, PackWriter, Repository,
        packs::{PackDirectory, check_chunk},
    },
};

/// Chunks of condemned packs kept in mind at once, at about 128 bytes each.
const CHUNKS_AT_ONCE: u64 = 1 << 20;

/// What of a pack is needed, and whether as part of a table.
type Needed = BTreeMap<PackId, HashSet<(ChunkId, bool)>>;

/// Where chunks of one batch went: what two writers stored at the same time moves once.
type Placed = HashMap<ChunkId, PackId>;

/// What moving brought about.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Where the content of each pack went.
    pub(super) forwarding: Forwarding,
    /// Packs that could not be rewritten: they stay.
    pub(super) kept: PackSet,
}

/// Copies what live snapshots need of `packs`.
pub(super) async fn move_chunks(
    repository: &Repository,
    overview: &Overview,
    packs: &PackSet,
    writer: &mut PackWriter,
    monitor: &dyn Monitor,
    report: &mut PruneReport,
) -> Result<Moved> {
    let mut moved = Moved::default();
    let facts = usage::chunk_counts(repository, overview, packs).await?;
    monitor.advance(Progress { files_total: packs.len(), ..Progress::default() });
    for batch in batches(packs, &facts) {
        let (needed, blind) = needed_of(repository, overview, &batch, monitor).await?;
        let mut placed = Placed::new();
        for pack in batch.iter() {
            super::check_cancelled(monitor)?;
            if blind.contains(pack) {
                moved.kept.insert(pack);
                continue;
            }
            let chunks = needed.get(&pack).cloned().unwrap_or_default();
            match move_pack(repository, pack, &chunks, writer, &mut placed, report).await {
                Ok(successors) => moved.forwarding.insert(pack, &successors),
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    let (item, message) = (format!("packs/{pack}"), error.to_string());
                    monitor.problem(&Problem { item, message, is_error: true });
                    report.damaged_packs += 1;
                    moved.kept.insert(pack);
                }
                Err(error) => return Err(error),
            }
            monitor.advance(Progress { files_done: 1, ..Progress::default() });
        }
    }
    Ok(moved)
}

/// Packs that together have so many chunks that those needed fit into memory.
fn batches(packs: &PackSet, chunks: &BTreeMap<PackId, u64>) -> Vec<PackSet> {
    let mut batches = vec![PackSet::default()];
    let mut count = 0;
    for pack in packs.iter() {
        let more = chunks.get(&pack).copied().unwrap_or(0);
        if count > 0 && count + more > CHUNKS_AT_ONCE {
            batches.push(PackSet::default());
            count = 0;
        }
        count += more;
        if let Some(batch) = batches.last_mut() {
            batch.insert(pack);
        }
    }
    batches
}

/// What live snapshots need of `packs`, and the packs of which that cannot be told.
async fn needed_of(
    repository: &Repository,
    overview: &Overview,
    packs: &PackSet,
    monitor: &dyn Monitor,
) -> Result<(Needed, PackSet)> {
    let snapshots: Vec<&LoadedCommit> = overview.history.snapshots().collect();
    let mut needed = Needed::new();
    let mut note = |Reference { chunk, is_table }: Reference| {
        if packs.contains(chunk.pack.id) {
            needed.entry(chunk.pack.id).or_default().insert((chunk.id, is_table));
        }
    };
    let blind = references::walk(repository, &snapshots, monitor, &mut note).await?;
    Ok((needed, blind.packs))
}

/// Copies the needed chunks of one pack; gives the packs that they went to.
async fn move_pack(
    repository: &Repository,
    pack: PackId,
    needed: &HashSet<(ChunkId, bool)>,
    writer: &mut PackWriter,
    placed: &mut Placed,
    report: &mut PruneReport,
) -> Result<PackSet> {
    let reader = repository.packs();
    let directory = reader.read_directory(pack, None).await?;
    let mut missing: BTreeSet<ChunkId> = needed.iter().map(|(id, _)| *id).collect();
    let mut successors = PackSet::default();
    missing.retain(|id| match placed.get(id) {
        Some(place) => {
            successors.insert(*place);
            false
        }
        None => true,
    });
    let mut decompressor = Decompressor::new()?;
    for (number, row) in (0u32..).zip(directory.segments()) {
        let is_needed = |id: &ChunkId| missing.contains(id);
        if !row.chunks.iter().any(|(id, _)| is_needed(id)) {
            continue;
        }
        let mut sealed = Vec::from(reader.sealed_segment(&directory, number).await?);
        let plain = directory.plain_segment(number, &mut sealed, &mut decompressor)?;
        let mut start = 0;
        for (id, length) in &row.chunks {
            let end = start + *length as usize;
            if missing.remove(id) {
                let content = plain.get(start..end).unwrap_or_default();
                check(repository, &directory, number, *id, content)?;
                let is_table = needed.contains(&(*id, true));
                let place = writer.add(*id, content, is_table).await?;
                successors.insert(place.pack.id);
                placed.insert(*id, place.pack.id);
                report.moved_bytes += u64::from(*length);
            }
            start = end;
        }
    }
    match missing.first() {
        None => Ok(successors),
        Some(id) => {
            let why = format!("lacks chunk {id}, which a snapshot refers to");
            Err(Error::damaged(format!("packs/{pack}"), why))
        }
    }
}

/// What moves must be what its id says: damage is not carried on under a new seal.
fn check(
    repository: &Repository,
    directory: &PackDirectory,
    segment: u32,
    id: ChunkId,
    content: &[u8],
) -> Result<()> {
    let len_bytes = content.len() as u32;
    let chunk = ChunkRef { id, pack: *directory.pack(), segment, len_bytes };
    check_chunk(repository.keys(), &chunk, content)
}
