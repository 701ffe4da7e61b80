//! [`ObjectStoreTarget`]: the calls on any store.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{Error, ObjectStore, ObjectStoreExt};
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetResult,
};

use crate::{
    config::ObjectStoreConfig,
    error::{failed, is_folder},
    names::Base,
    read::{self, bounded, meta},
    upload::Upload,
};

/// A store of the `object_store` crate as a target; see the [crate's page](crate).
#[derive(Debug, Clone)]
pub struct ObjectStoreTarget {
    store: Arc<dyn ObjectStore>,
    config: ObjectStoreConfig,
    base: Base,
}

impl ObjectStoreTarget {
    /// Uses `store` as `config` says. Asks the store nothing: `object_store` cannot tell whether
    /// a bucket exists before something is read from it.
    pub fn new(store: Arc<dyn ObjectStore>, config: ObjectStoreConfig) -> Self {
        let base = Base::new(&config.path);
        Self { store, config, base }
    }

    /// Asks the store for its first object, to see whether it is there and lets itself be listed.
    pub(crate) async fn probe(&self) -> TargetResult<()> {
        let prefix = self.base.prefix(&KeyPrefix::all())?;
        let mut objects = self.store.list(Some(&prefix));
        let first = async {
            objects.next().await.transpose().map_err(|error| failed(Operation::Open, error))
        };
        bounded(Operation::Open, first).await.map(|_| ())
    }

    async fn try_delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let paths: Vec<_> =
            keys.iter().map(|key| self.base.path(key).map(Ok)).collect::<TargetResult<_>>()?;
        let mut deleted = self.store.delete_stream(stream::iter(paths).boxed());
        let mut outcome = Ok(());
        while let Some(result) =
            bounded(Operation::Delete, async { Ok(deleted.next().await) }).await?
        {
            outcome = outcome.and(match result {
                Ok(_) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) if is_folder(&error) => Ok(()),
                Err(error) => Err(failed(Operation::Delete, error)),
            });
        }
        outcome
    }
}

impl fmt::Display for ObjectStoreTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.config.name)
    }
}

#[async_trait]
impl BackupTarget for ObjectStoreTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let upload = Upload { store: &self.store, config: &self.config, base: &self.base };
        upload.put(key, payload, mode).await.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let path = self.base.path(key)?;
        read::get(&self.store, &path, range).await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let path = self.base.path(key)?;
        read::head(&self.store, &path, key).await.map_err(|error| error.on(key))
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let path = match self.base.prefix(prefix) {
            Ok(path) => path,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let objects = self.store.list(Some(&path));
        stream::try_unfold(objects, |mut objects| async move {
            let next = bounded(Operation::List, async { Ok(objects.next().await) }).await?;
            let next = next.transpose().map_err(|error| failed(Operation::List, error))?;
            Ok(next.map(|object| (object, objects)))
        })
        .try_filter_map(move |object| async move {
            Ok(self.base.key(&object.location).map(|key| meta(key, &object)))
        })
        .boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let path = self.base.path(key)?;
        let delete = async {
            match self.store.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
                Err(error) if is_folder(&error) => Ok(()),
                Err(error) => Err(failed(Operation::Delete, error)),
            }
        };
        bounded(Operation::Delete, delete).await.map_err(|error| error.on(key))
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities {
            atomic_create: self.config.atomic_create,
            concurrency: self.config.concurrency,
            delete_batch_max: self.config.delete_batch_max,
            retention: false,
            codes_data: true,
            object_bytes_max: None,
            space: None,
        })
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.try_delete_batch(keys).await
    }
}
