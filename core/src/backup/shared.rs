//! What all threads of a backup share, for each lane (repository) and for all of them: counters,
//! problems, the first failure.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    error::{Error, ErrorKind, Result},
    monitor::{Monitor, Problem, Progress},
};

/// Problems that the report lists; the others are counted.
const PROBLEMS_LISTED_MAX: usize = 1_000;

/// Counts of new things.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// New chunks of content.
    pub(super) data_chunks: AtomicU64,
    /// New chunks of the table.
    pub(super) table_chunks: AtomicU64,
    /// New bytes before compression.
    pub(super) added_bytes: AtomicU64,
    /// Bytes read from the source.
    pub(super) read_bytes: AtomicU64,
}

/// Shared by all threads that work for one lane.
pub(super) struct Shared {
    pub(super) counters: Counters,
    monitor: Arc<dyn Monitor>,
    is_stopped: AtomicBool,
    failure: Mutex<Option<Error>>,
    problems: Mutex<Problems>,
}

/// What went wrong with single items.
#[derive(Debug, Default, Clone)]
pub(super) struct Problems {
    pub(super) count: u64,
    pub(super) listed: Vec<Problem>,
}

impl Shared {
    pub(super) fn new(monitor: Arc<dyn Monitor>) -> Self {
        Self {
            counters: Counters::default(),
            monitor,
            is_stopped: AtomicBool::new(false),
            failure: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    /// Fails once the run is to stop: it was cancelled, or another thread failed.
    pub(super) fn check(&self) -> Result<()> {
        if self.monitor.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "the backup was interrupted"));
        }
        if self.is_over() { Err(stopped()) } else { Ok(()) }
    }

    /// True once the lane has failed: nothing more is done for it.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Records why the lane fails; the first reason that is not a mere consequence counts.
    pub(super) fn fail(&self, error: Error) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let is_consequence = |error: &Error| error.object() == Some(STOPPED);
        if failure.as_ref().is_none_or(is_consequence) {
            *failure = Some(error);
        }
    }

    /// The reason why the lane failed, if it did.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lists a problem and tells the monitor.
    pub(super) fn problem(&self, problem: Problem) {
        self.monitor.problem(&problem);
        if !problem.is_error {
            return;
        }
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.count += 1;
        if problems.listed.len() < PROBLEMS_LISTED_MAX {
            problems.listed.push(problem);
        }
    }

    /// Tells the monitor something that is no problem of the source.
    pub(super) fn note(&self, item: &str, error: &Error) {
        let (item, message) = (item.to_owned(), error.to_string());
        self.monitor.problem(&Problem { item, message, is_error: false });
    }

    /// All problems so far.
    pub(super) fn problems(&self) -> Problems {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the monitor about progress.
    pub(super) fn advance(&self, delta: Progress) {
        self.monitor.advance(delta);
    }
}

/// All lanes of one run, for those who work for all of them.
pub(super) struct Lanes {
    all: Vec<Arc<Shared>>,
    monitor: Arc<dyn Monitor>,
}

impl Lanes {
    pub(super) fn new(all: Vec<Arc<Shared>>, monitor: Arc<dyn Monitor>) -> Self {
        Self { all, monitor }
    }

    /// Fails once there is nothing left to do: the run was cancelled, or every lane has failed.
    pub(super) fn check(&self) -> Result<()> {
        if self.monitor.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "the backup was interrupted"));
        }
        if self.all.iter().all(|lane| lane.is_over()) { Err(stopped()) } else { Ok(()) }
    }

    /// Records why the run as a whole fails.
    pub(super) fn fail(&self, error: Error) {
        let Some((last, others)) = self.all.split_last() else { return };
        others.iter().for_each(|lane| lane.fail(error.again()));
        last.fail(error);
    }

    /// Lists a problem of the source in every lane.
    pub(super) fn problem(&self, problem: &Problem) {
        self.all.iter().for_each(|lane| lane.problem(problem.clone()));
    }

    /// Tells the monitor about progress.
    pub(super) fn advance(&self, delta: Progress) {
        self.monitor.advance(delta);
    }

    /// Tells the monitor that so many bytes were read.
    pub(super) fn advance_bytes(&self, bytes: u64) {
        self.advance(Progress { bytes_done: bytes, ..Progress::default() });
    }
}

const STOPPED: &str = "backup";

/// The error of a thread that ends because another one failed.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "another part of it failed").on(STOPPED)
}
