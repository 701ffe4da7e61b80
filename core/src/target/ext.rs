//! Conveniences for callers of targets; never implemented by backends.

use std::convert::Infallible;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;

use super::{
    BackupTarget, ByteRange, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode, TargetErrorKind,
    TargetResult,
};
use crate::tasks;

/// What callers do with any target, said in terms of its six calls.
#[async_trait]
pub trait TargetExt: BackupTarget {
    /// Stores a new object; fails with [`TargetErrorKind::AlreadyExists`] if the key is taken.
    async fn create(
        &self,
        key: &ObjectKey,
        payload: impl Into<Payload> + Send,
    ) -> TargetResult<()> {
        let payload = payload.into();
        self.put(key, payload, PutMode::Create).await
    }

    /// Stores an object in place of whatever is there.
    async fn replace(
        &self,
        key: &ObjectKey,
        payload: impl Into<Payload> + Send,
    ) -> TargetResult<()> {
        let payload = payload.into();
        self.put(key, payload, PutMode::Replace).await
    }

    /// The whole object.
    async fn get_full(&self, key: &ObjectKey) -> TargetResult<Bytes> {
        self.get(key, ByteRange::Full).await
    }

    /// At most `length` bytes from `offset` on; fewer only where the object ends.
    async fn get_range(&self, key: &ObjectKey, offset: u64, length: u64) -> TargetResult<Bytes> {
        self.get(key, ByteRange::From { offset, length }).await
    }

    /// Whether there is such an object.
    async fn exists(&self, key: &ObjectKey) -> TargetResult<bool> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All objects under `prefix`, sorted by key. Holds the listing in memory.
    async fn list_all(&self, prefix: &KeyPrefix) -> TargetResult<Vec<ObjectMeta>> {
        let mut objects: Vec<ObjectMeta> = self.list(prefix).try_collect().await?;
        objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// Deletes all `keys`, in batches where the target takes them, `concurrency` (at least one)
    /// requests at a time. Goes on after a failure and gives the first one at the end, so that
    /// one stubborn object does not keep the others.
    async fn delete_many(&self, keys: Vec<ObjectKey>, concurrency: usize) -> TargetResult<()> {
        let batch = self.capabilities().await?.delete_batch_max.max(1);
        let batches: Vec<Vec<ObjectKey>> = keys.chunks(batch).map(<[_]>::to_vec).collect();
        let deletes = batches.into_iter().map(|keys| async move {
            match keys.as_slice() {
                [key] => self.delete(key).await,
                keys => self.delete_batch(keys).await,
            }
        });
        let mut outcome = Ok(());
        let note = |deleted: TargetResult<()>| -> Result<(), Infallible> {
            if outcome.is_ok() {
                outcome = deleted;
            }
            Ok(())
        };
        let Ok(()) = tasks::each(deletes, concurrency.max(1), note).await;
        outcome
    }
}

impl<T: BackupTarget + ?Sized> TargetExt for T {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        runtime::SystemClock,
        target::{
            MemoryTarget, Operation, SharedTarget,
            layers::{FaultLayer, FaultRule},
        },
    };

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    #[tokio::test]
    async fn conveniences_work_on_dyn_targets() {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        target.create(&key("b"), vec![1, 2, 3]).await.unwrap();
        let taken = target.create(&key("b"), vec![9]).await.unwrap_err();
        assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
        target.replace(&key("a"), vec![4]).await.unwrap();
        assert_eq!(target.get_full(&key("b")).await.unwrap(), [1, 2, 3].as_slice());
        assert_eq!(target.get_range(&key("b"), 1, 9).await.unwrap(), [2, 3].as_slice());
        assert!(target.exists(&key("a")).await.unwrap());
        assert!(!target.exists(&key("c")).await.unwrap());
        let names: Vec<_> = target.list_all(&KeyPrefix::all()).await.unwrap();
        assert_eq!(names.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn delete_many_goes_on_after_a_failure() {
        let memory: SharedTarget = Arc::new(MemoryTarget::new());
        let keys: Vec<_> = (0..50).map(|i| key(&format!("k/{i}"))).collect();
        for key in &keys {
            memory.create(key, vec![0]).await.unwrap();
        }
        let faulty = FaultLayer::new(memory.clone(), Arc::new(SystemClock::new()));
        faulty.add(FaultRule::fail(Operation::Delete, TargetErrorKind::Denied).nth(7));
        let error = faulty.delete_many(keys, 8).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Denied);
        assert_eq!(memory.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
    }
}
