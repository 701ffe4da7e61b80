//! What all parts of a running restore share: counters, problems, and the one reason to stop.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{RestoreReport, folders::PathKey, lock};
use crate::{
    entry::TreePath,
    error::{Error, ErrorKind, Result},
    monitor::{Monitor, Phase, Problem, Progress},
};

/// Problems that a report keeps.
const PROBLEMS_MAX: usize = 1000;

/// One counter of the report.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The report while it is made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) files_restored: Counter,
    pub(super) files_unchanged: Counter,
    pub(super) files_skipped: Counter,
    pub(super) dirs: Counter,
    pub(super) others: Counter,
    pub(super) deleted: Counter,
    pub(super) bytes_restored: Counter,
    pub(super) bytes_unchanged: Counter,
    pub(super) bytes_fetched: Counter,
    pub(super) files_verified: Counter,
    problems: Counter,
}

/// Shared by all parts of one restore.
pub(super) struct Control {
    monitor: Arc<dyn Monitor>,
    /// The path in the snapshot of what lands in the sink's root.
    pub(super) base: TreePath,
    pub(super) count: Counters,
    problems: Mutex<Vec<Problem>>,
    is_stopped: AtomicBool,
    reason: Mutex<Option<Error>>,
    /// Entries that reading back would find different, for a reason that is known already;
    /// `None` if nothing is read back.
    exempt: Option<Mutex<HashSet<PathKey>>>,
    /// Files planned and not yet done.
    pub(super) in_flight: InFlight,
}

impl Control {
    pub(super) fn new(monitor: Arc<dyn Monitor>, base: TreePath, is_verifying: bool) -> Self {
        Self {
            monitor,
            base,
            count: Counters::default(),
            problems: Mutex::default(),
            is_stopped: AtomicBool::default(),
            reason: Mutex::default(),
            exempt: is_verifying.then(Mutex::default),
            in_flight: InFlight::default(),
        }
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.monitor.phase(phase);
    }

    /// Tells how much more is done.
    pub(super) fn done(&self, files: u64, bytes: u64) {
        self.monitor.advance(Progress {
            files_done: files,
            bytes_done: bytes,
            ..Progress::default()
        });
    }

    /// Tells how much more there is to do.
    pub(super) fn expect(&self, files: u64, bytes: u64) {
        self.monitor.advance(Progress {
            files_total: files,
            bytes_total: bytes,
            ..Progress::default()
        });
    }

    /// Reports an item that is missing or wrong in the result.
    pub(super) fn problem(&self, item: String, message: impl Into<String>) {
        let problem = Problem { item, message: message.into(), is_error: true };
        self.monitor.problem(&problem);
        self.count.problems.add(1);
        let mut problems = lock(&self.problems);
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem);
        }
    }

    /// Notes that reading back is of no use for this entry.
    pub(super) fn exempt(&self, key: PathKey) {
        if let Some(exempt) = &self.exempt {
            lock(exempt).insert(key);
        }
    }

    pub(super) fn is_exempt(&self, key: PathKey) -> bool {
        self.exempt.as_ref().is_some_and(|exempt| lock(exempt).contains(&key))
    }

    /// Ends the run; the first reason counts.
    pub(super) fn stop(&self, error: Error) {
        lock(&self.reason).get_or_insert(error);
        self.is_stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Between pieces of work: fails if the run is over.
    ///
    /// # Errors
    /// `Interrupted`; the reason itself is kept for the end.
    pub(super) fn check(&self) -> Result<()> {
        if !self.is_stopped() && self.monitor.is_cancelled() {
            self.stop(Error::new(ErrorKind::Interrupted, "the restore was interrupted"));
        }
        if self.is_stopped() {
            return Err(Error::new(ErrorKind::Interrupted, "the restore has stopped"));
        }
        Ok(())
    }

    /// The reason to stop, if there was one.
    ///
    /// # Errors
    /// That reason.
    pub(super) fn outcome(&self) -> Result<()> {
        lock(&self.reason).take().map_or(Ok(()), Err)
    }

    /// Handles an error about one item: what concerns the whole sink stops the run.
    pub(super) fn item_failed(&self, item: String, doing: &str, error: io::Error) {
        if is_fatal(&error) {
            self.stop(fatal(item, doing, error));
        } else {
            self.problem(item, format!("{doing}: {error}"));
        }
    }

    pub(super) fn report(&self, duration: Duration) -> RestoreReport {
        let count = &self.count;
        RestoreReport {
            files_restored: count.files_restored.get(),
            files_unchanged: count.files_unchanged.get(),
            files_skipped: count.files_skipped.get(),
            dirs: count.dirs.get(),
            others: count.others.get(),
            deleted: count.deleted.get(),
            bytes_restored: count.bytes_restored.get(),
            bytes_unchanged: count.bytes_unchanged.get(),
            bytes_fetched: count.bytes_fetched.get(),
            files_verified: count.files_verified.get(),
            duration,
            problem_count: count.problems.get(),
            problems: std::mem::take(&mut *lock(&self.problems)),
        }
    }
}

/// True for errors that every further file would meet as well.
fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
}

fn fatal(item: String, doing: &str, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only",
        _ => "make room, then run the same command again: what is right already stays",
    };
    Error::new(ErrorKind::Io, doing).on(item).because(error).hint(hint)
}

/// True for errors of the target that concern single objects: files that do not need them come
/// back all the same.
pub(super) fn is_of_one_object(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::WrongKey | ErrorKind::Unsupported)
}

/// Counts what is under way, and tells when nothing is.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    count: AtomicUsize,
    idle: Notify,
}

impl InFlight {
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.idle.notify_waiters();
        }
    }

    /// Waits until nothing is under way; nobody may begin something meanwhile.
    pub(super) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}
