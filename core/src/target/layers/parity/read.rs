//! Reading and listing where the primary is gone: copies stand in for it.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt, future,
    stream::{self, BoxStream},
};

use super::{Beside, ParityLayer, found, scheme, scheme::ParityScheme};
use crate::{
    format::copy,
    target::{
        BackupTarget, ByteRange, KeyPrefix, ObjectKey, ObjectMeta, TargetError, TargetErrorKind,
        TargetExt, TargetResult,
    },
};

/// Errors that one object may have while its copies can be read.
fn is_of_one_object(error: &TargetError) -> bool {
    use TargetErrorKind::{Corrupt, NotFound, Unavailable, Unexpected};
    matches!(error.kind(), NotFound | Corrupt | Unavailable | Unexpected)
}

impl ParityLayer {
    /// What a copy of `key` says, after reading the object itself gave `error`. The object is
    /// healed, if the storage can be written to.
    pub(super) async fn get_copy(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        error: TargetError,
    ) -> TargetResult<Bytes> {
        let Beside::Copies(copies) = self.scheme.beside(key) else { return Err(error) };
        if !is_of_one_object(&error) {
            return Err(error);
        }
        let Ok(Some(content)) = self.good_copy(key, &copies).await else { return Err(error) };
        if let Err(error) = self.heal_read(key).await {
            tracing::warn!(object = %key, %error, "read from a copy, but not healed");
        }
        let range = range.within(content.len() as u64);
        Ok(content.slice(range.start as usize..range.end as usize))
    }

    /// Size and time of the object by those of a copy.
    pub(super) async fn head_copy(
        &self,
        key: &ObjectKey,
        error: TargetError,
    ) -> TargetResult<ObjectMeta> {
        let Beside::Copies(copies) = self.scheme.beside(key) else { return Err(error) };
        if !is_of_one_object(&error) {
            return Err(error);
        }
        for copy in &copies {
            if let Ok(object) = self.inner.head(copy).await {
                return Ok(primary(key.clone(), &object));
            }
        }
        Err(error)
    }

    /// The content of the first copy that is undamaged.
    ///
    /// # Errors
    /// What a copy that is there cannot be read for, if no other is good.
    pub(super) async fn good_copy(
        &self,
        key: &ObjectKey,
        copies: &[ObjectKey; 2],
    ) -> TargetResult<Option<Bytes>> {
        let [first, second] = copies;
        let both = future::join(self.inner.get_full(first), self.inner.get_full(second)).await;
        let content = |bytes: &Option<Bytes>| copy::content(key.as_str(), bytes.as_ref()?);
        match (found(both.0), found(both.1)) {
            (Ok(first), Ok(second)) => Ok(content(&first).or_else(|| content(&second))),
            (Ok(one), Err(error)) | (Err(error), Ok(one)) => content(&one).map(Some).ok_or(error),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// The primaries, then the objects of which only copies are left.
    pub(super) fn list_with_copies(
        &self,
        prefix: &KeyPrefix,
    ) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let hides_own = prefix.as_str().is_empty();
        let copies = scheme::COPIES.iter().filter_map(move |at| below(at, prefix));
        let mut listings = vec![self.inner.list(prefix)];
        listings.extend(copies.map(|prefix| self.inner.list(&prefix)));
        let mut given = HashSet::new();
        stream::iter(listings.into_iter().enumerate())
            .flat_map(|(number, listing)| listing.map_ok(move |object| (number, object)))
            .try_filter_map(move |(number, object)| {
                let shown = match number {
                    0 if hides_own && ParityScheme::is_own(&object.key) => None,
                    0 => Some(object),
                    _ => self.scheme.of_copy(&object.key).map(|key| primary(key, &object)),
                };
                let shown = shown.filter(|object| {
                    number == 0 && !self.scheme.is_copied(&object.key)
                        || given.insert(object.key.clone())
                });
                future::ready(Ok(shown))
            })
            .boxed()
    }
}

/// The object `key`, as its copy is listed.
fn primary(key: ObjectKey, copy: &ObjectMeta) -> ObjectMeta {
    let size_bytes = copy.size_bytes.saturating_sub(copy::COPY_HEADER_BYTES as u64);
    ObjectMeta { key, size_bytes, modified_ms: copy.modified_ms }
}

/// The folder in which the copies of what lies below `prefix` lie.
fn below(copies: &str, prefix: &KeyPrefix) -> Option<KeyPrefix> {
    match prefix.as_str() {
        "" => KeyPrefix::parse(copies).ok(),
        prefix => KeyPrefix::parse(&format!("{copies}/{prefix}")).ok(),
    }
}
