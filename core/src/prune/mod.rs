//! Prune: gives back the room of what no snapshot needs, beside running backups, without a lock.
//!
//! ```text
//! condemn ---> wait for writers ---> look again ---> move what is partly needed
//!                                                              |
//! idle <--- delete <--- publish what is dead <-----------------+
//! ```
//! Each step is a collector head, made by one create. A writer that reads a head takes nothing
//! that is condemned; one that began before is waited for. So what is unreferenced after the
//! wait stays so, and only that is deleted. Whoever finds a cycle unfinished takes it over.

mod barrier;
mod cleanup;
mod cycle;
mod plan;
mod references;
mod rewrite;
#[cfg(test)]
mod tests;
pub(crate) mod usage;

use std::{sync::Arc, time::Duration};

use crate::{
    error::{Error, ErrorKind, Result},
    id::ClientId,
    monitor::Monitor,
    repository::Repository,
};

/// How much may stay that nobody needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnusedMax {
    /// A share of the repository as it is afterwards, in percent.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Packs that are needed in part are never rewritten for it.
    Unlimited,
}

/// One prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Packs are rewritten until no more than this is unused.
    pub unused_max: UnusedMax,
    /// Rewrite packs of at most so many bytes in this run.
    pub rewrite_bytes_max: Option<u64>,
    /// Make the plan only.
    pub is_dry_run: bool,
    /// A writer that shows no sign of life for so long is given up: its commit will be refused,
    /// and its next run goes on from what it has stored.
    pub fence_after: Duration,
    /// Who prunes.
    pub client: ClientId,
    /// Host name, for people.
    pub host: String,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            unused_max: UnusedMax::Percent(5.0),
            rewrite_bytes_max: None,
            is_dry_run: false,
            fence_after: Duration::from_secs(15 * 60),
            client: ClientId([0; 16]),
            host: String::new(),
        }
    }
}

/// What a prune did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PruneReport {
    /// Packs that were stored when it began, and their bytes.
    pub packs_before: u64,
    /// Bytes of those packs.
    pub bytes_before: u64,
    /// Packs that nobody needed.
    pub packs_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Packs that were rewritten because they were needed in part, small, or of an old key epoch.
    pub packs_rewritten: u64,
    /// Their bytes.
    pub bytes_rewritten: u64,
    /// Packs that took their place.
    pub packs_written: u64,
    /// Their bytes, and those of new index segments.
    pub bytes_written: u64,
    /// Content that moved, before compression.
    pub moved_bytes: u64,
    /// Bytes that nobody needs, and that stay.
    pub unused_left_bytes: u64,
    /// Packs that could not be rewritten because they are damaged.
    pub damaged_packs: u64,
    /// Sessions of writers that were given up.
    pub sessions_given_up: u64,
    /// Small objects removed: announcements, index segments, older heads.
    pub objects_removed: u64,
    /// True if an unfinished prune was taken over.
    pub took_over: bool,
    /// Requests that carrying the plan out takes, about; only told by a dry run.
    pub requests_estimated: u64,
}

/// Gives back the room of what no snapshot needs.
///
/// # Errors
/// `Conflict` if another prune takes over, `Damaged` if a commit cannot be read (what its
/// snapshot needs is not known then) or if the listing lacks snapshots that must be there, and
/// what the target reports. Nothing that a snapshot needs is ever deleted; what an interrupted
/// run leaves the next one finishes.
pub async fn prune(
    repository: &Repository,
    options: &PruneOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<PruneReport> {
    let first = cycle::run(repository, options, &*monitor).await;
    if options.is_dry_run {
        return first;
    }
    let report = match first {
        Err(error) if repository.makes_room_after(&error).await? => {
            cycle::run(repository, options, &*monitor).await?
        }
        outcome => outcome?,
    };
    repository.keep_reserve().await;
    Ok(report)
}

/// Fails once the run is to stop.
fn check_cancelled(monitor: &dyn Monitor) -> Result<()> {
    if monitor.is_cancelled() {
        let message = "the prune was interrupted; the next one goes on from here";
        return Err(Error::new(ErrorKind::Interrupted, message));
    }
    Ok(())
}
