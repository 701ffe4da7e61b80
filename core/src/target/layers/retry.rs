//! Tries again what failed for a reason that may pass.
//!
//! Exponential back-off with full jitter, bounded in tries and in time. Knows no wall clock and
//! no random source but those of the [`Runtime`].
//!
//! Full jitter (a wait drawn evenly from nothing to the current bound) spreads many clients that
//! failed at the same moment better than any fixed wait.

use std::{collections::HashSet, fmt, future::Future, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::{
    runtime::{Runtime, random},
    target::{
        BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Payload,
        PutMode, SharedTarget, TargetError, TargetErrorKind, TargetResult,
    },
};

/// How long and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// Tries in all, the first one included; at least one.
    pub tries_max: u32,
    /// The longest wait before the second try; each further try doubles it.
    pub wait_first: Duration,
    /// The longest wait before any try.
    pub wait_max: Duration,
    /// No try begins later than this after the first one, not even when the storage asks for a
    /// longer wait.
    pub total_max: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            tries_max: 10,
            wait_first: Duration::from_millis(200),
            wait_max: Duration::from_secs(30),
            total_max: Duration::from_secs(300),
        }
    }
}

/// Repeats calls whose error says that trying again may help.
///
/// - A wait that the storage asks for ([`TargetError::wait_asked`]) is kept at least.
/// - A streamed payload gets one try: its bytes are gone.
/// - A `Create` whose earlier try may have been applied and that is then told `AlreadyExists`
///   reads the object back: equal to the payload, it is our own success. (Two creators of the
///   very same bytes cannot be told apart and both succeed; who must know puts a nonce inside.)
/// - A listing that breaks off begins anew and leaves out what it gave before.
///
/// When it gives up after several tries, the error keeps kind, key and hint, says how many, and
/// is no longer retryable.
#[derive(Debug)]
pub struct RetryLayer {
    inner: SharedTarget,
    config: RetryConfig,
    runtime: Runtime,
}

impl RetryLayer {
    /// Repeats calls to `inner` as `config` says.
    pub fn new(inner: SharedTarget, config: RetryConfig, runtime: Runtime) -> Self {
        Self { inner, config, runtime }
    }

    async fn retry<T, F, Call>(&self, mut call: F) -> TargetResult<T>
    where
        F: FnMut() -> Call,
        Call: Future<Output = TargetResult<T>>,
    {
        let mut tries = Tries::begin(self);
        loop {
            match call().await {
                Ok(value) => return Ok(value),
                Err(error) => tries.wait_after(error).await?,
            }
        }
    }

    async fn put_buffered(
        &self,
        key: &ObjectKey,
        parts: Vec<Bytes>,
        mode: PutMode,
    ) -> TargetResult<()> {
        let mut tries = Tries::begin(self);
        loop {
            let payload = Payload::Buffered(parts.clone());
            let error = match self.inner.put(key, payload, mode).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let maybe_ours = mode == PutMode::Create
                && tries.failed > 0
                && error.kind() == TargetErrorKind::AlreadyExists;
            if maybe_ours {
                return if self.holds(key, &parts).await? { Ok(()) } else { Err(error) };
            }
            tries.wait_after(error).await?;
        }
    }

    /// Whether the stored object consists of exactly `parts`. One that is gone again does not.
    async fn holds(&self, key: &ObjectKey, parts: &[Bytes]) -> TargetResult<bool> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let found = async {
            if self.head(key).await?.size_bytes != length {
                return TargetResult::Ok(false);
            }
            let stored = self.get(key, ByteRange::Full).await?;
            Ok(is_concatenation(&stored, parts))
        };
        match found.await {
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(false),
            result => result,
        }
    }
}

fn is_concatenation(whole: &[u8], parts: &[Bytes]) -> bool {
    let rest = parts.iter().try_fold(whole, |rest, part| rest.strip_prefix(&part[..]));
    rest.is_some_and(<[u8]>::is_empty)
}

/// The tries of one call so far.
struct Tries<'a> {
    layer: &'a RetryLayer,
    began: Duration,
    failed: u32,
}

