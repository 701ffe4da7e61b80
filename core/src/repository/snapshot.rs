//! A snapshot as callers see it.

use crate::{
    format::{commit::ObjectHash, page::TableRoot},
    id::{ClientId, RepositoryId, SessionId},
    monitor::Problem,
    runtime::Timestamp,
};

/// Kind of a run: which parent it was allowed to use. Every snapshot restores alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// Everything was read.
    Full,
    /// The parent is the last snapshot of the same host and paths.
    #[default]
    Incremental,
    /// The parent is the last full snapshot of the same host and paths.
    Differential,
}

/// A committed snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id, also that of the session that made it.
    pub id: SessionId,
    /// The time it stands for: when the backup started, or what the user said.
    pub time: Timestamp,
    /// When the source began to be read, by the client's clock.
    pub started: Timestamp,
    /// When the commit was made, by the client's clock.
    pub committed: Timestamp,
    /// Host name.
    pub host: String,
    /// User name.
    pub user: String,
    /// What was asked to be backed up.
    pub paths: Vec<String>,
    /// Free labels.
    pub tags: Vec<String>,
    /// The snapshot whose unchanged entries were reused.
    pub parent: Option<SessionId>,
    /// Kind of the run.
    pub kind: SnapshotKind,
    /// The client that made it, and its how-many-eth snapshot this is.
    pub client: ClientId,
    /// Per-client sequence number, from 1.
    pub sequence: u64,
    /// How many source items could not be read.
    pub unreadable: u64,
    /// BLAKE3 of its commit, as stored.
    pub hash: ObjectHash,
    /// Held: it is not forgotten.
    pub is_held: bool,
    /// The snapshot that this one is a copy of, and its repository.
    pub original: Option<(RepositoryId, SessionId)>,
    /// The collector generation that its session saw: an order that no clock decides.
    pub generation: u64,
    /// Bytes that this snapshot added to the repository.
    pub added_bytes: u64,
    /// Where its table begins, and what it holds, counted.
    pub root: TableRoot,
}

/// The snapshots of a repository.
#[derive(Debug, Clone, Default)]
pub struct SnapshotList {
    /// Oldest first; ties by id.
    pub snapshots: Vec<Snapshot>,
    /// Commits that are damaged: they are named, the others stay usable.
    pub damaged: Vec<Problem>,
}
