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

mod arena;
mod index;
mod known;
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

use crate::{
    compress::Compression,
    error::{Error, ErrorKind, Result},
    id::{ClientId, SessionId},
    monitor::{Monitor, Phase, Problem},
    repository::{Repository, SnapshotKind},
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

/// What a backup did.
#[derive(Debug, Clone, Default)]
pub struct BackupReport {
    /// The new snapshot; `None` after a dry run.
    pub snapshot: Option<SessionId>,
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
    if options.workers == 0 {
        return Err(Error::new(ErrorKind::Invalid, "a backup needs at least one worker"));
    }
    let clock = repository.runtime().clock.clone();
    let began = clock.monotonic();
    monitor.phase(Phase::Opening);
    let session = session::Session::begin(repository, &source.roots(), options).await?;
    monitor.phase(Phase::BackingUp);
    let outcome = tokio::select! {
        outcome = pipeline::run(repository, source.clone(), options, &session, &monitor) => outcome?,
        never = session.keep_alive() => match never {},
    };
    let mut report = outcome.report(&session);
    if !options.is_dry_run {
        monitor.phase(Phase::Committing);
        session.commit(repository, &source.roots(), options, &outcome).await?;
        report.snapshot = Some(session.id());
    }
    report.duration = clock.monotonic().saturating_sub(began);
    Ok(report)
}
