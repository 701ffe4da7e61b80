//! A target in memory: for tests, simulations and as the reference of behaviour.
//!
//! Knows no failure of its own; wrap it in [`super::layers::FaultLayer`] for those.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};

use super::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetError, TargetErrorKind, TargetResult,
};
use crate::runtime::Clock;

/// Objects in a sorted map. A payload is read to its end before anything becomes visible.
#[derive(Debug, Default)]
pub struct MemoryTarget {
    objects: RwLock<BTreeMap<ObjectKey, Stored>>,
    clock: Option<Arc<dyn Clock>>,
}

#[derive(Debug, Clone)]
struct Stored {
    content: Bytes,
    modified_ms: Option<i64>,
}

impl Stored {
    fn meta(&self, key: &ObjectKey) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size_bytes: self.content.len() as u64,
            modified_ms: self.modified_ms,
        }
    }
}

impl MemoryTarget {
    /// An empty target that keeps no times.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty target that stamps objects with the time of `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { objects: RwLock::default(), clock: Some(clock) }
    }

    // A panic while the lock is held cannot leave the map half changed: each change is one call.
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<ObjectKey, Stored>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<ObjectKey, Stored>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: Operation, key: &ObjectKey) -> TargetResult<Stored> {
        self.read().get(key).cloned().ok_or_else(|| {
            TargetError::new(TargetErrorKind::NotFound, operation, "no such object").on(key)
        })
    }
}

impl fmt::Display for MemoryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl BackupTarget for MemoryTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let content = payload.into_bytes().await?;
        let modified_ms = self.clock.as_ref().map(|clock| clock.now().0.div_euclid(1_000_000));
        let mut objects = self.write();
        if mode == PutMode::Create && objects.contains_key(key) {
            return Err(already_exists(key));
        }
        objects.insert(key.clone(), Stored { content, modified_ms });
        Ok(())
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let content = self.find(Operation::Get, key)?.content;
        let within = range.within(content.len() as u64);
        // Both ends are at most the length of a buffer in memory.
        Ok(content.slice(within.start as usize..within.end as usize))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        Ok(self.find(Operation::Head, key)?.meta(key))
    }

    /// Lists a moment's state, last key first: callers that forget that no order is promised
    /// fail in their first test.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let objects = self.read();
        let first = ObjectKey::parse(prefix.as_str()).ok();
        let from = first.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found: Vec<_> = objects
            .range::<ObjectKey, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix.as_str()))
            .filter(|(key, _)| prefix.contains(key))
            .map(|(key, stored)| Ok(stored.meta(key)))
            .collect();
        found.reverse();
        stream::iter(found).boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.write().remove(key);
        Ok(())
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities {
            atomic_create: true,
            concurrency: 16,
            delete_batch_max: 1,
            retention: false,
            codes_data: true,
            object_bytes_max: None,
            space: None,
        })
    }
}

fn already_exists(key: &ObjectKey) -> TargetError {
    let message = "an object of this name exists";
    TargetError::new(TargetErrorKind::AlreadyExists, Operation::Put, message).on(key)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::{runtime::SystemClock, target::TargetExt};

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_stream_that_fails_leaves_nothing_and_keeps_the_old_object() {
        let target = MemoryTarget::new();
        target.create(&key("old"), vec![1]).await.unwrap();
        for (name, mode) in [("new", PutMode::Create), ("old", PutMode::Replace)] {
            let broken = TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "broken");
            let parts = vec![Ok(Bytes::from_static(b"half")), Err(broken)];
            let payload = Payload::Streamed(stream::iter(parts).boxed());
            target.put(&key(name), payload, mode).await.unwrap_err();
        }
        assert!(!target.exists(&key("new")).await.unwrap());
        assert_eq!(target.get_full(&key("old")).await.unwrap(), [1].as_slice());
    }

    #[tokio::test]
    async fn listing_starts_at_the_prefix_and_ends_behind_it() {
        let target = MemoryTarget::with_clock(Arc::new(SystemClock::new()));
        for name in ["a", "p-", "p/1", "p/2/x", "p0", "q/1"] {
            target.create(&key(name), vec![0]).await.unwrap();
        }
        let listed = target.list_all(&KeyPrefix::parse("p").unwrap()).await.unwrap();
        let names: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(names, ["p/1", "p/2/x"]);
        assert!(listed.iter().all(|object| object.modified_ms.is_some()));
        assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), 6);
    }
}
