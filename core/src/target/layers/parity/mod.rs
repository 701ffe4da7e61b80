//! Keeps parity beside large objects and copies beside small ones, so that what a storage
//! damages or loses comes back, without any key.
//!
//! Which objects those are says a [`ParityScheme`]; the layer knows no other meaning of names.
//! The object `packs/x` has its parity in `parity/x`, the object `meta/y` its copies in
//! `copies/1/meta/y` and `copies/2/meta/y`. The *primary*, the object itself, decides:
//!
//! - it is created first, by one create that the storage decides, and deleted last, so that a
//!   copy without primary is one whose primary was lost, and counts as the object;
//! - who writes a copy looks afterwards whether the primary is still there, and who deletes
//!   the primary deletes the copies once more: so no copy outlives an object, whoever heals it
//!   while another deletes it.
//!
//! Reading costs nothing more while nothing is lost. Copies are consulted where the primary is
//! missing or cannot be read; that its bytes are wrong is found by who opens it, and said by
//! [`BackupTarget::heal_object`].

mod examine;
mod read;
mod scheme;
mod scrub;
#[cfg(test)]
mod tests;
mod write;

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};

pub use self::{
    examine::Healing,
    scheme::ParityScheme,
    scrub::{ScrubOptions, ScrubReport, Unhealed},
};
use self::{examine::Task, scheme::Beside};
use crate::target::{
    BackupTarget, ByteRange, Capabilities, Healed, KeyPrefix, ObjectKey, ObjectMeta, Operation,
    Payload, PutMode, SharedTarget, TargetError, TargetErrorKind, TargetResult,
};

/// Objects remembered as healed, and as beyond healing.
const REMEMBERED_MAX: usize = 10_000;

/// Keeps parity and copies beside the objects of the wrapped target.
#[derive(Debug)]
pub struct ParityLayer {
    inner: SharedTarget,
    scheme: ParityScheme,
    /// One healing at a time: who waits finds the object healed.
    turn: tokio::sync::Mutex<()>,
    healed: Mutex<Vec<ObjectKey>>,
    /// Readers of one object that cannot be healed do not each read it whole again.
    hopeless: Mutex<HashSet<ObjectKey>>,
}

impl ParityLayer {
    /// Protects the objects of `inner` as `scheme` says.
    pub fn new(inner: SharedTarget, scheme: ParityScheme) -> Self {
        Self {
            inner,
            scheme,
            turn: tokio::sync::Mutex::default(),
            healed: Mutex::default(),
            hopeless: Mutex::default(),
        }
    }

    /// The objects that readers had healed so far, in order (10,000 at most).
    pub fn healed(&self) -> Vec<ObjectKey> {
        lock(&self.healed).clone()
    }

    fn remember_healed(&self, key: &ObjectKey) {
        tracing::warn!(object = %key, "was damaged or lost, and is healed");
        let mut healed = lock(&self.healed);
        if healed.len() < REMEMBERED_MAX {
            healed.push(key.clone());
        }
    }

    fn remember_hopeless(&self, key: &ObjectKey, why: &str) {
        tracing::warn!(object = %key, why, "cannot be healed");
        let mut hopeless = lock(&self.hopeless);
        if hopeless.len() < REMEMBERED_MAX {
            hopeless.insert(key.clone());
        }
    }

    /// Heals what a reader found damaged.
    async fn heal_read(&self, key: &ObjectKey) -> TargetResult<Healed> {
        let _turn = self.turn.lock().await;
        if lock(&self.hopeless).contains(key) {
            return Ok(Healed::Impossible);
        }
        match self.examine(key, Task::HEAL).await? {
            Healing::Intact | Healing::Completed => Ok(Healed::Intact),
            Healing::Rebuilt => {
                self.remember_healed(key);
                Ok(Healed::Rebuilt)
            }
            Healing::Gone => Ok(Healed::Impossible),
            Healing::Impossible(why) => {
                self.remember_hopeless(key, &why);
                Ok(Healed::Impossible)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error inside of the coding, as the target's.
fn failed(key: &ObjectKey, operation: Operation, error: crate::error::Error) -> TargetError {
    let message = "parity cannot be computed";
    TargetError::new(TargetErrorKind::Unexpected, operation, message).on(key).because(error)
}

/// `None` for an object that is not there.
fn found<T>(result: TargetResult<T>) -> TargetResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Display for ParityLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for ParityLayer {
    /// An error may come after the primary was stored, when what stands beside it could not be:
    /// the object exists then, and a scrub completes it.
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        lock(&self.hopeless).remove(key);
        match self.scheme.beside(key) {
            Beside::Nothing => self.inner.put(key, payload, mode).await,
            Beside::Parity(parity) => self.put_with_parity(key, &parity, payload, mode).await,
            Beside::Copies(copies) => self.put_with_copies(key, &copies, payload, mode).await,
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        match self.inner.get(key, range).await {
            Ok(content) => Ok(content),
            Err(error) => self.get_copy(key, range, error).await,
        }
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        match self.inner.head(key).await {
            Ok(object) => Ok(object),
            Err(error) => self.head_copy(key, error).await,
        }
    }

    /// Where copies may lie, two more listings follow that of the primaries: of an object that
    /// is deleted meanwhile, either is seen, or none.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        if self.scheme.may_have_copies(prefix) {
            self.list_with_copies(prefix)
        } else {
            self.inner.list(prefix).boxed()
        }
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.delete_all(std::slice::from_ref(key)).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.delete_all(keys).await
    }

    /// What stands beside the object is kept as long.
    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.inner.retain(key, until_ms).await?;
        for beside in self.scheme.beside(key).keys() {
            found(self.inner.retain(beside, until_ms).await)?;
        }
        Ok(())
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        match self.scheme.beside(key) {
            Beside::Nothing => self.inner.heal_object(key).await,
            _ => self.heal_read(key).await,
        }
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
