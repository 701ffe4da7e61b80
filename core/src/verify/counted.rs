//! A target that counts the bytes read through it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode,
    SharedTarget, TargetResult,
};

/// Passes everything on.
#[derive(Debug)]
pub(super) struct Counted {
    inner: SharedTarget,
    bytes_read: Arc<AtomicU64>,
}

impl Counted {
    /// The target to read through, and the count.
    pub(super) fn wrap(inner: SharedTarget) -> (SharedTarget, Arc<AtomicU64>) {
        let bytes_read = Arc::new(AtomicU64::new(0));
        (Arc::new(Self { inner, bytes_read: bytes_read.clone() }), bytes_read)
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for Counted {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.inner.put(key, payload, mode).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let bytes = self.inner.get(key, range).await?;
        self.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.inner.head(key).await
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.inner.delete(key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }
}