impl<'a> Tries<'a> {
    fn begin(layer: &'a RetryLayer) -> Self {
        Self { layer, began: layer.runtime.clock.monotonic(), failed: 0 }
    }

    /// Waits until the next try is due, or gives the error that ends the call.
    async fn wait_after(&mut self, error: TargetError) -> TargetResult<()> {
        self.failed += 1;
        if !error.is_retryable() {
            return Err(error);
        }
        let (config, clock) = (&self.layer.config, &self.layer.runtime.clock);
        let wait = self.jittered().max(error.wait_asked().unwrap_or_default());
        let elapsed = clock.monotonic().saturating_sub(self.began);
        if self.failed >= config.tries_max || elapsed.saturating_add(wait) > config.total_max {
            return Err(self.give_up(error));
        }
        tracing::debug!(%error, tries = self.failed, ?wait, "trying again");
        clock.sleep(wait).await;
        Ok(())
    }

    fn jittered(&self) -> Duration {
        let config = &self.layer.config;
        let doublings = self.failed.saturating_sub(1).min(31);
        let bound = config.wait_first.saturating_mul(1 << doublings).min(config.wait_max);
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let draw = u64::from_le_bytes(random(&*self.layer.runtime.randomness));
        // The high half of the product is an even draw from 0 to bound.
        Duration::from_nanos(((u128::from(draw) * u128::from(bound)) >> 64) as u64)
    }

    fn give_up(&self, error: TargetError) -> TargetError {
        if self.failed < 2 {
            return error;
        }
        let message = format!("gave up after {} tries", self.failed);
        let mut last = TargetError::new(error.kind(), error.operation(), message).retryable(false);
        if let Some(hint) = error.hint_text() {
            last = last.hint(hint);
        }
        match error.key().map(str::to_owned) {
            Some(place) => last.at(place).because(error),
            None => last.because(error),
        }
    }
}

impl fmt::Display for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for RetryLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        match payload {
            Payload::Buffered(parts) => self.put_buffered(key, parts, mode).await,
            streamed @ Payload::Streamed(_) => self.inner.put(key, streamed, mode).await,
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.retry(|| self.inner.get(key, range)).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.retry(|| self.inner.head(key)).await
    }

    /// Remembers the keys that it gave, so that a listing begun anew gives each once: memory
    /// grows with the listing, as that of its reader usually does. Progress refills the tries.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let listing = Listing {
            prefix: prefix.clone(),
            objects: Some(self.inner.list(prefix)),
            given: HashSet::new(),
            tries: Tries::begin(self),
        };
        stream::unfold(listing, |mut listing| async move {
            let item = listing.next().await?;
            Some((item, listing))
        })
        .boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.retry(|| self.inner.delete(key)).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.retry(|| self.inner.capabilities()).await
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.retry(|| self.inner.delete_batch(keys)).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.retry(|| self.inner.retain(key, until_ms)).await
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(key).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}

/// A listing that survives breaks. `objects` is gone after its end or last error.
struct Listing<'a> {
    prefix: KeyPrefix,
    objects: Option<BoxStream<'a, TargetResult<ObjectMeta>>>,
    given: HashSet<ObjectKey>,
    tries: Tries<'a>,
}

impl Listing<'_> {
    async fn next(&mut self) -> Option<TargetResult<ObjectMeta>> {
        loop {
            match self.objects.as_mut()?.next().await {
                None => {
                    self.objects = None;
                    return None;
                }
                Some(Ok(object)) if self.given.insert(object.key.clone()) => {
                    if self.tries.failed > 0 {
                        self.tries = Tries::begin(self.tries.layer);
                    }
                    return Some(Ok(object));
                }
                Some(Ok(_given_before)) => {}
                Some(Err(error)) => {
                    self.objects = None;
                    if let Err(last) = self.tries.wait_after(error).await {
                        return Some(Err(last));
                    }
                    self.objects = Some(self.tries.layer.inner.list(&self.prefix));
                }
            }
        }
    }
}
