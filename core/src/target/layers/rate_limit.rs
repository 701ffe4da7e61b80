//! So many bytes a second up and down, on average, with bursts of up to one second's worth.
//!
//! Knows no wall clock and no thread: time is the [`Clock`] that it is given.

use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use crate::{
    runtime::Clock,
    target::{
        BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Payload,
        PutMode, SharedTarget, TargetResult,
    },
};

/// How fast content may go each way; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimitConfig {
    /// Bytes a second into the target.
    pub upload_bytes_per_second: Option<NonZeroU64>,
    /// Bytes a second out of the target.
    pub download_bytes_per_second: Option<NonZeroU64>,
}

/// Delays calls so that content flows at no more than the configured rates.
///
/// A buffered payload pays before it is sent and then goes out as one piece; a streamed one pays
/// buffer by buffer; a `get` pays after it arrived. Names and listings are free.
#[derive(Debug)]
pub struct RateLimitLayer {
    inner: SharedTarget,
    clock: Arc<dyn Clock>,
    upload: Option<Arc<Bucket>>,
    download: Option<Arc<Bucket>>,
}

impl RateLimitLayer {
    /// Limits `inner` as `config` says, by `clock`.
    pub fn new(inner: SharedTarget, config: RateLimitConfig, clock: Arc<dyn Clock>) -> Self {
        let bucket = |rate: NonZeroU64| Arc::new(Bucket::new(rate));
        Self {
            inner,
            clock,
            upload: config.upload_bytes_per_second.map(bucket),
            download: config.download_bytes_per_second.map(bucket),
        }
    }

    async fn paced(&self, payload: Payload, bucket: &Arc<Bucket>) -> Payload {
        if let Some(length) = payload.len() {
            bucket.pay(length, &*self.clock).await;
            return payload;
        }
        let (bucket, clock) = (bucket.clone(), self.clock.clone());
        let stream = payload.into_stream().and_then(move |part| {
            let (bucket, clock) = (bucket.clone(), clock.clone());
            async move {
                bucket.pay(part.len() as u64, &*clock).await;
                Ok(part)
            }
        });
        Payload::Streamed(stream.boxed())
    }
}

/// A token bucket, kept as the moment up to which capacity is spent ("virtual scheduling").
#[derive(Debug)]
struct Bucket {
    bytes_per_second: NonZeroU64,
    spent_until: Mutex<Duration>,
}

/// How far ahead of the rate one may be: the size of a burst, as time.
const BURST: Duration = Duration::from_secs(1);

impl Bucket {
    fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, spent_until: Mutex::default() }
    }

    /// Reserves room for `bytes` and waits until it has come. Whoever comes later waits behind.
    async fn pay(&self, bytes: u64, clock: &dyn Clock) {
        let wait = self.reserve(bytes, clock.monotonic());
        if !wait.is_zero() {
            clock.sleep(wait).await;
        }
    }

    /// How long to wait from `now` on before `bytes` more may flow.
    fn reserve(&self, bytes: u64, now: Duration) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut spent_until = self.spent_until.lock().unwrap_or_else(PoisonError::into_inner);
        *spent_until = (*spent_until).max(now).saturating_add(cost);
        spent_until.saturating_sub(now.saturating_add(BURST))
    }
}

impl fmt::Display for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for RateLimitLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let payload = match &self.upload {
            Some(bucket) => self.paced(payload, bucket).await,
            None => payload,
        };
        self.inner.put(key, payload, mode).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let content = self.inner.get(key, range).await?;
        if let Some(bucket) = &self.download {
            bucket.pay(content.len() as u64, &*self.clock).await;
        }
        Ok(content)
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

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.inner.delete_batch(keys).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.inner.retain(key, until_ms).await
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
