//! [`AzureTarget`]: the calls on a container.

use std::{fmt, sync::atomic::Ordering};

use async_trait::async_trait;
use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    BlobClientGetPropertiesResultHeaders, BlobClientSetImmutabilityPolicyOptions,
    ImmutabilityPolicyMode,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    batch::{self, BATCH_MAX},
    client::Client,
    config::AzureConfig,
    error::code,
    list,
    read::{self, missing_or},
    upload::{self, OBJECT_BYTES_MAX},
};

/// How many transfers at once are worth while.
const CONCURRENCY: usize = 16;

/// A container, or a folder in it, as a target; see the [crate's page](crate).
#[derive(Debug)]
pub struct AzureTarget {
    client: Client,
}

impl AzureTarget {
    /// Opens the container, which must exist. Sends one request.
    ///
    /// # Errors
    /// `NotFound` if there is no such container, `Denied` if it may not be listed.
    pub async fn open(config: AzureConfig) -> TargetResult<Self> {
        let target = Self { client: Client::new(config)? };
        match list::probe(&target.client).await {
            Ok(()) => Ok(target),
            Err(error) => Err(error.at(&target)),
        }
    }

    /// Opens the container, creating it if there is none.
    ///
    /// # Errors
    /// Those of [`Self::open`], and what creating gives.
    pub async fn create(config: AzureConfig) -> TargetResult<Self> {
        let target = Self { client: Client::new(config)? };
        let error = match list::probe(&target.client).await {
            Ok(()) => return Ok(target),
            Err(error) => error,
        };
        if error.kind() != TargetErrorKind::NotFound {
            return Err(error.at(&target));
        }
        match target.client.container()?.create(None).await {
            Ok(_) => Ok(target),
            // Somebody else was faster.
            Err(error) if code(&error) == "ContainerAlreadyExists" => Ok(target),
            Err(error) => Err(target.client.failed(Operation::Open, error).at(&target)),
        }
    }

    async fn try_retain(&self, key: &ObjectKey, until: OffsetDateTime) -> TargetResult<()> {
        let blob = self.client.blob(key)?;
        let found = blob.get_properties(None).await;
        let found = found.map_err(|error| missing_or(&self.client, Operation::Retain, error))?;
        let failed = |error| self.client.failed(Operation::Retain, error);
        let set = found.immutability_policy_expires_on().map_err(failed)?;
        let set_mode = found.immutability_policy_mode().map_err(failed)?;
        let wanted = self.client.config().immutability.map(|immutability| immutability.mode);
        let is_weaker = wanted == Some(ImmutabilityPolicyMode::Locked)
            && set_mode != Some(ImmutabilityPolicyMode::Locked);
        if set.is_some_and(|set| set >= until) && !is_weaker {
            return Ok(());
        }
        // A locked policy stays locked, whatever is configured now.
        let mode = match set_mode {
            Some(ImmutabilityPolicyMode::Locked) => ImmutabilityPolicyMode::Locked,
            _ => wanted.unwrap_or(ImmutabilityPolicyMode::Unlocked),
        };
        let options = BlobClientSetImmutabilityPolicyOptions {
            immutability_policy_mode: Some(mode),
            ..Default::default()
        };
        let until = set.map_or(until, |set| set.max(until));
        match blob.set_immutability_policy(&until, Some(options)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.client.failed(Operation::Retain, error)),
        }
    }
}

/// The moment at `ms`, in whole seconds as the service has them, never earlier.
fn moment(ms: i64) -> Option<OffsetDateTime> {
    let seconds = ms.div_euclid(1000) + i64::from(ms.rem_euclid(1000) > 0);
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

impl fmt::Display for AzureTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.client.config();
        write!(f, "az://{}", config.container)?;
        for folder in &config.path {
            write!(f, "/{folder}")?;
        }
        write!(f, "?account={}", config.account)
    }
}

#[async_trait]
impl BackupTarget for AzureTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let result = upload::put(&self.client, key, payload, mode).await;
        result.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        read::get(&self.client, key, range).await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        read::head(&self.client, key).await.map_err(|error| error.on(key))
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        list::list(&self.client, prefix)
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        batch::delete(&self.client, key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let batches = self.client.batches().load(Ordering::Relaxed);
        Ok(Capabilities {
            atomic_create: true,
            concurrency: CONCURRENCY,
            delete_batch_max: if batches { BATCH_MAX } else { 1 },
            retention: self.client.config().immutability.is_some(),
            codes_data: true,
            object_bytes_max: Some(OBJECT_BYTES_MAX),
            space: None,
        })
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        batch::delete_all(&self.client, keys).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        let Some(until) = moment(until_ms) else {
            let why = format!("{until_ms} ms is no moment that a calendar has");
            let error = TargetError::new(TargetErrorKind::Invalid, Operation::Retain, why);
            return Err(error.on(key));
        };
        self.try_retain(key, until).await.map_err(|error| error.on(key))
    }

    fn requests_sent(&self) -> Option<u64> {
        Some(self.client.requests())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_retention_is_rounded_up() {
        for (ms, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2), (-1, 0)] {
            assert_eq!(moment(ms).unwrap().unix_timestamp(), seconds);
        }
        assert!(moment(i64::MAX).is_none());
    }
}
