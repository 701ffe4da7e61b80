//! Restore: from a snapshot to a sink.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    entry::{EntryKind, TreePath},
    error::Result,
    monitor::{Monitor, Problem},
    repository::{Repository, Snapshot},
    source::Sink,
};

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Make them as in the snapshot; content that is right already is not fetched.
    #[default]
    Always,
    /// Only if size or modification time differ.
    IfChanged,
    /// Only if the snapshot's file is newer.
    IfNewer,
    /// Never.
    Never,
}

/// Chooses entries by path (as in the snapshot) and kind.
pub type Filter = Arc<dyn Fn(&TreePath, EntryKind) -> bool + Send + Sync>;

/// One restore.
#[derive(Clone)]
pub struct RestoreOptions {
    /// Restore only this entry and what is below it; a folder's content lands in the sink's
    /// root, a file lands there under its name.
    pub subtree: TreePath,
    /// Restore only entries that this accepts, and the folders that lead to them.
    pub filter: Option<Filter>,
    /// What happens to files that are there already.
    pub overwrite: Overwrite,
    /// Remove entries of restored folders that the snapshot does not have.
    pub delete: bool,
    /// Compare and count, but change nothing.
    pub is_dry_run: bool,
    /// Read everything back afterwards and compare it with the snapshot.
    pub verify: bool,
    /// Threads that open, decompress and write; at least 1.
    pub workers: usize,
}

impl fmt::Debug for RestoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreOptions")
            .field("subtree", &self.subtree)
            .field("filter", &self.filter.is_some())
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            subtree: TreePath::root(),
            filter: None,
            overwrite: Overwrite::default(),
            delete: false,
            is_dry_run: false,
            verify: false,
            workers: 2,
        }
    }
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Files written.
    pub files_restored: u64,
    /// Files that were right already.
    pub files_unchanged: u64,
    /// Files left alone because of [`Overwrite`].
    pub files_skipped: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, pipes, sockets, devices.
    pub others: u64,
    /// Entries removed because the snapshot does not have them.
    pub deleted: u64,
    /// Bytes written to files.
    pub bytes_restored: u64,
    /// Bytes of files that were right already.
    pub bytes_unchanged: u64,
    /// Bytes fetched from the target.
    pub bytes_fetched: u64,
    /// Files read back and found right, with [`RestoreOptions::verify`].
    pub files_verified: u64,
    /// How long it took.
    pub duration: Duration,
    /// How many items could not be restored, or not completely.
    pub problem_count: u64,
    /// The first of them (at most 1,000).
    pub problems: Vec<Problem>,
}

/// Restores `snapshot` into `sink`.
///
/// Items that cannot be restored are listed in the report and in the monitor; the rest comes
/// back.
///
/// # Errors
/// The target or the sink as a whole failed, no room, or the run was cancelled.
pub async fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    sink: Arc<dyn Sink>,
    options: &RestoreOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<RestoreReport> {
    todo!()
}
