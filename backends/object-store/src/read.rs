//! `get` and `head`, with the lengths verified.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, path::Path};
use strongroom_core::target::{
    ByteRange, ObjectKey, ObjectMeta, Operation, TargetError, TargetErrorKind, TargetResult,
};
use tokio::time::timeout;

use crate::error::failed;

/// The longest silence of a store before it counts as gone. Stores have limits of their own, but
/// nobody can know which.
const SILENCE_MAX: Duration = Duration::from_secs(50);

/// Within [`SILENCE_MAX`] so many bytes come at least: a byte a second is no progress.
const PROGRESS_BYTES: usize = 4 << 10;

/// What is set aside for an object before its first byte has come.
const RESERVED_BYTES_MAX: u64 = 64 << 20;

/// Waits for `work` of the store, but not for ever.
pub(crate) async fn bounded<T>(
    operation: Operation,
    work: impl Future<Output = TargetResult<T>>,
) -> TargetResult<T> {
    match timeout(SILENCE_MAX, work).await {
        Ok(result) => result,
        Err(_) => {
            let why = format!("the store was silent for {} s", SILENCE_MAX.as_secs());
            Err(TargetError::new(TargetErrorKind::Unavailable, operation, why))
        }
    }
}

/// Reads what `range` names.
pub(crate) async fn get(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    range: ByteRange,
) -> TargetResult<Bytes> {
    let wanted = match range {
        ByteRange::Full => None,
        ByteRange::From { offset, length } => {
            let end = offset.saturating_add(length);
            if offset >= end {
                return size(store, path).await.map(|_| Bytes::new());
            }
            Some(GetRange::Bounded(offset..end))
        }
    };
    let options = GetOptions { range: wanted, ..Default::default() };
    let begin = async {
        store.get_opts(path, options).await.map_err(|error| failed(Operation::Get, error))
    };
    match bounded(Operation::Get, begin).await {
        Ok(result) => collect(result, range).await,
        Err(error) => past_the_end(store, path, range, error).await,
    }
}

/// Stores refuse a range past the end, each with another error: the size tells.
async fn past_the_end(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    range: ByteRange,
    error: TargetError,
) -> TargetResult<Bytes> {
    let ByteRange::From { offset, .. } = range else { return Err(error) };
    if !matches!(error.kind(), TargetErrorKind::Unexpected | TargetErrorKind::Invalid) {
        return Err(error);
    }
    if offset >= size(store, path).await? { Ok(Bytes::new()) } else { Err(error) }
}

async fn size(store: &Arc<dyn ObjectStore>, path: &Path) -> TargetResult<u64> {
    let head = async { store.head(path).await.map_err(|error| failed(Operation::Get, error)) };
    Ok(bounded(Operation::Get, head).await?.size)
}

async fn collect(result: GetResult, range: ByteRange) -> TargetResult<Bytes> {
    let expected = range.within(result.meta.size);
    let length = expected.end - expected.start;
    let reserved = usize::try_from(length.min(RESERVED_BYTES_MAX)).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(reserved);
    let mut stream = result.into_stream().map_err(|error| failed(Operation::Get, error));
    let mut is_end = false;
    while !is_end && bytes.len() as u64 <= length {
        let before = bytes.len();
        let some = async {
            while bytes.len() - before < PROGRESS_BYTES {
                match stream.next().await.transpose()? {
                    Some(chunk) => bytes.extend_from_slice(&chunk),
                    None => return Ok(true),
                }
            }
            Ok(false)
        };
        is_end = bounded(Operation::Get, some).await?;
    }
    if bytes.len() as u64 == length {
        return Ok(bytes.freeze());
    }
    let why = format!("{} bytes came instead of {length}", bytes.len());
    Err(TargetError::new(TargetErrorKind::Unavailable, Operation::Get, why))
}

/// Size and time of the object.
pub(crate) async fn head(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    key: &ObjectKey,
) -> TargetResult<ObjectMeta> {
    let head = async { store.head(path).await.map_err(|error| failed(Operation::Head, error)) };
    Ok(meta(key.clone(), &bounded(Operation::Head, head).await?))
}

pub(crate) fn meta(key: ObjectKey, found: &object_store::ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        key,
        size_bytes: found.size,
        modified_ms: Some(found.last_modified.timestamp_millis()),
    }
}
