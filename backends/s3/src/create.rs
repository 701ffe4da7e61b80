//! Finding the bucket, or making it.
//!
//! The bucket is looked for by listing one key below the path: unlike a question about the bucket
//! itself, its refusal has a body that says why, and needs no right that backups do not need.

use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{
    client::send,
    error::Failure,
    flow::{Progress, Tries},
    list,
    request::Bucket,
};

/// The one region that S3 does not want to be told.
const REGION_WITHOUT_NAME: &str = "us-east-1";

/// Fails unless the bucket is there and may be read.
pub(crate) async fn find(bucket: &Bucket) -> TargetResult<()> {
    let found = list::page(bucket, bucket.names.base(), None, Some(1)).await;
    found.map(drop).map_err(|failure| failed(bucket, failure))
}

/// Makes the bucket unless it is there.
pub(crate) async fn create(bucket: &Bucket) -> TargetResult<()> {
    match find(bucket).await {
        Err(error) if error.kind() == TargetErrorKind::NotFound => {}
        found => return found,
    }
    let region = bucket.client.config().region().map(|region| region.as_ref().to_owned());
    let place = region.filter(|region| region != REGION_WITHOUT_NAME).map(|region| {
        let constraint = BucketLocationConstraint::from(region.as_str());
        CreateBucketConfiguration::builder().location_constraint(constraint).build()
    });
    let is_locking = bucket.config.object_lock.values().any(Option::is_some);
    let request = bucket
        .client
        .create_bucket()
        .bucket(bucket.name())
        .set_create_bucket_configuration(place)
        .set_object_lock_enabled_for_bucket(is_locking.then_some(true));
    match send(&Progress::default(), request.send()).await {
        Ok(_) => {}
        // Somebody was faster; whether it is of use to us shows below.
        Err(failure) if failure.status() == 409 => {
            return find(bucket).await.map_err(|_| failed(bucket, failure));
        }
        Err(failure) => return Err(failed(bucket, failure)),
    }
    // A new bucket is not known everywhere at once.
    let mut tries = Tries::default();
    loop {
        match find(bucket).await {
            Err(error) if error.kind() == TargetErrorKind::NotFound => {
                if !tries.wait(None).await {
                    return Err(error);
                }
            }
            found => return found,
        }
    }
}

fn failed(bucket: &Bucket, failure: Failure) -> TargetError {
    failure.into_error(Operation::Open).at(&bucket.config)
}
