//! Object Lock: makes the protection of an object last longer, never shorter.
//!
//! What new objects are locked with stands in the request that makes them.

use aws_sdk_s3::{
    primitives::DateTime,
    types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode},
};
use strongroom_core::target::{ObjectKey, Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{
    client::send,
    config::LockMode,
    error::Failure,
    flow::Progress,
    request::{Bucket, addressed},
};

/// Protects `key` until `until_ms` at least.
///
/// What is set is read first: not every store refuses to shorten a retention. The object's head
/// tells it, because not every store has a request for that alone.
pub(crate) async fn retain(bucket: &Bucket, key: &ObjectKey, until_ms: i64) -> TargetResult<()> {
    let Some(mode) = bucket.lock_mode(key) else {
        let what = "object-lock is not set in the URL";
        return Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Retain, what)
            .hint("add object-lock=governance|compliance and retention-days=N"));
    };
    let failed = |failure: Failure| failure.into_error(Operation::Retain);
    let request = addressed!(bucket, bucket.names.full(key), bucket.client.head_object());
    let set = send(&Progress::default(), request.send()).await.map_err(failed)?;
    // In whole seconds, which is what some stores keep, and never earlier than asked.
    let until = DateTime::from_secs(until_ms.div_euclid(1000) + i64::from(until_ms % 1000 != 0));
    if set.object_lock_retain_until_date().is_some_and(|set| *set >= until) {
        return Ok(());
    }
    let is_compliance = set.object_lock_mode() == Some(&ObjectLockMode::Compliance);
    let mode = match mode {
        LockMode::Governance if !is_compliance => ObjectLockRetentionMode::Governance,
        LockMode::Governance | LockMode::Compliance => ObjectLockRetentionMode::Compliance,
    };
    let retention = ObjectLockRetention::builder().mode(mode).retain_until_date(until).build();
    let request = bucket
        .client
        .put_object_retention()
        .bucket(bucket.name())
        .key(bucket.names.full(key))
        .retention(retention)
        .set_request_payer(bucket.payer());
    send(&Progress::default(), request.send()).await.map(drop).map_err(failed)
}
