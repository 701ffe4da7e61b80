//! A target in memory: for tests, simulations and as the reference of behaviour.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};

use super::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetError, TargetErrorKind, TargetResult,
};

/// Objects in a map.
#[derive(Debug, Default)]
pub struct MemoryTarget {
    objects: Mutex<BTreeMap<ObjectKey, Bytes>>,
}

impl MemoryTarget {
    /// An empty target.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for MemoryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

fn missing(operation: Operation, key: &ObjectKey) -> TargetError {
    TargetError::new(TargetErrorKind::NotFound, operation, "no such object").on(key)
}

#[async_trait]
impl BackupTarget for MemoryTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let bytes = payload.into_bytes().await?;
        let mut objects = self.objects();
        if mode == PutMode::Create && objects.contains_key(key) {
            let message = "the object exists";
            let error = TargetError::new(TargetErrorKind::AlreadyExists, Operation::Put, message);
            return Err(error.on(key));
        }
        objects.insert(key.clone(), bytes);
        Ok(())
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let objects = self.objects();
        let bytes = objects.get(key).ok_or_else(|| missing(Operation::Get, key))?;
        Ok(match range {
            ByteRange::Full => bytes.clone(),
            ByteRange::From { offset, length } => {
                let size = bytes.len() as u64;
                let start = offset.min(size);
                let end = start.saturating_add(length).min(size);
                bytes.slice(start as usize..end as usize)
            }
        })
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let objects = self.objects();
        let bytes = objects.get(key).ok_or_else(|| missing(Operation::Head, key))?;
        Ok(ObjectMeta { key: key.clone(), size_bytes: bytes.len() as u64, modified_ms: None })
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let objects = self.objects();
        let found: Vec<_> = objects
            .iter()
            .filter(|(key, _)| prefix.contains(key))
            .map(|(key, bytes)| {
                let size_bytes = bytes.len() as u64;
                Ok(ObjectMeta { key: key.clone(), size_bytes, modified_ms: None })
            })
            .collect();
        stream::iter(found).boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.objects().remove(key);
        Ok(())
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities {
            atomic_create: true,
            concurrency: 4,
            object_bytes_max: None,
            space: None,
        })
    }
}
