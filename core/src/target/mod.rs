//! The door to storage: what a place for bytes must be able to do.
//!
//! Backends import only this module. It knows nothing of snapshots, packs, keys or retry policy;
//! retry, limits, metrics and the like are [`layers`] around any target.

mod error;
mod ext;
mod key;
mod memory;
mod payload;

pub mod conformance;
pub mod layers;
pub mod probe;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::{
    error::{Operation, TargetError, TargetErrorKind, TargetResult, is_for_lack_of_room},
    ext::TargetExt,
    key::{InvalidKey, KeyPrefix, ObjectKey},
    memory::MemoryTarget,
    payload::{Payload, PayloadStream},
};

/// A place that keeps named, immutable-once-written objects.
///
/// Implement these six calls and run [`conformance::run`] to become a backend. Every call is
/// safe to run many times at once. Conveniences for callers live in [`TargetExt`].
///
/// A key is never also a folder of other keys (`a` beside `a/b`): storages differ there, so
/// callers do not do it, and a target may refuse it as [`TargetErrorKind::Invalid`].
///
/// `Display` names the place for people (a URL without secrets).
#[async_trait]
pub trait BackupTarget: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Stores `payload` under `key`, whole or not at all, and durable when the call returns.
    ///
    /// With [`PutMode::Create`] the storage itself decides, atomically, that exactly one of many
    /// creators wins; the others get [`TargetErrorKind::AlreadyExists`] and the object stays as
    /// the winner wrote it. A lost answer is resolved by reading the object back: our own
    /// success is never reported as `AlreadyExists`. [`PutMode::Replace`] overwrites: readers see
    /// the old object or the new one, never a mixture.
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()>;

    /// Reads the object, or the part of it that `range` names.
    ///
    /// A range that reaches past the end is cut there; one that starts at or past the end gives
    /// no bytes. A missing object is [`TargetErrorKind::NotFound`] for every range. Fewer bytes
    /// than that are an error of the backend, never returned.
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes>;

    /// Size and time of one object.
    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta>;

    /// All objects under `prefix` in no promised order, each once.
    ///
    /// Objects that exist for the whole listing are listed; an object whose `put` has returned
    /// before the listing starts is listed. Names that are not valid keys (temporary files,
    /// objects of other programs) are left out.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>>;

    /// Removes the object; a missing object is success.
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()>;

    /// What this target can do, and how much room it has left.
    async fn capabilities(&self) -> TargetResult<Capabilities>;

    /// Removes many objects; missing ones are success. Goes on after a failure and gives the
    /// first one at the end. For storages that take many keys in one request.
    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let mut outcome = Ok(());
        for key in keys {
            outcome = outcome.and(self.delete(key).await);
        }
        outcome
    }

    /// Makes the storage refuse to everybody to change or remove the object before `until_ms`
    /// (milliseconds since 1970, by the storage's clock). A later end that is set already stays.
    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        let _ = until_ms;
        let why = "this target cannot protect objects against changes";
        Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Retain, why).on(key))
    }

    /// Brings the object back to what was written, out of what this target keeps beside it, and
    /// stores it anew. For a reader that found damage; reads the object whole.
    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        let _ = key;
        Ok(Healed::Impossible)
    }

    /// How many requests went over the wire so far, parts and pages and the backend's own
    /// repetitions included; `None` where the backend does not count.
    fn requests_sent(&self) -> Option<u64> {
        None
    }
}

/// A shared target of any kind.
pub type SharedTarget = Arc<dyn BackupTarget>;

#[async_trait]
impl<T: BackupTarget + ?Sized> BackupTarget for Arc<T> {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        (**self).put(key, payload, mode).await
    }
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        (**self).get(key, range).await
    }
    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        (**self).head(key).await
    }
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        (**self).list(prefix)
    }
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        (**self).delete(key).await
    }
    async fn capabilities(&self) -> TargetResult<Capabilities> {
        (**self).capabilities().await
    }
    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        (**self).delete_batch(keys).await
    }
    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        (**self).retain(key, until_ms).await
    }
    async fn heal_object(&self, key: &ObjectKey) -> TargetResult<Healed> {
        (**self).heal_object(key).await
    }
    fn requests_sent(&self) -> Option<u64> {
        (**self).requests_sent()
    }
}

/// What `put` does when the key exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PutMode {
    /// Fail with [`TargetErrorKind::AlreadyExists`].
    Create,
    /// Overwrite atomically.
    Replace,
}

/// What came of [`BackupTarget::heal_object`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Healed {
    /// The target keeps nothing to heal the object from, or not enough; nothing was written.
    Impossible,
    /// The object is as it was written: what was read before was damaged on its way.
    Intact,
    /// The object was damaged or missing, and is stored anew as it was written.
    Rebuilt,
}

/// The part of an object to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteRange {
    /// All of it.
    Full,
    /// `length` bytes from `offset` on, cut at the end of the object.
    From {
        /// First byte.
        offset: u64,
        /// How many bytes at most.
        length: u64,
    },
}

impl ByteRange {
    /// The bytes that this range names in an object of `size_bytes`: cut at the end, empty where
    /// it starts at or past the end. What every backend's `get` does.
    pub fn within(self, size_bytes: u64) -> std::ops::Range<u64> {
        match self {
            Self::Full => 0..size_bytes,
            Self::From { offset, length } => {
                let start = offset.min(size_bytes);
                start..start.saturating_add(length).min(size_bytes)
            }
        }
    }
}

/// One object, as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: ObjectKey,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When the storage says that it was last written: milliseconds since 1970, by the
    /// storage's clock. For display and for fencing only.
    pub modified_ms: Option<i64>,
}

/// What a target can do, with limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// True if [`PutMode::Create`] is decided atomically by the storage.
    pub atomic_create: bool,
    /// How many transfers at once are worth while.
    pub concurrency: usize,
    /// How many keys [`BackupTarget::delete_batch`] is worth while with; 1 where it is no
    /// better than single deletes.
    pub delete_batch_max: usize,
    /// True if [`BackupTarget::retain`] works here.
    pub retention: bool,
    /// True if the storage itself keeps what it takes more than once, or codes it, so that a
    /// damaged disk damages no object. New repositories elsewhere get parity of their own.
    pub codes_data: bool,
    /// The largest object that `put` takes, if there is a limit.
    pub object_bytes_max: Option<u64>,
    /// Room left, where the storage tells.
    pub space: Option<Space>,
}

/// Room on a storage, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the storage.
    pub total_bytes: u64,
    /// What we may still write.
    pub available_bytes: u64,
}
