//! Reads: whole objects and ranges, with the length and the checksum verified; size and time.
//!
//! Never returns fewer bytes than the storage promised.

use aws_sdk_s3::{
    Config, config::ResponseChecksumValidation, operation::get_object::GetObjectOutput,
    primitives::ByteStream,
};
use bytes::{Bytes, BytesMut};
use strongroom_core::target::{ByteRange, ObjectKey, ObjectMeta, Operation, TargetResult};

use crate::{
    client::{send, silently},
    error::Failure,
    flow::{Progress, guarded},
    request::{Bucket, addressed},
};

/// Before more than this has arrived, no more than this is set aside for it.
const RESERVED_BYTES_MAX: usize = 16 << 20;

/// No object is nearly as large, and servers that add to this do not overflow.
const OFFSET_MAX: u64 = 1 << 60;

/// Reads `range` of the object.
pub(crate) async fn get(bucket: &Bucket, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
    let header = match range {
        ByteRange::Full => None,
        ByteRange::From { offset, length } if length == 0 || offset >= OFFSET_MAX => {
            // Empty, but only if there is such an object.
            return head(bucket, key, Operation::Get).await.map(|_| Bytes::new());
        }
        ByteRange::From { offset, length } => {
            let last = offset.saturating_add(length - 1).min(OFFSET_MAX);
            Some(format!("bytes={offset}-{last}"))
        }
    };
    let progress = Progress::default();
    let whole = async {
        let request = bucket.client.get_object().set_range(header);
        let request = addressed!(bucket, bucket.names.full(key), request);
        // A checksum covers the whole object, and some servers send it with a part.
        let verified = match range {
            ByteRange::Full => None,
            ByteRange::From { .. } => Some(ResponseChecksumValidation::WhenRequired),
        };
        let mut settings = Config::builder();
        settings.set_response_checksum_validation(verified);
        let request = request.customize().config_override(settings);
        let object = request.send().await.map_err(Failure::of)?;
        let expected = expected_bytes(&object, range)?;
        read_body(object.body, expected, &progress).await
    };
    match guarded(&progress, silently(whole)).await.map_err(Failure::stalled) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(failure)) if failure.status() == 416 => past_the_end(bucket, key, range).await,
        Ok(Err(failure)) | Err(failure) => Err(failure.into_error(Operation::Get)),
    }
}

/// Makes sure that a range that the server cannot satisfy is past the end, and not merely beyond
/// what the server computes with.
async fn past_the_end(bucket: &Bucket, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
    let size_bytes = head(bucket, key, Operation::Get).await?.size_bytes;
    match range.within(size_bytes).is_empty() {
        true => Ok(Bytes::new()),
        false => {
            let text = format!("416 for a range inside an object of {size_bytes} bytes");
            Err(Failure::Nonsense(text).into_error(Operation::Get))
        }
    }
}

/// How many bytes the answer must have, if it is one to `range` at all.
fn expected_bytes(object: &GetObjectOutput, range: ByteRange) -> Result<u64, Failure> {
    let nonsense = |why: &str| Err(Failure::Nonsense(why.to_owned()));
    let Some(length) = object.content_length().and_then(|length| u64::try_from(length).ok()) else {
        return nonsense("an object without a length");
    };
    let ByteRange::From { offset, length: asked } = range else { return Ok(length) };
    match object.content_range() {
        Some(text) => match content_range(text) {
            Some((first, last, size))
                if range.within(size) == (first..last + 1) && last + 1 - first == length =>
            {
                Ok(length)
            }
            _ => nonsense("another range than the one that was asked for"),
        },
        // All of it, where all of it was asked for.
        None if length == 0 || (offset == 0 && length <= asked) => Ok(length),
        None => nonsense("a whole object where a range was asked for"),
    }
}

/// `bytes FIRST-LAST/SIZE`
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first, last, size))
}

async fn read_body(
    mut body: ByteStream,
    expected: u64,
    progress: &Progress,
) -> Result<Bytes, Failure> {
    let reserved = usize::try_from(expected).unwrap_or(usize::MAX).min(RESERVED_BYTES_MAX);
    let mut whole = BytesMut::with_capacity(reserved);
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| Failure::of_body(&error))?;
        progress.moved(piece.len());
        if whole.len() as u64 + piece.len() as u64 > expected {
            return Err(Failure::Nonsense("more bytes than the answer promised".to_owned()));
        }
        whole.extend_from_slice(&piece);
    }
    if (whole.len() as u64) < expected {
        let text = format!("only {} of {expected} bytes came", whole.len());
        return Err(Failure::NoAnswer(text));
    }
    Ok(whole.freeze())
}

/// Size and time of the object, asked for on behalf of `operation`.
pub(crate) async fn head(
    bucket: &Bucket,
    key: &ObjectKey,
    operation: Operation,
) -> TargetResult<ObjectMeta> {
    let request = addressed!(bucket, bucket.names.full(key), bucket.client.head_object());
    let object = send(&Progress::default(), request.send())
        .await
        .map_err(|failure| failure.into_error(operation))?;
    let size_bytes = object.content_length().and_then(|length| u64::try_from(length).ok());
    let Some(size_bytes) = size_bytes else {
        return Err(Failure::Nonsense("an object without a length".into()).into_error(operation));
    };
    let modified_ms = object.last_modified().and_then(|time| time.to_millis().ok());
    Ok(ObjectMeta { key: key.clone(), size_bytes, modified_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(length: i64, range: Option<&str>) -> GetObjectOutput {
        GetObjectOutput::builder()
            .content_length(length)
            .set_content_range(range.map(str::to_owned))
            .build()
    }

    #[test]
    fn only_the_range_that_was_asked_for_is_taken() {
        let range = ByteRange::From { offset: 10, length: 5 };
        for (length, text, is_right) in [
            (5, Some("bytes 10-14/100"), true),
            (2, Some("bytes 10-11/12"), true),
            (5, Some("bytes 11-15/100"), false),
            (4, Some("bytes 10-13/100"), false),
            (4, Some("bytes 10-14/100"), false),
            (5, Some("bytes 10-14/*"), false),
            (5, Some("bytes 18446744073709551615-0/1"), false),
            (100, None, false),
        ] {
            let expected = expected_bytes(&answer(length, text), range);
            assert_eq!(expected.is_ok(), is_right, "{text:?}");
        }
        let start = ByteRange::From { offset: 0, length: 100 };
        assert_eq!(expected_bytes(&answer(7, None), start).unwrap(), 7);
        assert!(expected_bytes(&answer(-1, None), ByteRange::Full).is_err());
    }

    #[tokio::test]
    async fn a_body_has_exactly_the_promised_length() {
        let progress = Progress::default();
        for (expected, is_right) in [(3, true), (2, false), (4, false)] {
            let body = ByteStream::from_static(b"abc");
            assert_eq!(read_body(body, expected, &progress).await.is_ok(), is_right);
        }
    }
}
