//! A target below a prefix of another: its keys go in with the prefix and come out without.
//!
//! Knows nothing of what lies beside the prefix.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use crate::target::{
    BackupTarget, ByteRange, Capabilities, Healed, InvalidKey, KeyPrefix, ObjectKey, ObjectMeta,
    Operation, Payload, PutMode, SharedTarget, TargetError, TargetErrorKind, TargetResult,
};

/// The part of a target that lies below one prefix. Errors name the full key.
#[derive(Debug)]
pub struct PrefixLayer {
    inner: SharedTarget,
    prefix: KeyPrefix,
}

impl PrefixLayer {
    /// The part of `inner` below `prefix`.
    pub fn new(inner: SharedTarget, prefix: KeyPrefix) -> Self {
        Self { inner, prefix }
    }

    fn full(&self, operation: Operation, key: &ObjectKey) -> TargetResult<ObjectKey> {
        self.prefix.join(key).map_err(|why| too_long(operation, key, why))
    }

    fn full_prefix(&self, below: &KeyPrefix) -> TargetResult<KeyPrefix> {
        if below.as_str().is_empty() {
            return Ok(self.prefix.clone());
        }
        let key = ObjectKey::parse(below.as_str());
        key.and_then(|key| self.prefix.join(&key))
            .and_then(|full| KeyPrefix::parse(full.as_str()))
            .map_err(|why| too_long(Operation::List, below, why))
    }

    fn strip(&self, mut object: ObjectMeta) -> TargetResult<ObjectMeta> {
        match self.prefix.strip(&object.key) {
            Some(key) => {
                object.key = key;
                Ok(object)
            }
            None => {
                let message = "listed although it does not lie below the prefix";
                let kind = TargetErrorKind::Unexpected;
                Err(TargetError::new(kind, Operation::List, message).on(&object.key))
            }
        }
    }
}

fn too_long(operation: Operation, key: impl fmt::Display, why: InvalidKey) -> TargetError {
    let message = "no valid key together with the target's prefix";
    TargetError::new(TargetErrorKind::Invalid, operation, message).at(key).because(why)
}

impl fmt::Display for PrefixLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)?;
        if !self.prefix.as_str().is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

#[async_trait]
impl BackupTarget for PrefixLayer {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.inner.put(&self.full(Operation::Put, key)?, payload, mode).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.inner.get(&self.full(Operation::Get, key)?, range).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let object = self.inner.head(&self.full(Operation::Head, key)?).await?;
        Ok(ObjectMeta { key: key.clone(), ..object })
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        match self.full_prefix(prefix) {
            Ok(full) => {
                let listing = self.inner.list(&full);
                listing.map(|object| object.and_then(|object| self.strip(object))).boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.inner.delete(&self.full(Operation::Delete, key)?).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let full: TargetResult<Vec<_>> =
            keys.iter().map(|key| self.full(Operation::Delete, key)).collect();
        self.inner.delete_batch(&full?).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.inner.retain(&self.full(Operation::Retain, key)?, until_ms).await
    }

    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        self.inner.heal_object(&self.full(Operation::Get, key)?).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}
