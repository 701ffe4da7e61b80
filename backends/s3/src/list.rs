//! Listings, a page a request.
//!
//! Names that are not ours are left out here. A page that fails is asked for again, because a
//! listing begun anew would have to read all pages before it.

use aws_sdk_s3::{
    operation::list_objects_v2::ListObjectsV2Output,
    types::{EncodingType, Object},
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use strongroom_core::target::{KeyPrefix, ObjectMeta, Operation, TargetError, TargetResult};

use crate::{
    client::send,
    error::Failure,
    flow::{Progress, Tries},
    request::Bucket,
};

/// All objects below `prefix`.
pub(crate) fn list<'a>(
    bucket: &'a Bucket,
    prefix: &KeyPrefix,
) -> BoxStream<'a, TargetResult<ObjectMeta>> {
    let prefix = bucket.names.full_prefix(prefix);
    stream::try_unfold(Next::First, move |next| {
        let prefix = prefix.clone();
        async move {
            let token = match next {
                Next::First => None,
                Next::After(token) => Some(token),
                Next::End => return Ok(None),
            };
            let page = page_with_tries(bucket, &prefix, token.as_deref()).await?;
            let next = next_after(&page, token).map_err(|failure| failed(failure, &prefix))?;
            let is_encoded = page.encoding_type == Some(EncodingType::Url);
            let objects = page.contents.unwrap_or_default();
            let ours = objects.into_iter().filter_map(move |o| ours(bucket, o, is_encoded));
            let ours: Vec<_> = ours.map(Ok).collect();
            Ok(Some((stream::iter(ours), next)))
        }
    })
    .try_flatten()
    .boxed()
}

enum Next {
    First,
    After(String),
    End,
}

fn next_after(page: &ListObjectsV2Output, token: Option<String>) -> Result<Next, Failure> {
    if !page.is_truncated().unwrap_or(false) {
        return Ok(Next::End);
    }
    match page.next_continuation_token() {
        Some(next) if Some(next) != token.as_deref() => Ok(Next::After(next.to_owned())),
        Some(_) => Err(Failure::Nonsense("a listing that does not get on".to_owned())),
        None => Err(Failure::Nonsense("a listing that breaks off".to_owned())),
    }
}

async fn page_with_tries(
    bucket: &Bucket,
    prefix: &str,
    token: Option<&str>,
) -> TargetResult<ListObjectsV2Output> {
    let mut tries = Tries::default();
    loop {
        let failure = match page(bucket, prefix, token, None).await {
            Ok(page) => return Ok(page),
            Err(failure) => failure,
        };
        // The first page is the call itself: repeating it is the business of whoever calls.
        let is_repeatable = token.is_some() && failure.is_retryable();
        if !is_repeatable || !tries.wait(failure.wait_asked()).await {
            return Err(failed(failure, prefix));
        }
    }
}

/// One page of the listing below the full name `prefix`.
pub(crate) async fn page(
    bucket: &Bucket,
    prefix: &str,
    token: Option<&str>,
    keys_max: Option<i32>,
) -> Result<ListObjectsV2Output, Failure> {
    let request = bucket
        .client
        .list_objects_v2()
        .bucket(bucket.name())
        .prefix(prefix)
        // Other programs' keys may hold what XML cannot.
        .encoding_type(EncodingType::Url)
        .set_max_keys(keys_max)
        .set_continuation_token(token.map(str::to_owned))
        .set_request_payer(bucket.payer());
    send(&Progress::default(), request.send()).await
}

fn failed(failure: Failure, prefix: &str) -> TargetError {
    failure.into_error(Operation::List).at(prefix)
}

fn ours(bucket: &Bucket, object: Object, is_encoded: bool) -> Option<ObjectMeta> {
    let name = object.key.as_deref()?;
    let key = match is_encoded {
        true => bucket.names.key(&decoded(name)?)?,
        false => bucket.names.key(name)?,
    };
    let size_bytes = u64::try_from(object.size?).ok()?;
    let modified_ms = object.last_modified.and_then(|time| time.to_millis().ok());
    Some(ObjectMeta { key, size_bytes, modified_ms })
}

/// Decodes a name as S3 encodes it in listings: as in a form, blanks as plus signs.
fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &after[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_as_s3_encodes_them() {
        assert_eq!(decoded("a+b/c%2Bd/%C3%A4").as_deref(), Some("a b/c+d/ä"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listing_that_runs_in_circles_is_an_error() {
        let page = |token: Option<&str>| {
            ListObjectsV2Output::builder()
                .is_truncated(true)
                .set_next_continuation_token(token.map(str::to_owned))
                .build()
        };
        assert!(matches!(next_after(&page(Some("b")), Some("a".into())), Ok(Next::After(_))));
        assert!(next_after(&page(Some("a")), Some("a".into())).is_err());
        assert!(next_after(&page(None), None).is_err());
        let last = ListObjectsV2Output::builder().is_truncated(false).build();
        assert!(matches!(next_after(&last, None), Ok(Next::End)));
    }
}
