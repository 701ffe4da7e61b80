//! Deletes: one object, or up to a thousand in a request.
//!
//! On a bucket with versions a delete hides an object and removes nothing.

use aws_sdk_s3::types::{Delete, Error as Refusal, ObjectIdentifier};
use futures::{StreamExt, stream};
use strongroom_core::target::{ObjectKey, Operation, TargetError, TargetResult};

use crate::{
    client::send,
    error::{Answer, Failure},
    flow::Progress,
    request::Bucket,
};

/// How many keys one request takes.
pub(crate) const BATCH_MAX: usize = 1000;

/// Single deletes at once, where the storage takes no batch.
const SINGLES_AT_ONCE: usize = 16;

/// Removes one object; a missing one is success.
pub(crate) async fn delete(bucket: &Bucket, key: &ObjectKey) -> TargetResult<()> {
    let request = bucket
        .client
        .delete_object()
        .bucket(bucket.name())
        .key(bucket.names.full(key))
        .set_request_payer(bucket.payer());
    match send(&Progress::default(), request.send()).await {
        Err(failure) if is_missing(failure.code()) => Ok(()),
        Err(failure) => Err(failure.into_error(Operation::Delete).on(key)),
        Ok(_) => Ok(()),
    }
}

/// Removes many objects; goes on after a failure and gives the first one.
pub(crate) async fn delete_batch(bucket: &Bucket, keys: &[ObjectKey]) -> TargetResult<()> {
    let mut outcome = Ok(());
    for keys in keys.chunks(BATCH_MAX) {
        outcome = outcome.and(delete_chunk(bucket, keys).await);
    }
    outcome
}

async fn delete_chunk(bucket: &Bucket, keys: &[ObjectKey]) -> TargetResult<()> {
    let failed = |failure: Failure| {
        failure.into_error(Operation::Delete).at(format!("{} objects", keys.len()))
    };
    let named = keys.iter().map(|key| ObjectIdentifier::builder().key(bucket.names.full(key)));
    let named: Result<Vec<_>, _> = named.map(|name| name.build()).collect();
    let delete =
        named.and_then(|named| Delete::builder().set_objects(Some(named)).quiet(true).build());
    let delete = delete.map_err(|error| failed(Failure::Request(error.to_string())))?;
    let request = bucket
        .client
        .delete_objects()
        .bucket(bucket.name())
        .delete(delete)
        .set_request_payer(bucket.payer());
    match send(&Progress::default(), request.send()).await {
        Ok(done) => first_refusal(bucket, done.errors()),
        Err(failure) if is_batch_unknown(&failure) => delete_singly(bucket, keys).await,
        Err(failure) => Err(failed(failure)),
    }
}

fn first_refusal(bucket: &Bucket, refusals: &[Refusal]) -> TargetResult<()> {
    let is_real = |refusal: &&Refusal| !is_missing(refusal.code().unwrap_or_default());
    match refusals.iter().find(is_real) {
        None => Ok(()),
        Some(refusal) => Err(refused(bucket, refusal)),
    }
}

fn refused(bucket: &Bucket, refusal: &Refusal) -> TargetError {
    let failure = Failure::Answer(Answer {
        status: 200,
        code: refusal.code().map(str::to_owned),
        message: refusal.message().map(|text| text.chars().take(200).collect()),
        ..Answer::default()
    });
    let name = refusal.key().unwrap_or_default();
    let error = failure.into_error(Operation::Delete);
    match bucket.names.key(name) {
        Some(key) => error.on(&key),
        None => error.at(name),
    }
}

fn is_missing(code: &str) -> bool {
    matches!(code, "NoSuchKey" | "NoSuchVersion")
}

/// Stores without batches, and old ones that want an MD5, which the SDK no longer sends.
fn is_batch_unknown(failure: &Failure) -> bool {
    matches!(failure.status(), 405 | 501)
        || matches!(
            failure.code(),
            "NotImplemented" | "MethodNotAllowed" | "MissingContentMD5" | "InvalidDigest"
        )
}

async fn delete_singly(bucket: &Bucket, keys: &[ObjectKey]) -> TargetResult<()> {
    let deletes: Vec<_> = keys.iter().map(|key| delete(bucket, key)).collect();
    stream::iter(deletes)
        .buffer_unordered(SINGLES_AT_ONCE)
        .fold(Ok(()), |first, result| async move { first.and(result) })
        .await
}
