//! [`S3Target`]: the calls of a target on a bucket. Each is one line here; the work is next door.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use strongroom_backend_support::Names;
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetResult,
};

use crate::{
    client::{Requests, client},
    config::S3Config,
    create, list, read, remove,
    request::{Bucket, CustomerKey},
    retention, upload,
};

/// How many transfers at once are worth while on a service far away.
const CONCURRENCY: usize = 16;

/// What S3 takes at most.
const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// A bucket, or a path in it, as a target; see the [crate's page](crate) for what it promises.
#[derive(Debug, Clone)]
pub struct S3Target {
    bucket: Arc<Bucket>,
}

impl S3Target {
    /// Opens an existing bucket; takes one request.
    ///
    /// # Errors
    /// `NotFound` if there is no such bucket, `Denied` without credentials or with wrong ones,
    /// `Invalid` if a setting makes no sense, the bucket's region among them.
    pub async fn open(config: S3Config) -> TargetResult<Self> {
        let target = Self::connect(config).await?;
        create::find(&target.bucket).await?;
        Ok(target)
    }

    /// Opens the bucket, creating it if it is missing: with Object Lock if the configuration
    /// asks for that.
    ///
    /// # Errors
    /// Those of [`Self::open`], and `Denied` if the name belongs to somebody else.
    pub async fn create(config: S3Config) -> TargetResult<Self> {
        let target = Self::connect(config).await?;
        create::create(&target.bucket).await?;
        Ok(target)
    }

    async fn connect(config: S3Config) -> TargetResult<Self> {
        let requests = Requests::default();
        let client = client(&config, &requests).await?;
        let names = Names::new(&config.path);
        let customer_key = CustomerKey::of(&config.encryption);
        let bucket = Bucket { client, config, names, requests, customer_key };
        Ok(Self { bucket: Arc::new(bucket) })
    }
}

impl fmt::Display for S3Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.config.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for S3Target {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let put = upload::put(&self.bucket, key, payload, mode).await;
        put.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        read::get(&self.bucket, key, range).await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        read::head(&self.bucket, key, Operation::Head).await.map_err(|error| error.on(key))
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        list::list(&self.bucket, prefix)
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        remove::delete(&self.bucket, key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities {
            atomic_create: true,
            concurrency: CONCURRENCY,
            delete_batch_max: remove::BATCH_MAX,
            retention: self.bucket.config.object_lock.values().any(Option::is_some),
            codes_data: true,
            object_bytes_max: Some(OBJECT_BYTES_MAX),
            space: None,
        })
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        remove::delete_batch(&self.bucket, keys).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        retention::retain(&self.bucket, key, until_ms).await.map_err(|error| error.on(key))
    }

    fn requests_sent(&self) -> Option<u64> {
        Some(self.bucket.requests.sent())
    }
}
