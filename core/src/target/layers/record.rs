//! Keeps a log of every call, so that tests can assert which requests an operation makes.
//!
//! The log grows without bound: for tests and short diagnosis only.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use crate::target::{
    BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Operation,
    Payload, PutMode, SharedTarget, TargetErrorKind, TargetResult,
};

/// One call with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `put`
    Put {
        /// The object.
        key: ObjectKey,
        /// What to do if it exists.
        mode: PutMode,
        /// Length of the payload, if known.
        bytes: Option<u64>,
    },
    /// `get`
    Get {
        /// The object.
        key: ObjectKey,
        /// The part of it.
        range: ByteRange,
    },
    /// `head`
    Head(ObjectKey),
    /// `list`
    List(KeyPrefix),
    /// `delete`
    Delete(ObjectKey),
    /// `delete_batch`
    DeleteBatch(Vec<ObjectKey>),
    /// `capabilities`
    Capabilities,
    /// `retain`
    Retain(ObjectKey),
}

impl Call {
    /// Which operation it is.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Put { .. } => Operation::Put,
            Self::Get { .. } => Operation::Get,
            Self::Head(_) => Operation::Head,
            Self::List(_) => Operation::List,
            Self::Delete(_) | Self::DeleteBatch(_) => Operation::Delete,
            Self::Retain(_) => Operation::Retain,
            Self::Capabilities => Operation::Capabilities,
        }
    }

    /// The key or prefix that it names, of a batch the first; empty for `capabilities`.
    pub fn place(&self) -> &str {
        match self {
            Self::Put { key, .. }
            | Self::Get { key, .. }
            | Self::Head(key)
            | Self::Delete(key)
            | Self::Retain(key) => key.as_str(),
            Self::DeleteBatch(keys) => keys.first().map_or("", ObjectKey::as_str),
            Self::List(prefix) => prefix.as_str(),
            Self::Capabilities => "",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet, or the caller stopped waiting.
    Pending,
    /// Well.
    Done,
    /// With an error.
    Failed(TargetErrorKind),
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// What was asked.
    pub call: Call,
    /// What came of it.
    pub outcome: Outcome,
}

/// Logs the calls to the wrapped target in the order in which they began.
#[derive(Debug)]
pub struct RecordLayer {
    inner: SharedTarget,
    log: Mutex<Log>,
}

/// `first` is the number of the oldest line kept, so that calls still under way when the log is
/// taken do not write their outcome into another call's line.
#[derive(Debug, Default)]
struct Log {
    first: usize,
    lines: Vec<Recorded>,
}

impl RecordLayer {
    /// Logs the calls of `inner` from now on.
    pub fn new(inner: SharedTarget) -> Self {
        Self { inner, log: Mutex::default() }
    }

    /// A copy of the log.
    pub fn log(&self) -> Vec<Recorded> {
        self.lock().lines.clone()
    }

    /// The log so far; the next one starts empty.
    pub fn take(&self) -> Vec<Recorded> {
        let mut log = self.lock();
        log.first += log.lines.len();
        std::mem::take(&mut log.lines)
    }

    /// How many calls of `operation` stand in the log.
    pub fn count(&self, operation: Operation) -> usize {
        self.lock().lines.iter().filter(|line| line.call.operation() == operation).count()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, call: Call) -> usize {
        let mut log = self.lock();
        log.lines.push(Recorded { call, outcome: Outcome::Pending });
        log.first + log.lines.len() - 1
    }

    /// The first outcome stays.
    fn set(&self, number: usize, outcome: Outcome) {
        let mut log = self.lock();
        let index = number.checked_sub(log.first);
        if let Some(line) = index.and_then(|index| log.lines.get_mut(index))
            && line.outcome == Outcome::Pending
        {
            line.outcome = outcome;
        }
    }

    fn end<T>(&self, number: usize, result: TargetResult<T>) -> TargetResult<T> {
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(error.kind()),
        };
        self.set(number, outcome);
        result
    }
}

impl fmt::Display for RecordLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for RecordLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let number = self.begin(Call::Put { key: key.clone(), mode, bytes: payload.len() });
        self.end(number, self.inner.put(key, payload, mode).await)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let number = self.begin(Call::Get { key: key.clone(), range });
        self.end(number, self.inner.get(key, range).await)
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let number = self.begin(Call::Head(key.clone()));
        self.end(number, self.inner.head(key).await)
    }

    /// A listing stays pending until its end or its first error was seen.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let number = self.begin(Call::List(prefix.clone()));
        let objects = self.inner.list(prefix).inspect_err(move |error| {
            self.set(number, Outcome::Failed(error.kind()));
        });
        let end = stream::poll_fn(move |_| {
            self.set(number, Outcome::Done);
            Poll::Ready(None)
        });
        objects.chain(end).boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let number = self.begin(Call::Delete(key.clone()));
        self.end(number, self.inner.delete(key).await)
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let number = self.begin(Call::Capabilities);
        self.end(number, self.inner.capabilities().await)
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let number = self.begin(Call::DeleteBatch(keys.to_vec()));
        self.end(number, self.inner.delete_batch(keys).await)
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        let number = self.begin(Call::Retain(key.clone()));
        self.end(number, self.inner.retain(key, until_ms).await)
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
