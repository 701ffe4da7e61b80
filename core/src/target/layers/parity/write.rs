//! Storing and deleting: in which order an object and what stands beside it come and go.

use bytes::Bytes;
use futures::future::{join, try_join_all};

use super::{Beside, ParityLayer, failed, found};
use crate::{
    format::{copy, parity},
    target::{
        BackupTarget, ByteRange, ObjectKey, Operation, Payload, PutMode, TargetError,
        TargetErrorKind, TargetExt, TargetResult,
    },
    tasks,
};

impl ParityLayer {
    /// Parity is computed while the object is under way.
    pub(super) async fn put_with_parity(
        &self,
        key: &ObjectKey,
        beside: &ObjectKey,
        payload: Payload,
        mode: PutMode,
    ) -> TargetResult<()> {
        let Payload::Buffered(parts) = payload else {
            self.inner.put(key, payload, mode).await?;
            let Some(stored) = found(self.inner.get(key, ByteRange::Full).await)? else {
                return Ok(());
            };
            return self.add_parity(key, beside, vec![stored]).await;
        };
        let encoding = encode(key, parts.clone());
        let (stored, parity) =
            join(self.inner.put(key, Payload::Buffered(parts), mode), encoding).await;
        stored?;
        self.put_parity(key, beside, parity?).await
    }

    /// Makes and stores the parity of an object that is stored.
    pub(super) async fn add_parity(
        &self,
        key: &ObjectKey,
        beside: &ObjectKey,
        parts: Vec<Bytes>,
    ) -> TargetResult<()> {
        let parity = encode(key, parts).await?;
        self.put_parity(key, beside, parity).await
    }

    /// Nothing for an object that is too large for parity.
    async fn put_parity(
        &self,
        key: &ObjectKey,
        beside: &ObjectKey,
        parity: Option<Vec<u8>>,
    ) -> TargetResult<()> {
        let Some(parity) = parity else { return Ok(()) };
        self.inner.replace(beside, parity).await?;
        self.withdraw_if_gone(key, std::slice::from_ref(beside)).await
    }

    pub(super) async fn put_with_copies(
        &self,
        key: &ObjectKey,
        copies: &[ObjectKey; 2],
        payload: Payload,
        mode: PutMode,
    ) -> TargetResult<()> {
        let content = payload.into_bytes().await?;
        // an object whose primary was lost still exists, and must not be made a second time
        if mode == PutMode::Create && self.good_copy(key, copies).await?.is_some() {
            let message = "an object of this name exists";
            let kind = TargetErrorKind::AlreadyExists;
            return Err(TargetError::new(kind, Operation::Put, message).on(key));
        }
        self.inner.put(key, content.clone().into(), mode).await?;
        self.put_copies(key, copies.iter(), &content).await
    }

    /// Stores `copies` of an object that is stored.
    pub(super) async fn put_copies(
        &self,
        key: &ObjectKey,
        copies: impl Iterator<Item = &ObjectKey>,
        content: &Bytes,
    ) -> TargetResult<()> {
        let header = Bytes::copy_from_slice(&copy::header(key.as_str(), content));
        let parts = vec![header, content.clone()];
        let copies: Vec<ObjectKey> = copies.cloned().collect();
        try_join_all(copies.iter().map(|copy| self.inner.replace(copy, parts.clone()))).await?;
        self.withdraw_if_gone(key, &copies).await
    }

    /// Removes what was just stored `beside` an object that somebody deleted meanwhile.
    async fn withdraw_if_gone(&self, key: &ObjectKey, beside: &[ObjectKey]) -> TargetResult<()> {
        if found(self.inner.head(key).await)?.is_none() {
            try_join_all(beside.iter().map(|beside| self.inner.delete(beside))).await?;
        }
        Ok(())
    }

    /// What stands beside goes first and the objects last, so that an interrupted deletion
    /// leaves objects, and nothing else. Copies that a scrub made meanwhile go after that.
    pub(super) async fn delete_all(&self, keys: &[ObjectKey]) -> TargetResult<()> {
        let beside: Vec<Beside> = keys.iter().map(|key| self.scheme.beside(key)).collect();
        let all: Vec<ObjectKey> = beside.iter().flat_map(Beside::keys).cloned().collect();
        self.delete_plain(&all, keys.len()).await?;
        self.delete_plain(keys, keys.len()).await?;
        let copies = beside.iter().filter(|beside| matches!(beside, Beside::Copies(_)));
        let copies: Vec<ObjectKey> = copies.flat_map(Beside::keys).cloned().collect();
        self.delete_plain(&copies, keys.len()).await
    }

    /// In batches of the size that the caller chose.
    async fn delete_plain(&self, keys: &[ObjectKey], batch: usize) -> TargetResult<()> {
        for keys in keys.chunks(batch.max(1)) {
            match keys {
                [key] => self.inner.delete(key).await?,
                keys => self.inner.delete_batch(keys).await?,
            }
        }
        Ok(())
    }
}

/// The parity of an object in `parts`, computed off the async threads; `None` if it is too large.
async fn encode(key: &ObjectKey, parts: Vec<Bytes>) -> TargetResult<Option<Vec<u8>>> {
    let length = parts.iter().map(|part| part.len() as u64).sum();
    let Some(geometry) = parity::Geometry::of(length) else { return Ok(None) };
    let name = key.clone();
    let work = move || parity::encode(name.as_str(), geometry, &parts);
    let parity = tasks::spawn_blocking("parity", work).await;
    parity.map(Some).map_err(|error| failed(key, Operation::Put, error))
}
