//! Sealed files: a single object that a password opens, wherever it is copied to.
//!
//! A key slot with one random master key of its own, then an encrypted stream under that key.
//! The object's name is bound into the stream, so a renamed or swapped object is refused.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use zeroize::Zeroizing;

use super::{Cause, EncryptedTarget, PlainStream};
use crate::{
    crypto::{KdfCost, KeyRing, MasterKey},
    error::{Error, Result},
    format::slot::{self, SlotSecret},
    id::RepositoryId,
    runtime::{Randomness, random},
    target::{
        BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode,
        SharedTarget, TargetResult,
    },
};

/// Length of a key slot that holds one master key.
const SLOT_BYTES: usize = 152;

/// Stores everything that `plain` yields as a sealed file, whole or not at all, in constant
/// memory; returns the length of the content.
///
/// # Errors
/// Those of [`EncryptedTarget::put_stream`]; `Invalid` for costs out of bounds.
pub async fn put_sealed_file<S, E>(
    target: SharedTarget,
    key: &ObjectKey,
    password: &Zeroizing<Vec<u8>>,
    kdf: &KdfCost,
    randomness: Arc<dyn Randomness>,
    plain: S,
    mode: PutMode,
) -> Result<u64>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Cause> + 'static,
{
    kdf.check()?;
    let id = RepositoryId(random(&*randomness));
    let masters = vec![(0, MasterKey::generate(&*randomness))];
    let secret = SlotSecret::Password(password);
    let slot = slot::seal(id, &secret, kdf, &masters, &*randomness)?;
    if slot.len() != SLOT_BYTES {
        return Err(Error::internal("a key slot of one key has another length"));
    }
    let keys = KeyRing::new(id, masters)?;
    let behind = Behind { inner: target, slot: slot.into() };
    EncryptedTarget::new(behind, keys)
        .with_randomness(randomness)
        .put_stream(key, plain, mode)
        .await
}

/// The content of a sealed file. The stream ends without an error only if the object is whole.
///
/// # Errors
/// `WrongKey`; `Damaged`, here or as the last item of the stream, if the object is not a sealed
/// file, or not what was stored under this key; else what the target says.
pub async fn get_sealed_file(
    target: SharedTarget,
    key: &ObjectKey,
    password: &Zeroizing<Vec<u8>>,
) -> Result<PlainStream> {
    let range = ByteRange::From { offset: 0, length: SLOT_BYTES as u64 };
    let slot = target.get(key, range).await?;
    if slot.len() < SLOT_BYTES {
        return Err(Error::damaged(key, "is too short for a sealed file"));
    }
    let info = slot::inspect(&slot).map_err(|error| error.on(key))?;
    let secret = SlotSecret::Password(password);
    let masters = slot::open(info.repository, &secret, &slot).map_err(|error| error.on(key))?;
    let keys = KeyRing::new(info.repository, masters)?;
    EncryptedTarget::new(Behind { inner: target, slot }, keys).get_stream(key).await
}

/// The part of each object that lies behind a key slot.
#[derive(Debug)]
struct Behind {
    inner: SharedTarget,
    slot: Bytes,
}

impl Behind {
    fn without_slot(object: ObjectMeta) -> ObjectMeta {
        let size_bytes = object.size_bytes.saturating_sub(SLOT_BYTES as u64);
        ObjectMeta { size_bytes, ..object }
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl BackupTarget for Behind {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let slot = self.slot.clone();
        let payload = match payload {
            Payload::Buffered(parts) => {
                Payload::Buffered(std::iter::once(slot).chain(parts).collect())
            }
            Payload::Streamed(rest) => {
                Payload::Streamed(stream::iter([Ok(slot)]).chain(rest).boxed())
            }
        };
        self.inner.put(key, payload, mode).await
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let (offset, length) = match range {
            ByteRange::Full => (0, u64::MAX),
            ByteRange::From { offset, length } => (offset, length),
        };
        let offset = offset.saturating_add(SLOT_BYTES as u64);
        self.inner.get(key, ByteRange::From { offset, length }).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.inner.head(key).await.map(Self::without_slot)
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        self.inner.list(prefix).map_ok(Self::without_slot).boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.inner.delete(key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.inner.capabilities().await
    }

    async fn delete_batch(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        self.inner.delete_batch(keys).await
    }

    async fn retain(&self, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
        self.inner.retain(key, until_ms).await
    }

    fn requests_sent(&self) -> Option<u64> {
        self.inner.requests_sent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        runtime::SystemRandomness,
        target::{MemoryTarget, TargetExt},
    };

    const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };

    fn password(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    async fn store(target: &SharedTarget, name: &str, content: &[u8]) -> Result<u64> {
        let pieces: Vec<std::io::Result<Bytes>> =
            content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let (random, plain) = (Arc::new(SystemRandomness), stream::iter(pieces));
        let (target, secret) = (target.clone(), password("right"));
        put_sealed_file(target, &key(name), &secret, &CHEAP, random, plain, PutMode::Create).await
    }

    async fn read(target: &SharedTarget, name: &str, secret: &str) -> Result<Vec<u8>> {
        let stream = get_sealed_file(target.clone(), &key(name), &password(secret)).await?;
        stream
            .try_fold(Vec::new(), |mut all, part| async move {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await
    }

    #[tokio::test]
    async fn content_of_any_length_comes_back() {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        for length in [0, 1, 65_535, 65_536, 65_537, 9_000_000] {
            let (name, content) = (format!("f{length}"), vec![7; length]);
            assert_eq!(store(&target, &name, &content).await.unwrap(), length as u64);
            assert_eq!(read(&target, &name, "right").await.unwrap(), content);
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_apart() {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        store(&target, "a", &[1; 100_000]).await.unwrap();
        let kind = async |name: &str, secret: &str| {
            read(&target, name, secret).await.map(|_| ()).unwrap_err().kind()
        };
        assert_eq!(kind("a", "wrong").await, ErrorKind::WrongKey);
        assert_eq!(kind("missing", "right").await, ErrorKind::NotFound);
        let again = store(&target, "a", b"other").await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let sealed = target.get_full(&key("a")).await.unwrap();
        target.create(&key("renamed"), sealed.clone()).await.unwrap();
        assert_eq!(kind("renamed", "right").await, ErrorKind::Damaged);
        for length in [0, 10, SLOT_BYTES, SLOT_BYTES + 50, sealed.len() - 1] {
            target.replace(&key("cut"), sealed.slice(..length)).await.unwrap();
            assert_eq!(kind("cut", "right").await, ErrorKind::Damaged, "{length}");
        }
        for at in [0, 50, SLOT_BYTES + 5, sealed.len() - 1] {
            let mut flipped = sealed.to_vec();
            flipped[at] ^= 1;
            target.replace(&key("a"), flipped).await.unwrap();
            assert_eq!(kind("a", "right").await, ErrorKind::Damaged, "{at}");
        }
    }
}
