//! Copies of immutable objects near at hand, so that what was read or written once is not
//! fetched again.
//!
//! A cache is any target, usually a folder of this machine. It holds objects as they are stored
//! (sealed) under the same keys; segments of tables as `packs/<pack>/<segment>`. Names are never
//! reused, so a copy never goes stale; what is in it is checked like anything else that is read.
//! Nothing depends on it: whatever fails here is logged, and done without.

use bytes::Bytes;

use super::{layout, protection::read_healing};
use crate::{
    error::Result,
    id::PackId,
    target::{ByteRange, KeyPrefix, ObjectKey, SharedTarget, TargetErrorKind, TargetExt},
};

/// Deletes at once.
const DELETES_AT_ONCE: usize = 8;

/// The copies of one repository; does nothing where there is no place for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    store: Option<SharedTarget>,
}

impl Cache {
    pub(crate) fn new(store: Option<SharedTarget>) -> Self {
        Self { store }
    }

    /// The copy of `name`, if there is one.
    pub(crate) async fn get(&self, name: &str) -> Option<Bytes> {
        let store = self.store.as_ref()?;
        match store.get(&key(name)?, ByteRange::Full).await {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                if error.kind() != TargetErrorKind::NotFound {
                    tracing::debug!(%error, "not read from the cache");
                }
                None
            }
        }
    }

    /// Keeps a copy.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) {
        let (Some(store), Some(key)) = (&self.store, key(name)) else { return };
        if let Err(error) = store.replace(&key, bytes).await {
            tracing::debug!(%error, "not kept in the cache");
        }
    }

    /// Forgets a copy.
    pub(crate) async fn remove(&self, name: &str) {
        let (Some(store), Some(key)) = (&self.store, key(name)) else { return };
        if let Err(error) = store.delete(&key).await {
            tracing::debug!(%error, "not removed from the cache");
        }
    }

    /// Forgets all copies that are not `wanted`.
    pub(crate) async fn keep(&self, wanted: impl Fn(&ObjectKey) -> bool) {
        let Some(store) = &self.store else { return };
        let tidy = async {
            let all = store.list_all(&KeyPrefix::all()).await?;
            let keys = all.into_iter().map(|object| object.key);
            store.delete_many(keys.filter(|key| !wanted(key)).collect(), DELETES_AT_ONCE).await
        };
        if let Err(error) = tidy.await {
            tracing::debug!(%error, "the cache was not tidied");
        }
    }

    /// The names of all copies below `prefix`.
    pub(crate) async fn names(&self, prefix: &KeyPrefix) -> Vec<ObjectKey> {
        let Some(store) = &self.store else { return Vec::new() };
        match store.list_all(prefix).await {
            Ok(objects) => objects.into_iter().map(|object| object.key).collect(),
            Err(error) => {
                tracing::debug!(%error, "the cache was not listed");
                Vec::new()
            }
        }
    }

    /// What `open` makes of the object `name`: of the copy, if it is sound, else of the object
    /// itself, healed if need be, which is then kept.
    ///
    /// # Errors
    /// Those of the target and of `open`; never one of the cache.
    pub(crate) async fn read<T>(
        &self,
        target: &SharedTarget,
        name: &str,
        open: impl Fn(&Bytes) -> Result<T>,
    ) -> Result<T> {
        if let Some(copy) = self.get(name).await {
            match open(&copy) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    tracing::warn!(%error, object = name, "the cached copy is damaged");
                    self.remove(name).await;
                }
            }
        }
        let (value, bytes) = read_healing(&**target, &layout::key(name)?, open).await?;
        self.put(name, bytes).await;
        Ok(value)
    }
}

/// Where the copy of a pack's directory lies.
pub(crate) fn directory_name(pack: PackId) -> String {
    format!("{}/{pack}/directory", layout::PACKS)
}

/// Where the copy of a pack's segment lies.
pub(crate) fn segment_name(pack: PackId, segment: u32) -> String {
    format!("{}/{pack}/{segment}", layout::PACKS)
}

/// The pack that a copy belongs to.
pub(crate) fn pack_of_copy(key: &ObjectKey) -> Option<PackId> {
    let (pack, _) = key.as_str().rsplit_once('/')?;
    layout::pack_of(&ObjectKey::parse(pack).ok()?)
}

fn key(name: &str) -> Option<ObjectKey> {
    ObjectKey::parse(name).ok()
}
