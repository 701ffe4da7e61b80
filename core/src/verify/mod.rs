//! Verify: prove that a repository holds what its snapshots say.

use std::{sync::Arc, time::Duration};

use crate::{
    error::Result, id::SessionId, monitor::Monitor, repository::Repository, restore::RestoreReport,
    source::Sink,
};

/// How much of the packs' content is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None: structure only.
    #[default]
    None,
    /// A random share of the packs, in percent (0 < p < 100).
    Percent(f64),
    /// Every byte.
    All,
}

/// One verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How much content is read.
    pub read_data: ReadData,
    /// Snapshots to restore into the scratch sink for comparison; the newest if empty.
    pub snapshots: Vec<SessionId>,
    /// An empty place to restore into: restores, reads back, compares, and empties it again.
    pub restore_into: Option<Arc<dyn Sink>>,
    /// Threads that open and check; at least 1 (0 counts as 1).
    pub workers: usize,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// Ids of the snapshots that need it.
    pub snapshots: Vec<String>,
    /// Paths that need it (at most 100 a piece of damage).
    pub files: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Snapshots whose tables were walked.
    pub snapshots: u64,
    /// Entries in them.
    pub entries: u64,
    /// Objects of any kind that were read and checked, packs apart.
    pub objects: u64,
    /// Packs that exist.
    pub packs: u64,
    /// Packs whose every byte was checked.
    pub packs_read: u64,
    /// Bytes read from the target.
    pub bytes_read: u64,
    /// Objects that nothing refers to (left by interrupted runs; harmless).
    pub unreferenced: u64,
    /// What is damaged or missing.
    pub damage: Vec<Damage>,
    /// Result of the test restore.
    pub restore: Option<RestoreReport>,
    /// How long it took.
    pub duration: Duration,
}

/// Verifies the repository.
///
/// # Errors
/// Only if the verification itself could not go on; damage is in the report.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<VerifyReport> {
    todo!()
}
