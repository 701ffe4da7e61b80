//! Backup: from a source to a new snapshot.
//!
//! ```text
//!            jobs                   finished packs
//! scanner ---------> workers (n) -------------------> uploader ---> target
//!    |                  | replies          ^
//!    | items            v                  |
//!    +------------> table builder ---------+
//! ```
//! The scanner walks the source beside the parent's table. Workers read, chunk, hash, compress
//! and seal; only sealed packs leave them. The builder takes everything in table order. All
//! channels are bounded, and a failure anywhere closes them all. Last of all comes one commit:
//! until then nothing of the run is visible, and afterwards all of it.
//!
//! A run may fill several repositories: *lanes*. There is one scanner, and the workers read each
//! file once; parent, chunker, packs, builder, uploader and commit are there once a lane. A lane
//! that fails ends, and the others go on.

mod arena;
mod index;
mod known;
mod lane;
mod once;
mod packer;
mod parent;
mod pipeline;
mod reader;
mod scan;
mod session;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod upload;
mod writer;

use std::{sync::Arc, time::Duration};

#[cfg(test)]
pub(crate) use self::lane::staged::backup_in_stages;

use self::lane::Plan;
use crate::{
    compress::Compression,
    error::{Error, ErrorKind, Result},
    format::commit::{Commit, ObjectHash},
    id::{ClientId, SessionId},
    monitor::{Monitor, Phase, Problem},
    repository::{Original, Repository, SnapshotKind},
    runtime::Timestamp,
    source::Source,
};

/// Which snapshot's unchanged entries may be reused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Parent {
    /// As the kind of the run says.
    #[default]
    Automatic,
    /// This one.
    Snapshot(SessionId),
}

/// One backup run.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Host name to record, and to look for a parent under.
    pub host: String,
    /// User name to record.
    pub user: String,
    /// Labels.
    pub tags: Vec<String>,
    /// The time to record instead of now.
    pub time: Option<Timestamp>,
    /// Full, incremental or differential.
    pub kind: SnapshotKind,
    /// Which parent.
    pub parent: Parent,
    /// Who writes: packs that an interrupted run of the same client left are adopted.
    pub client: ClientId,
    /// Walk and read, but store nothing.
    pub is_dry_run: bool,
    /// Threads that read, chunk, compress and seal; at least 1.
    pub workers: usize,
    /// Compression instead of the repository's.
    pub compression: Option<Compression>,
}

/// What a copy says of the snapshot that it was made from, where a backup would speak of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyOf {
    /// The first one of its kind, if it is to be said.
    pub(crate) original: Option<Original>,
    /// Its kind.
    pub(crate) kind: SnapshotKind,
    /// When its source began to be read: what changed later, a next backup must read.
    pub(crate) started: Timestamp,
    /// How many items of its source could not be read.
    pub(crate) unreadable: u64,
}

impl CopyOf {
    fn describe(&self, commit: &mut Commit) {
        commit.original = self.original;
        commit.kind = session::kind_number(self.kind);
        commit.started = self.started;
        commit.unreadable += self.unreadable;
    }
}

/// What a backup did.
#[derive(Debug, Clone, Default)]
pub struct BackupReport {
    /// The new snapshot; `None` after a dry run.
    pub snapshot: Option<SessionId>,
    /// BLAKE3 of its commit: what a machine that knows nothing yet can expect to find.
    pub head: Option<ObjectHash>,
    /// The parent that was used.
    pub parent: Option<SessionId>,
    /// Files, by comparison with the parent.
    pub files: Changes,
    /// Directories, by comparison with the parent.
    pub dirs: Changes,
    /// Links, pipes, sockets, devices.
    pub others: Changes,
    /// New chunks of content.
    pub data_chunks: u64,
    /// New chunks of the table.
    pub table_chunks: u64,
    /// New bytes before compression.
    pub added_bytes: u64,
    /// New bytes as stored, packs and index.
    pub stored_bytes: u64,
    /// Packs written.
    pub packs_written: u64,
    /// Packs of an interrupted run that are used now.
    pub packs_adopted: u64,
    /// Bytes of all files of the snapshot.
    pub total_bytes: u64,
    /// Bytes that were read from the source.
    pub read_bytes: u64,
    /// From start to commit.
    pub duration: Duration,
    /// How many items could not be read or changed while read.
    pub problem_count: u64,
    /// The first of them (at most 1,000).
    pub problems: Vec<Problem>,
}

