//! Deleting, and writing the index anew.

use std::collections::BTreeSet;

use super::{PruneOptions, check_cancelled, usage};
use crate::{
    error::Result,
    format::collector::CollectorHead,
    id::{PackId, SessionId},
    monitor::{Monitor, Progress},
    packset::PackSet,
    repository::{
        Overview, PackWriter, Repository,
        layout::{self, MetaName},
    },
    target::{ObjectKey, TargetExt},
};

/// Batches of deletes at once.
const DELETES_AT_ONCE: usize = 8;
/// Packs deleted between two looks at whether to go on.
const PACKS_AT_ONCE: usize = 512;

/// Deletes packs of a published list of dead ones.
pub(super) async fn remove_packs(
    repository: &Repository,
    dead: &CollectorHead,
    packs: &[PackId],
    monitor: &dyn Monitor,
) -> Result<()> {
    monitor.advance(Progress { files_total: packs.len() as u64, ..Progress::default() });
    for some in packs.chunks(PACKS_AT_ONCE) {
        check_cancelled(monitor)?;
        repository.expect_newest_head(dead.number).await?;
        let keys = some.iter().map(|pack| layout::pack_key(*pack)).collect::<Result<Vec<_>>>()?;
        repository.target().delete_many(keys, DELETES_AT_ONCE).await?;
        monitor.advance(Progress { files_done: some.len() as u64, ..Progress::default() });
    }
    Ok(())
}

/// Forgets all maintenance sessions but the last: its forwarding is complete.
pub(super) async fn retire_maintenance(
    repository: &Repository,
    options: &PruneOptions,
) -> Result<()> {
    let listing = repository.list_meta().await?;
    let history = repository.load_history(&listing).await?;
    let maintenance = history.maintenance();
    let Some((_, earlier)) = maintenance.split_last() else { return Ok(()) };
    for loaded in earlier {
        repository.put_tombstone(loaded.commit.session, loaded.hash, &options.host).await?;
    }
    Ok(())
}

/// Copies all index rows that count, without those of packs in `left_out`.
pub(super) async fn copy_index(
    repository: &Repository,
    overview: &Overview,
    left_out: &PackSet,
    writer: &mut PackWriter,
) -> Result<()> {
    let mut copied = PackSet::default();
    for (session, counter) in repository.counting_indexes(overview).await? {
        for row in usage::read_segment(repository, session, counter).await? {
            if !left_out.contains(row.pack.id) && !copied.contains(row.pack.id) {
                copied.insert(row.pack.id);
                writer.add_row(row).await?;
            }
        }
    }
    Ok(())
}

/// What is left of `gone` once a new base stands for all index segments so far: packs of sessions
/// that were given up. No index row names those, but a writer might take one over that appears
/// again by a late upload, while a late delete is still on its way.
pub(super) async fn trimmed(
    repository: &Repository,
    overview: &Overview,
    gone: &PackSet,
) -> Result<PackSet> {
    let mut made: BTreeSet<SessionId> = overview
        .history
        .commits
        .iter()
        .filter(|loaded| loaded.is_made())
        .map(|loaded| loaded.commit.session)
        .collect();
    let committed: BTreeSet<SessionId> = overview.listing.commits().collect();
    for session in gone.sessions() {
        if !made.contains(&session)
            && committed.contains(&session)
            && let Ok(loaded) = repository.load_commit(session).await
            && loaded.is_made()
        {
            made.insert(session);
        }
    }
    Ok(gone.iter().filter(|pack| !made.contains(&pack.session)).collect())
}

/// Removes announcements of sessions that ended, index segments that no longer count, and heads
/// that were followed by another. Gives how many objects that were.
pub(super) async fn remove_small(repository: &Repository, overview: &Overview) -> Result<u64> {
    let ended: BTreeSet<SessionId> = overview.listing.commits().collect();
    let given_up: BTreeSet<SessionId> = overview
        .history
        .commits
        .iter()
        .filter(|loaded| !loaded.is_made())
        .map(|loaded| loaded.commit.session)
        .collect();
    // the next run of their client takes over what they have stored, unless one has already
    let history = &overview.history;
    let needed = history.forwarding.resolve(&history.references());
    let stored = usage::stored_packs(repository).await?;
    let left = stored.keys().filter(|pack| !needed.contains(**pack)).map(|pack| pack.session);
    let useful: BTreeSet<SessionId> = left.filter(|id| given_up.contains(id)).collect();
    let counting: BTreeSet<(SessionId, u32)> =
        repository.counting_indexes(overview).await?.into_iter().collect();
    let newest = overview.listing.newest_head();
    let is_over = |name: &MetaName| match name {
        MetaName::Session(session) => ended.contains(session) && !useful.contains(session),
        MetaName::Index(session, counter) => {
            ended.contains(session)
                && !useful.contains(session)
                && !counting.contains(&(*session, *counter))
        }
        MetaName::Collector(number) => *number < newest,
        _ => false,
    };
    let over = overview.listing.objects.iter().filter(|(name, _)| is_over(name));
    let keys: Vec<ObjectKey> = over.map(|(_, object)| object.key.clone()).collect();
    let count = keys.len() as u64;
    repository.target().delete_many(keys, DELETES_AT_ONCE).await?;
    Ok(count)
}
