//! At most so many calls at once; the others wait their turn, first come first served.
//!
//! Knows nothing of bytes or time.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::target::{
    BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Operation,
    Payload, PutMode, SharedTarget, TargetError, TargetErrorKind, TargetResult,
};

/// Lets at most `calls_max` calls be under way at the wrapped target.
#[derive(Debug)]
pub struct ConcurrencyLimitLayer {
    inner: SharedTarget,
    permits: Semaphore,
    calls_max: usize,
}

impl ConcurrencyLimitLayer {
    /// Limits `inner` to `calls_max` calls at once (at least one).
    pub fn new(inner: SharedTarget, calls_max: usize) -> Self {
        let calls_max = calls_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { inner, permits: Semaphore::new(calls_max), calls_max }
    }

    async fn permit(&self, operation: Operation) -> TargetResult<SemaphorePermit<'_>> {
        self.permits.acquire().await.map_err(|closed| {
            let message = "the limit on calls was closed";
            TargetError::new(TargetErrorKind::Unexpected, operation, message).because(closed)
        })
    }
}

impl fmt::Display for ConcurrencyLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for ConcurrencyLimitLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let _permit = self.permit(Operation::Put).await?;
        self.inner.put(key, payload, mode).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let _permit = self.permit(Operation::Get).await?;
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let _permit = self.permit(Operation::Head).await?;
        self.inner.head(key).await
    }

    /// A listing holds a permit only while the next object is awaited: its reader may make other
    /// calls in between, which would wait for ever if the whole listing held the last permit.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let listing = self.inner.list(prefix);
        stream::unfold(listing, move |mut listing| async move {
            let item = match self.permit(Operation::List).await {
                Ok(_permit) => listing.next().await?,
                Err(error) => Err(error),
            };
            Some((item, listing))
        })
        .boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let _permit = self.permit(Operation::Delete).await?;
        self.inner.delete(key).await
    }

    /// Passes through what the target can do, with its useful concurrency cut to the limit.
    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let _permit = self.permit(Operation::Capabilities).await?;
        let mut capabilities = self.inner.capabilities().await?;
        capabilities.concurrency = capabilities.concurrency.min(self.calls_max);
        Ok(capabilities)
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let _permit = self.permit(Operation::Delete).await?;
        self.inner.delete_batch(keys).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        let _permit = self.permit(Operation::Retain).await?;
        self.inner.retain(key, until_ms).await
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
