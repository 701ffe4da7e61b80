//! `get` and `head`: whole objects and parts of them, their lengths and sums verified.

use std::num::NonZero;

use azure_core::{
    Error,
    http::{
        StatusCode,
        headers::{HeaderName, Headers},
    },
    time::OffsetDateTime,
};
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobClientDownloadResult, BlobClientGetPropertiesResultHeaders,
};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use strongroom_core::target::{
    ByteRange, ObjectKey, ObjectMeta, Operation, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    body::md5_of,
    client::Client,
    error::{is_missing, status},
};

/// Large enough that the SDK never cuts a read into several, and a number the service takes.
const PARTITION_BYTES: usize = i64::MAX as usize;

/// What is set aside for an object before its first byte has come, however long it claims to be.
const RESERVED_BYTES_MAX: u64 = 64 << 20;

/// Reads what `range` names.
pub(crate) async fn get(client: &Client, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
    let wanted = match range {
        ByteRange::Full => None,
        ByteRange::From { length: 0, .. } => return nothing(client, key).await,
        ByteRange::From { offset, length } => {
            let end = offset.saturating_add(length).min(PARTITION_BYTES as u64);
            if offset >= end {
                return nothing(client, key).await;
            }
            Some((offset..end).into())
        }
    };
    let options = BlobClientDownloadOptions {
        parallel: NonZero::new(1),
        partition_size: NonZero::new(PARTITION_BYTES),
        range: wanted,
        ..Default::default()
    };
    let result = match client.blob(key)?.download(Some(options)).await {
        Ok(result) => result,
        // Only an object that is there has an end.
        Err(error) if status(&error) == 416 => return Ok(Bytes::new()),
        Err(error) => return Err(missing_or(client, Operation::Get, error)),
    };
    let size = size_of(&result.headers)?;
    let expected = range.within(size);
    let sum = result.properties.blob_content_md5.clone().or(result.properties.content_md5.clone());
    let bytes = collect(client, result, expected.end - expected.start).await?;
    if client.config().checksums && expected == (0..size) {
        verify(&bytes, sum).await?;
    }
    Ok(bytes)
}

/// No byte is wanted, but a missing object must be noticed.
async fn nothing(client: &Client, key: &ObjectKey) -> TargetResult<Bytes> {
    match client.blob(key)?.get_properties(None).await {
        Ok(_) => Ok(Bytes::new()),
        Err(error) => Err(missing_or(client, Operation::Get, error)),
    }
}

async fn collect(
    client: &Client,
    result: BlobClientDownloadResult,
    expected: u64,
) -> TargetResult<Bytes> {
    let mut body = result.body;
    let reserved = usize::try_from(expected.min(RESERVED_BYTES_MAX)).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(reserved);
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| client.failed(Operation::Get, error))?);
        if bytes.len() as u64 > expected {
            break;
        }
    }
    if bytes.len() as u64 == expected {
        return Ok(bytes.freeze());
    }
    let why = format!("{} bytes came instead of {expected}", bytes.len());
    Err(TargetError::new(TargetErrorKind::Unavailable, Operation::Get, why))
}

/// The size of the whole object, from the headers of any read.
fn size_of(headers: &Headers) -> TargetResult<u64> {
    let header = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
    let range = header("content-range").and_then(|range| range.rsplit_once('/'));
    let size = range.map(|(_, size)| size).or_else(|| header("content-length"));
    size.and_then(|size| size.trim().parse().ok()).ok_or_else(|| {
        let why = "the answer does not say how long the object is";
        TargetError::new(TargetErrorKind::Unavailable, Operation::Get, why)
    })
}

async fn verify(bytes: &Bytes, sum: Option<Vec<u8>>) -> TargetResult<()> {
    let Some(sum) = sum else { return Ok(()) };
    if md5_of(std::slice::from_ref(bytes)).await? == sum {
        return Ok(());
    }
    let why = "the MD5 sum of what came differs from the one that the service has";
    Err(TargetError::new(TargetErrorKind::Corrupt, Operation::Get, why).retryable(true))
}

/// Size and time of the object.
pub(crate) async fn head(client: &Client, key: &ObjectKey) -> TargetResult<ObjectMeta> {
    let response = client.blob(key)?.get_properties(None).await;
    let response = response.map_err(|error| missing_or(client, Operation::Head, error))?;
    let failed = |error| client.failed(Operation::Head, error);
    let size_bytes = response.content_length().map_err(failed)?.ok_or_else(|| {
        let why = "the answer does not say how long the object is";
        TargetError::new(TargetErrorKind::Unavailable, Operation::Head, why)
    })?;
    let modified = response.last_modified().map_err(failed)?;
    Ok(ObjectMeta { key: key.clone(), size_bytes, modified_ms: modified.map(millis) })
}

/// The answer to HEAD has no body and sometimes no code: a bare 404 is the object's.
pub(crate) fn missing_or(client: &Client, operation: Operation, error: Error) -> TargetError {
    if is_missing(&error) && error.http_status() == Some(StatusCode::NotFound) {
        return TargetError::new(TargetErrorKind::NotFound, operation, "there is no such object");
    }
    client.failed(operation, error)
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
