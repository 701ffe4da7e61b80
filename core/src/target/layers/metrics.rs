//! Counts calls, failures and bytes of each operation.
//!
//! Knows no time: rates are the reader's business.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use serde::Serialize;

use crate::target::{
    BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Payload,
    PutMode, SharedTarget, TargetResult,
};

/// What was asked of a target so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TargetMetrics {
    /// `put`; its bytes are content taken from payloads, of failed calls too.
    pub put: OperationMetrics,
    /// `get`; its bytes are content that arrived.
    pub get: OperationMetrics,
    /// `head`
    pub head: OperationMetrics,
    /// `list`; one call is one listing, however many pages the storage needs for it.
    pub list: OperationMetrics,
    /// `delete`; a batch is one call.
    pub delete: OperationMetrics,
    /// `capabilities`
    pub capabilities: OperationMetrics,
    /// `retain`
    pub retain: OperationMetrics,
    /// Requests over the wire, where the backend counts them.
    pub requests_sent: Option<u64>,
}

/// What was asked of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OperationMetrics {
    /// Calls begun.
    pub calls: u64,
    /// Calls that gave an error.
    pub failures: u64,
    /// Content that went through.
    pub bytes: u64,
}

/// Counts what goes to the wrapped target and what comes back.
#[derive(Debug)]
pub struct MetricsLayer {
    inner: SharedTarget,
    put: Arc<Counters>,
    get: Counters,
    head: Counters,
    list: Counters,
    delete: Counters,
    capabilities: Counters,
    retain: Counters,
}

/// Counters are independent sums: relaxed order is enough.
#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    fn add_bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn end<T>(&self, result: TargetResult<T>) -> TargetResult<T> {
        if result.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn snapshot(&self) -> OperationMetrics {
        OperationMetrics {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl MetricsLayer {
    /// Counts the calls of `inner` from zero.
    pub fn new(inner: SharedTarget) -> Self {
        Self {
            inner,
            put: Arc::default(),
            get: Counters::default(),
            head: Counters::default(),
            list: Counters::default(),
            delete: Counters::default(),
            capabilities: Counters::default(),
            retain: Counters::default(),
        }
    }

    /// The counts at this moment.
    pub fn snapshot(&self) -> TargetMetrics {
        TargetMetrics {
            put: self.put.snapshot(),
            get: self.get.snapshot(),
            head: self.head.snapshot(),
            list: self.list.snapshot(),
            delete: self.delete.snapshot(),
            capabilities: self.capabilities.snapshot(),
            retain: self.retain.snapshot(),
            requests_sent: self.inner.requests_sent(),
        }
    }

    fn counted(&self, payload: Payload) -> Payload {
        match payload {
            Payload::Buffered(parts) => {
                parts.iter().for_each(|part| self.put.add_bytes(part.len()));
                Payload::Buffered(parts)
            }
            Payload::Streamed(stream) => {
                let counters = self.put.clone();
                let count = move |part: &Bytes| counters.add_bytes(part.len());
                Payload::Streamed(stream.inspect_ok(count).boxed())
            }
        }
    }
}

impl fmt::Display for MetricsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for MetricsLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.put.begin();
        self.put.end(self.inner.put(key, self.counted(payload), mode).await)
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.get.begin();
        let content = self.get.end(self.inner.get(key, range).await)?;
        self.get.add_bytes(content.len());
        Ok(content)
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.head.begin();
        self.head.end(self.inner.head(key).await)
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        self.list.begin();
        self.inner.list(prefix).map(|object| self.list.end(object)).boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.delete.begin();
        self.delete.end(self.inner.delete(key).await)
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.capabilities.begin();
        self.capabilities.end(self.inner.capabilities().await)
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.delete.begin();
        self.delete.end(self.inner.delete_batch(keys).await)
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.retain.begin();
        self.retain.end(self.inner.retain(key, until_ms).await)
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
