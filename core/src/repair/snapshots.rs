//! Saves damaged snapshots again without what they lost. The damaged ones stay as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{REPAIRED_TAG, RepairOptions, find, packs};
use crate::{
    copy::{CopyOptions, rescue},
    error::{ErrorKind, Result},
    id::SessionId,
    monitor::{Monitor, Phase, Problem},
    repository::{Repository, Snapshot, SnapshotList},
    verify::{Damage, Depth},
};

/// What became of the damaged snapshots.
#[derive(Debug, Clone, Default)]
pub struct SnapshotsReport {
    /// Everything that is damaged, with the snapshots and files that need it.
    pub damage: Vec<Damage>,
    /// Objects that were healed on the way.
    pub healed: Vec<String>,
    /// Damaged snapshots, oldest first.
    pub snapshots: Vec<Repaired>,
    /// Commits that cannot be read: nobody knows what their snapshots need. They keep a prune
    /// from removing anything until they are forgotten by their ids.
    pub unreadable: Vec<Problem>,
}

/// What became of one damaged snapshot.
#[derive(Debug, Clone)]
pub struct Repaired {
    /// The damaged one.
    pub snapshot: SessionId,
    /// The one without what is lost; `None` after a dry run, or if nothing can be read.
    pub became: Option<SessionId>,
    /// True if an earlier repair had made that one.
    pub is_from_before: bool,
    /// True if nothing of it can be read.
    pub is_hopeless: bool,
    /// Files that are not in the new one (at most 1,000).
    pub left_out: Vec<Problem>,
    /// How many those are.
    pub left_out_count: u64,
}

/// Makes a new snapshot of each damaged one, with all that can be read of it.
///
/// # Errors
/// Those of a verification and of a backup.
pub async fn snapshots(
    repository: &Repository,
    options: &RepairOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<SnapshotsReport> {
    let found = find(repository, options, Depth::All, monitor.clone()).await?;
    monitor.phase(Phase::Repairing);
    let noted = packs::note(repository, found.lost, options.is_dry_run).await?;
    // nothing that is lost is taken over, whether that is written down or not
    repository.suspect(&noted.lost);
    let list = repository.snapshots().await?;
    let mut report = SnapshotsReport {
        healed: found.report.healed,
        unreadable: unreadable(&list),
        ..SnapshotsReport::default()
    };
    let damage = &found.report.damage;
    let damaged: BTreeSet<&str> =
        damage.iter().flat_map(|damage| &damage.snapshots).map(String::as_str).collect();
    let repaired = repaired_before(&list);
    for snapshot in &list.snapshots {
        if !damaged.contains(snapshot.id.to_string().as_str()) {
            continue;
        }
        report.snapshots.push(match repaired.get(&snapshot.id) {
            Some(earlier) => {
                Repaired { is_from_before: true, ..Repaired::of(snapshot.id, Some(*earlier)) }
            }
            None => repair(repository, snapshot, options, monitor.clone()).await?,
        });
    }
    report.damage = found.report.damage;
    Ok(report)
}

impl Repaired {
    fn of(snapshot: SessionId, became: Option<SessionId>) -> Self {
        Self {
            snapshot,
            became,
            is_from_before: false,
            is_hopeless: false,
            left_out: Vec::new(),
            left_out_count: 0,
        }
    }
}

fn unreadable(list: &SnapshotList) -> Vec<Problem> {
    let is_commit = |problem: &&Problem| problem.item.starts_with("meta/snapshots/");
    list.damaged.iter().filter(is_commit).cloned().collect()
}

/// Damaged snapshots that were repaired already, and what they became.
fn repaired_before(list: &SnapshotList) -> BTreeMap<SessionId, SessionId> {
    let is_repaired = |one: &&Snapshot| one.tags.iter().any(|tag| tag == REPAIRED_TAG);
    let repaired = list.snapshots.iter().filter(is_repaired);
    repaired.filter_map(|one| Some((one.parent?, one.id))).collect()
}

async fn repair(
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RepairOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<Repaired> {
    if !can_begin(repository, snapshot).await? {
        return Ok(Repaired { is_hopeless: true, ..Repaired::of(snapshot.id, None) });
    }
    let copying = CopyOptions {
        client: options.client,
        is_dry_run: options.is_dry_run,
        workers: options.workers.max(1),
        compression: None,
    };
    let mut tags = snapshot.tags.clone();
    if !tags.iter().any(|tag| tag == REPAIRED_TAG) {
        tags.push(REPAIRED_TAG.to_owned());
    }
    let report = rescue(repository, snapshot, tags, &copying, monitor).await?;
    Ok(Repaired {
        left_out: report.problems,
        left_out_count: report.problem_count,
        ..Repaired::of(snapshot.id, report.snapshot)
    })
}

/// False if not even the beginning of the table can be read.
async fn can_begin(repository: &Repository, snapshot: &Snapshot) -> Result<bool> {
    let Some(root) = &snapshot.root.chunk else { return Ok(true) };
    match repository.packs().table_chunk(root).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(false),
        Err(error) => Err(error),
    }
}