/// How many entries are new, changed, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Changes {
    /// Not in the parent.
    pub new: u64,
    /// In the parent, but different.
    pub changed: u64,
    /// As in the parent.
    pub unmodified: u64,
}

/// One repository of a backup, and what its snapshot is to be like.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The repository.
    pub repository: Repository,
    /// Its snapshot.
    pub options: BackupOptions,
}

/// Makes a snapshot of `source`.
///
/// Items that cannot be read are listed in the report and in the monitor; the rest is saved.
///
/// # Errors
/// The source or the target as a whole failed, or the run was fenced or cancelled: then there
/// is no new snapshot, and the next run goes on from the packs that were stored.
pub async fn backup(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<BackupReport> {
    let plan = Plan { repository: repository.clone(), options: options.clone(), copy_of: None };
    only(run(vec![plan], source, monitor).await)
}

/// Makes a snapshot of `source` in each of several repositories; every file is read once.
///
/// A repository that fails is left out from then on, and does not keep the others from getting
/// their snapshots. The results are in the order of the lanes; all lanes work with as many
/// threads as the first one says.
pub async fn backup_to_all(
    lanes: &[Lane],
    source: Arc<dyn Source>,
    monitor: Arc<dyn Monitor>,
) -> Vec<Result<BackupReport>> {
    let plans = lanes.iter().map(|lane| Plan {
        repository: lane.repository.clone(),
        options: lane.options.clone(),
        copy_of: None,
    });
    run(plans.collect(), source, monitor).await
}

/// As [`backup`], of a source that is a snapshot of another repository.
pub(crate) async fn backup_copy(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
    copy_of: CopyOf,
    monitor: Arc<dyn Monitor>,
) -> Result<BackupReport> {
    let (repository, options) = (repository.clone(), options.clone());
    let plan = Plan { repository, options, copy_of: Some(copy_of) };
    only(run(vec![plan], source, monitor).await)
}

fn only(mut results: Vec<Result<BackupReport>>) -> Result<BackupReport> {
    results.pop().unwrap_or_else(|| Err(Error::internal("a backup without a result")))
}

/// Begins all lanes, runs those that began, and puts the results together.
async fn run(
    plans: Vec<Plan>,
    source: Arc<dyn Source>,
    monitor: Arc<dyn Monitor>,
) -> Vec<Result<BackupReport>> {
    let Some(first) = plans.first() else { return Vec::new() };
    let workers = first.options.workers;
    if workers == 0 {
        let refuse = |_| Err(Error::new(ErrorKind::Invalid, "a backup needs at least one worker"));
        return plans.iter().map(refuse).collect();
    }
    let monitor: Arc<dyn Monitor> =
        if plans.len() > 1 { Arc::new(once::Once::new(monitor)) } else { monitor };
    let clock = first.repository.runtime().clock.clone();
    let began = clock.monotonic();
    monitor.phase(Phase::Opening);
    let roots = source.roots();
    let begun = plans.into_iter().map(|plan| lane::Lane::begin(plan, &roots, workers, &monitor));
    let mut lanes = Vec::new();
    let mut results = Vec::new();
    for begun in futures::future::join_all(begun).await {
        match begun {
            Ok(lane) => {
                lanes.push(lane);
                results.push(None);
            }
            Err(error) => results.push(Some(Err(error))),
        }
    }
    if lanes.is_empty() {
        return results.into_iter().flatten().collect();
    }
    monitor.phase(Phase::BackingUp);
    let ran = pipeline::run(lanes, source, workers, &monitor, &*clock, began).await;
    let mut ran = ran.into_iter();
    let missing = || Err(Error::internal("a lane without a result"));
    let result = |failed: Option<Result<BackupReport>>| {
        failed.or_else(|| ran.next()).unwrap_or_else(missing)
    };
    results.into_iter().map(result).collect()
}
