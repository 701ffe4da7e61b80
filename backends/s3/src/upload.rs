//! Puts: one request for what is small, parallel parts for what is large or of unknown length.
//!
//! Knows how a storage decides a create, and what a lost answer may mean. Does not cut payloads
//! itself. Repeats only what cannot be repeated from outside: parts, completions, short streams.

use std::{future::Future, sync::Arc, time::Duration};

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_core::target::{
    ObjectKey, Operation, Payload, PayloadStream, PutMode, TargetError, TargetErrorKind,
    TargetResult,
};

use crate::{
    body::{Content, SignsOfLife},
    client::send,
    config::Checksums,
    error::Failure,
    flow::{Progress, Tries},
    parts::{self, Cutter, PARTS_MAX, Part, Parts},
    request::{Bucket, MARK, addressed, described},
};

/// Buffered payloads up to this size go in one request: most packs do.
const SINGLE_BYTES_MAX: u64 = 32 << 20;

/// Parts of one upload that are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Longer no storage may take to put parts together, whatever signs of life it gives.
const COMPLETE_TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// Stores `payload` under `key`.
pub(crate) async fn put(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    payload: Payload,
    mode: PutMode,
) -> TargetResult<()> {
    let put = put_payload(bucket, key, payload, mode).await;
    put.map_err(|error| match error.kind() {
        // Most stores do not say more than that they do not understand.
        TargetErrorKind::Invalid
            if bucket.lock_of(key).is_some() && error.hint_text().is_none() =>
        {
            error.hint("object-lock is set in the URL: the bucket must have Object Lock turned on")
        }
        _ => error,
    })
}

async fn put_payload(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    payload: Payload,
    mode: PutMode,
) -> TargetResult<()> {
    let length = payload.len().unwrap_or_default();
    match payload {
        Payload::Buffered(buffers) if length <= SINGLE_BYTES_MAX => {
            put_single(&Goal { bucket, key, mode, mark: None }, buffers).await
        }
        Payload::Buffered(buffers) => {
            let part_bytes = parts::part_bytes_of(length, bucket.config.part_bytes);
            put_parts(bucket, key, parts::of_buffers(buffers, part_bytes), mode).await
        }
        Payload::Streamed(stream) => put_stream(bucket, key, stream, mode).await,
    }
}

/// A stream that ends within its first part is one request, sent again from memory if need be.
async fn put_stream(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    stream: PayloadStream,
    mode: PutMode,
) -> TargetResult<()> {
    let fixed = bucket.config.part_bytes;
    let first_bytes = parts::stream_part_bytes(1, fixed);
    let mut cutter = Cutter::new(stream);
    let first = cutter.next(first_bytes).await?;
    let length: u64 = first.iter().map(|buffer| buffer.len() as u64).sum();
    if length < first_bytes {
        let mark = new_mark()?;
        return put_single(&Goal { bucket, key, mode, mark: Some(&mark) }, first).await;
    }
    put_parts(bucket, key, parts::of_stream(first, cutter, fixed), mode).await
}

async fn put_single(goal: &Goal<'_>, buffers: Vec<Bytes>) -> TargetResult<()> {
    let content = &Content::new(buffers, goal.bucket.checksums(goal.key));
    goal.reach(|| async {
        let bucket = goal.bucket;
        let progress = Progress::default();
        let (body, exchange) = content.body(&progress);
        let request = bucket.client.put_object();
        let request = addressed!(bucket, bucket.names.full(goal.key), request);
        let request = described!(bucket.new_object(goal.key), goal.mark, request)
            .body(body)
            .content_length(content.bytes())
            .set_checksum_algorithm(content.crc32().map(|_| ChecksumAlgorithm::Crc32))
            .set_checksum_crc32(content.crc32())
            .set_if_none_match(goal.condition());
        send(&progress, request.customize().interceptor(exchange).send()).await.map(drop)
    })
    .await
}

async fn put_parts(
    bucket: &Arc<Bucket>,
    key: &ObjectKey,
    parts: Parts,
    mode: PutMode,
) -> TargetResult<()> {
    let mark = new_mark()?;
    let upload = Upload::begin(bucket, key, &mark).await?;
    let mut guard = AbortOnDrop(Some(upload.clone()));
    let outcome = match upload.send_all(parts).await {
        Ok(done) => {
            let goal = Goal { bucket, key, mode, mark: Some(&mark) };
            goal.reach(|| upload.complete(&goal, &done)).await
        }
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        upload.abort().await;
    }
    guard.0 = None;
    outcome
}

