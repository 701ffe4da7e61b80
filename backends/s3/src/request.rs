//! What all requests to one bucket have in common, and what every new object is told.
//!
//! Sends nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::{
    Client,
    primitives::DateTime,
    types::{ObjectLockMode, RequestPayer, ServerSideEncryption, StorageClass},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use md5::{Digest, Md5};
use strongroom_backend_support::Names;
use strongroom_core::target::ObjectKey;

use crate::{
    client::Requests,
    config::{Checksums, Encryption, LockMode, ObjectLock, S3Config},
};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// A bucket and the way to it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) config: S3Config,
    pub(crate) names: Names,
    pub(crate) requests: Requests,
    pub(crate) customer_key: CustomerKey,
}

/// The three headers of SSE-C; all empty without it.
#[derive(Clone, Default)]
pub(crate) struct CustomerKey {
    pub(crate) algorithm: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) md5: Option<String>,
}

impl std::fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomerKey(***)")
    }
}

impl CustomerKey {
    /// The headers that `encryption` asks for.
    pub(crate) fn of(encryption: &Encryption) -> Self {
        let Encryption::Customer(key) = encryption else { return Self::default() };
        let raw = BASE64.decode(key.expose()).unwrap_or_default();
        Self {
            algorithm: Some("AES256".to_owned()),
            key: Some(key.expose().to_owned()),
            md5: Some(BASE64.encode(Md5::digest(&raw))),
        }
    }
}

/// What the storage is told about a new object, besides its content.
#[derive(Debug, Default)]
pub(crate) struct NewObject {
    pub(crate) storage_class: Option<StorageClass>,
    pub(crate) encryption: Option<ServerSideEncryption>,
    pub(crate) kms_key_id: Option<String>,
    pub(crate) lock_mode: Option<ObjectLockMode>,
    pub(crate) retain_until: Option<DateTime>,
}

impl Bucket {
    /// The bucket's name.
    pub(crate) fn name(&self) -> &str {
        &self.config.bucket
    }

    /// Whether we say that we pay.
    pub(crate) fn payer(&self) -> Option<RequestPayer> {
        self.config.is_requester_paying.then_some(RequestPayer::Requester)
    }

    /// When checksums go with the content of `key`: a locked object always needs one.
    pub(crate) fn checksums(&self, key: &ObjectKey) -> Checksums {
        match self.lock_of(key) {
            Some(_) => Checksums::WhenSupported,
            None => self.config.checksums,
        }
    }

    /// How long and how strictly a new object `key` is locked.
    pub(crate) fn lock_of(&self, key: &ObjectKey) -> Option<ObjectLock> {
        self.config.object_lock.of(folder_of(key)).copied().flatten()
    }

    /// How strictly objects are locked that have no rule of their own.
    pub(crate) fn lock_mode(&self, key: &ObjectKey) -> Option<LockMode> {
        let any = || self.config.object_lock.values().copied().flatten().next();
        self.lock_of(key).or_else(any).map(|lock| lock.mode)
    }

    /// What the configuration says about a new object `key`.
    pub(crate) fn new_object(&self, key: &ObjectKey) -> NewObject {
        let class = self.config.storage_class.of(folder_of(key));
        let lock = self.lock_of(key);
        let (encryption, kms_key_id) = match &self.config.encryption {
            Encryption::BucketDefault | Encryption::Customer(_) => (None, None),
            Encryption::S3Managed => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        };
        NewObject {
            storage_class: class.map(|class| StorageClass::from(class.as_str())),
            encryption,
            kms_key_id,
            lock_mode: lock.map(|lock| object_lock_mode(lock.mode)),
            retain_until: lock.map(|lock| retain_until(lock.days)),
        }
    }
}

/// The first segment of a key, by which settings differ.
fn folder_of(key: &ObjectKey) -> &str {
    key.segments().next().unwrap_or_default()
}

pub(crate) fn object_lock_mode(mode: LockMode) -> ObjectLockMode {
    match mode {
        LockMode::Governance => ObjectLockMode::Governance,
        LockMode::Compliance => ObjectLockMode::Compliance,
    }
}

/// `days` from now by this machine's clock: a put asks for a time, not for a span.
fn retain_until(days: u32) -> DateTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or_default();
    DateTime::from_secs(now.saturating_add(i64::from(days) * DAY_SECONDS))
}

/// Names bucket and object in a request of any kind, and gives the key of SSE-C along.
macro_rules! addressed {
    ($bucket:expr, $name:expr, $request:expr) => {{
        let (bucket, customer) = (&$bucket, &$bucket.customer_key);
        $request
            .bucket(bucket.name())
            .key($name)
            .set_request_payer(bucket.payer())
            .set_sse_customer_algorithm(customer.algorithm.clone())
            .set_sse_customer_key(customer.key.clone())
            .set_sse_customer_key_md5(customer.md5.clone())
    }};
}

/// Tells a request that makes an object what the configuration says about it.
macro_rules! described {
    ($new:expr, $mark:expr, $request:expr) => {{
        let (new, mark): (crate::request::NewObject, Option<&str>) = ($new, $mark);
        let metadata = mark.map(|mark| [(crate::request::MARK.to_owned(), mark.to_owned())].into());
        $request
            .set_storage_class(new.storage_class)
            .set_server_side_encryption(new.encryption)
            .set_ssekms_key_id(new.kms_key_id)
            .set_object_lock_mode(new.lock_mode)
            .set_object_lock_retain_until_date(new.retain_until)
            .set_metadata(metadata)
    }};
}

pub(crate) use {addressed, described};

/// The name of the metadata by which an upload knows its own object again.
pub(crate) const MARK: &str = "strongroom-upload";

#[cfg(test)]
mod tests {
    use strongroom_backend_support::Secret;

    use super::*;
    use crate::config::SseKey;

    #[test]
    fn the_headers_of_sse_c_are_whole() {
        let key = SseKey::from_base64(&Secret::new(BASE64.encode([b'a'; 32]))).unwrap();
        let headers = CustomerKey::of(&Encryption::Customer(key));
        assert_eq!(headers.algorithm.as_deref(), Some("AES256"));
        let md5 = BASE64.decode(headers.md5.unwrap()).unwrap();
        assert_eq!(hex::encode(md5), "5eca9bd3eb07c006cd43ae48dfde7fd3");
        assert!(CustomerKey::of(&Encryption::BucketDefault).key.is_none());
    }
}
