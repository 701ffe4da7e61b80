//! The connections of a target: opened when first needed, shared by many calls, replaced when
//! broken.
//!
//! Reading and writing have their own: a server refuses to replace a file that is open on the
//! same connection, and a large upload does not hold up small reads. Knows no object.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{config::SmbConfig, link::Link};

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// `get`, `head`, `list`.
    Read,
    /// Everything that changes something.
    Write,
}

/// All connections of a target.
#[derive(Debug)]
pub(crate) struct Pool {
    config: SmbConfig,
    sent: Arc<AtomicU64>,
    next: AtomicUsize,
    read: Vec<Slot>,
    write: Vec<Slot>,
}

/// Room for one connection.
#[derive(Debug, Default)]
struct Slot {
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    failures: AtomicU64,
    last_failure: Mutex<Option<Failure>>,
}

/// Why a connection could not be opened, for those who waited for it.
#[derive(Debug, Clone)]
struct Failure {
    kind: TargetErrorKind,
    text: String,
    hint: Option<String>,
}

impl Pool {
    /// No connection yet.
    pub(crate) fn new(config: SmbConfig) -> Self {
        let slots = || (0..config.connections).map(|_| Slot::default()).collect();
        let (read, write) = (slots(), slots());
        Self { config, sent: Arc::default(), next: AtomicUsize::new(0), read, write }
    }

    /// Where the connections lead.
    pub(crate) fn config(&self) -> &SmbConfig {
        &self.config
    }

    /// How many messages were sent on all connections so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// A connection that works as far as is known.
    pub(crate) async fn link(&self, lane: Lane) -> TargetResult<Arc<Link>> {
        let slots = match lane {
            Lane::Read => &self.read,
            Lane::Write => &self.write,
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(slot) = slots.get(turn % slots.len().max(1)) else {
            let why = "the configuration allows no connection";
            return Err(TargetError::new(TargetErrorKind::Invalid, Operation::Open, why));
        };
        slot.link(&self.config, &self.sent).await
    }
}

impl Slot {
    async fn link(&self, config: &SmbConfig, sent: &Arc<AtomicU64>) -> TargetResult<Arc<Link>> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_usable()) {
            return Ok(link.clone());
        }
        *link = None;
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(failure) = self.last_failure()
        {
            // Somebody tried while we waited: to try once more, one by one, would make the last
            // one wait for as many time limits as there are callers.
            return Err(failure.into_error());
        }
        match Link::open(config, sent.clone()).await {
            Ok(opened) => {
                let opened = Arc::new(opened);
                *link = Some(opened.clone());
                Ok(opened)
            }
            Err(error) => {
                *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Failure::from(&error));
                self.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
        }
    }

    fn last_failure(&self) -> Option<Failure> {
        self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<&TargetError> for Failure {
    fn from(error: &TargetError) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { kind: error.kind(), text: error.to_string(), hint }
    }
}

impl Failure {
    fn into_error(self) -> TargetError {
        let error = TargetError::new(self.kind, Operation::Open, "no connection");
        let error = match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
        error.because(self.text)
    }
}