/// What is to be reached by the request that makes the object appear.
struct Goal<'a> {
    bucket: &'a Arc<Bucket>,
    key: &'a ObjectKey,
    mode: PutMode,
    /// By which our own object is known again. Without one the request is not repeated.
    mark: Option<&'a str>,
}

/// Whose object lies under the key.
#[derive(PartialEq, Eq)]
enum Found {
    Ours,
    Others,
    Nothing,
}

impl Goal<'_> {
    fn condition(&self) -> Option<String> {
        (self.mode == PutMode::Create).then(|| "*".to_owned())
    }

    /// Tries until the storage has decided.
    ///
    /// "Exists" after a try whose answer was lost may be our own success: the mark tells.
    /// A conflict (409) decides nothing: another request for the key was in the way.
    async fn reach<Try>(&self, mut attempt: impl FnMut() -> Try) -> TargetResult<()>
    where
        Try: Future<Output = Result<(), Failure>>,
    {
        let (mut tries, mut is_maybe_done) = (Tries::default(), false);
        loop {
            let Err(failure) = attempt().await else { return Ok(()) };
            if let Some(outcome) = self.decided(&failure, is_maybe_done).await {
                return outcome;
            }
            is_maybe_done |= failure.is_ambiguous();
            let is_repeatable = failure.is_conflict()
                || (self.mark.is_some() && failure.is_retryable() && !is_gone(&failure));
            if is_repeatable && tries.wait(failure.wait_asked()).await {
                continue;
            }
            if is_maybe_done && self.mark.is_some() && self.found().await == Ok(Found::Ours) {
                return Ok(());
            }
            return Err(failure.into_error(Operation::Put));
        }
    }

    /// What a refusal means, if it means an end.
    async fn decided(&self, failure: &Failure, is_maybe_done: bool) -> Option<TargetResult<()>> {
        let is_create = self.mode == PutMode::Create;
        let is_refused = is_create && (failure.is_exists() || failure.is_conflict());
        let is_over = is_maybe_done && is_gone(failure);
        if !(is_refused || is_over) {
            return None;
        }
        // Without doubt about an earlier try, "exists" needs no second look.
        if failure.is_exists() && !is_maybe_done {
            return Some(Err(exists(failure)));
        }
        match self.found().await {
            Ok(Found::Ours) if is_maybe_done => Some(Ok(())),
            Ok(Found::Ours | Found::Others) if is_refused => Some(Err(exists(failure))),
            Ok(_) if failure.is_exists() => Some(Err(exists(failure))),
            _ => None,
        }
    }

    async fn found(&self) -> Result<Found, NotKnown> {
        let bucket = self.bucket;
        let mut tries = Tries::default();
        loop {
            let request = bucket.client.head_object();
            let request = addressed!(bucket, bucket.names.full(self.key), request);
            let failure = match send(&Progress::default(), request.send()).await {
                Ok(object) => {
                    let mark = object.metadata().and_then(|metadata| metadata.get(MARK));
                    let is_ours = self.mark.is_some() && mark.map(String::as_str) == self.mark;
                    return Ok(if is_ours { Found::Ours } else { Found::Others });
                }
                Err(failure) if failure.status() == 404 => return Ok(Found::Nothing),
                Err(failure) => failure,
            };
            if !failure.is_retryable() || !tries.wait(failure.wait_asked()).await {
                return Err(NotKnown);
            }
        }
    }
}

/// The storage did not tell whose object it is.
#[derive(PartialEq, Eq)]
struct NotKnown;

/// The upload is not there (any more): completed, or aborted by a rule of the bucket.
fn is_gone(failure: &Failure) -> bool {
    failure.code() == "NoSuchUpload"
}

fn exists(failure: &Failure) -> TargetError {
    let kind = TargetErrorKind::AlreadyExists;
    TargetError::new(kind, Operation::Put, format!("the object exists already ({failure})"))
}

/// Sixteen random bytes in hex: what tells our object from one that somebody else put meanwhile.
fn new_mark() -> TargetResult<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        let what = "the system has no random bytes";
        TargetError::new(TargetErrorKind::Unexpected, Operation::Put, what).because(error)
    })?;
    Ok(hex::encode(random))
}

/// A multipart upload that was begun.
#[derive(Debug)]
struct Upload {
    bucket: Arc<Bucket>,
    key: ObjectKey,
    id: String,
}

