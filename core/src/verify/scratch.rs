//! The test restore: snapshots are restored into a scratch place, read back and compared, and
//! the place is emptied again.

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind, Result},
    monitor::Monitor,
    repository::{Repository, Snapshot},
    restore::{RestoreOptions, RestoreReport, restore},
    source::Sink,
    tasks,
};

/// Problems that the report lists; the others are counted.
const PROBLEMS_LISTED_MAX: usize = 1_000;

/// Restores one snapshot after the other into the empty `sink` and compares what came back.
///
/// # Errors
/// What restoring or emptying reports.
pub(super) async fn test_restore(
    repository: &Repository,
    snapshots: &[Snapshot],
    sink: &Arc<dyn Sink>,
    workers: usize,
    monitor: &Arc<dyn Monitor>,
) -> Result<RestoreReport> {
    let options = RestoreOptions { verify: true, workers, ..RestoreOptions::default() };
    let mut total = RestoreReport::default();
    for snapshot in snapshots {
        let restored = restore(repository, snapshot, sink.clone(), &options, monitor.clone()).await;
        // emptied in any case; a failed restore is the more important error
        let emptied = empty(sink).await;
        add(&mut total, restored?);
        emptied?;
    }
    Ok(total)
}

fn add(total: &mut RestoreReport, one: RestoreReport) {
    total.files_restored += one.files_restored;
    total.files_unchanged += one.files_unchanged;
    total.files_skipped += one.files_skipped;
    total.dirs += one.dirs;
    total.others += one.others;
    total.deleted += one.deleted;
    total.bytes_restored += one.bytes_restored;
    total.bytes_unchanged += one.bytes_unchanged;
    total.bytes_fetched += one.bytes_fetched;
    total.files_verified += one.files_verified;
    total.duration += one.duration;
    total.problem_count += one.problem_count;
    let room = PROBLEMS_LISTED_MAX.saturating_sub(total.problems.len());
    total.problems.extend(one.problems.into_iter().take(room));
}

/// Refuses a place that holds anything: it would be removed.
///
/// # Errors
/// `Invalid` if the place is not empty.
pub(super) async fn check_empty(sink: &Arc<dyn Sink>) -> Result<()> {
    let sink = sink.clone();
    tasks::spawn_blocking("scratch", move || {
        if !sink.exists() {
            return Ok(());
        }
        let names = sink.root().and_then(|root| root.names()).map_err(failed)?;
        if names.is_empty() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Invalid, "the place for the test restore is not empty")
            .hint("give an empty folder: what is in it would be removed afterwards"))
    })
    .await
}

async fn empty(sink: &Arc<dyn Sink>) -> Result<()> {
    let sink = sink.clone();
    tasks::spawn_blocking("scratch", move || {
        let root = sink.root().map_err(failed)?;
        for name in root.names().map_err(failed)? {
            root.remove(&name).map_err(failed)?;
        }
        Ok(())
    })
    .await
}

fn failed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "the place for the test restore fails").because(error)
}