impl Upload {
    async fn begin(bucket: &Arc<Bucket>, key: &ObjectKey, mark: &str) -> TargetResult<Arc<Self>> {
        let is_checked = bucket.checksums(key) == Checksums::WhenSupported;
        let mut tries = Tries::default();
        loop {
            let request = bucket.client.create_multipart_upload();
            let request = addressed!(bucket, bucket.names.full(key), request);
            let request = described!(bucket.new_object(key), Some(mark), request)
                .set_checksum_algorithm(is_checked.then_some(ChecksumAlgorithm::Crc32));
            let failure = match send(&Progress::default(), request.send()).await {
                Ok(begun) => match begun.upload_id() {
                    Some(id) => {
                        let (bucket, key, id) = (bucket.clone(), key.clone(), id.to_owned());
                        return Ok(Arc::new(Self { bucket, key, id }));
                    }
                    None => Failure::Nonsense("an upload without an id".to_owned()),
                },
                Err(failure) => failure,
            };
            if !failure.is_retryable() || !tries.wait(failure.wait_asked()).await {
                return Err(failure.into_error(Operation::Put));
            }
        }
    }

    async fn send_all(self: &Arc<Self>, parts: Parts) -> TargetResult<Vec<CompletedPart>> {
        let sending = parts.map_ok(|part| {
            let upload = self.clone();
            async move { upload.send_part(part).await }
        });
        let done = sending.try_buffer_unordered(PARTS_AT_ONCE);
        let mut done: Vec<CompletedPart> = done.try_collect().await?;
        done.sort_unstable_by_key(CompletedPart::part_number);
        Ok(done)
    }

    async fn send_part(&self, part: Part) -> TargetResult<CompletedPart> {
        if u64::try_from(part.number).is_ok_and(|number| number > PARTS_MAX) {
            let what = format!("larger than {PARTS_MAX} parts");
            return Err(TargetError::new(TargetErrorKind::Invalid, Operation::Put, what)
                .hint("leave part-size out of the URL, or raise it"));
        }
        let bucket = &self.bucket;
        // Held until the part is sent: it is the leave to keep the part in memory.
        let _permit = part.permit;
        let content = Content::new(part.buffers, bucket.checksums(&self.key));
        let mut tries = Tries::default();
        loop {
            let progress = Progress::default();
            let (body, exchange) = content.body(&progress);
            let request = bucket.client.upload_part();
            let request = addressed!(bucket, bucket.names.full(&self.key), request)
                .upload_id(&self.id)
                .part_number(part.number)
                .body(body)
                .content_length(content.bytes())
                .set_checksum_crc32(content.crc32());
            let sent = send(&progress, request.customize().interceptor(exchange).send()).await;
            let failure = match sent {
                Ok(stored) => {
                    return Ok(CompletedPart::builder()
                        .part_number(part.number)
                        .set_e_tag(stored.e_tag)
                        .set_checksum_crc32(content.crc32())
                        .build());
                }
                Err(failure) => failure,
            };
            let is_repeatable = failure.is_retryable() && !is_gone(&failure);
            if !is_repeatable || !tries.wait(failure.wait_asked()).await {
                return Err(failure.into_error(Operation::Put));
            }
        }
    }

    async fn complete(&self, goal: &Goal<'_>, done: &[CompletedPart]) -> Result<(), Failure> {
        let bucket = &self.bucket;
        let progress = Progress::default();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(done.to_vec())).build();
        let request = bucket.client.complete_multipart_upload();
        let request = addressed!(bucket, bucket.names.full(&self.key), request)
            .upload_id(&self.id)
            .multipart_upload(parts)
            .set_if_none_match(goal.condition())
            .customize()
            .interceptor(SignsOfLife(progress.clone()));
        match tokio::time::timeout(COMPLETE_TIME_MAX, send(&progress, request.send())).await {
            Ok(answered) => answered.map(drop),
            Err(_) => Err(Failure::NoAnswer("the completion did not end".to_owned())),
        }
    }

    /// Removes the parts. What cannot be removed now is left to the bucket's lifecycle rule.
    async fn abort(&self) {
        let bucket = &self.bucket;
        let mut tries = Tries::default();
        loop {
            let request = bucket.client.abort_multipart_upload();
            let request = request
                .bucket(bucket.name())
                .key(bucket.names.full(&self.key))
                .set_request_payer(bucket.payer())
                .upload_id(&self.id);
            let Err(failure) = send(&Progress::default(), request.send()).await else { return };
            if failure.status() == 404 {
                return;
            }
            if !failure.is_retryable() || !tries.wait(failure.wait_asked()).await {
                tracing::debug!(key = %self.key, %failure, "an upload could not be aborted");
                return;
            }
        }
    }
}

/// Aborts the upload of a put whose future was dropped half-way.
struct AbortOnDrop(Option<Arc<Upload>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        let Some(upload) = self.0.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { upload.abort().await });
        }
    }
}
