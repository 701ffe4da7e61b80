//! `delete_batch`: up to 256 deletions in one request, which the SDK does not know.
//!
//! The request is a multipart body of small requests, each of which proves who we are. What the
//! answer does not confirm is deleted singly, so nothing hangs on how well a server speaks this
//! dialect: emulators and proxies often do not.

use std::{
    collections::BTreeSet,
    fmt::Write,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use azure_core::{
    Error, Uuid,
    error::{CheckSuccessOptions, ErrorKind},
    http::{
        AsyncRawResponse, Context, Method, PipelineSendOptions, RawResponse, Request, StatusCode,
        headers::{HeaderName, Headers},
        policies::{Policy, PolicyResult},
    },
};
use azure_storage_blob::BlobContainerClientOptions;
use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::target::{ObjectKey, Operation, TargetResult};

use crate::{
    client::Client,
    error::{is_missing, status},
    tries::Tries,
};

/// How many deletions one request takes.
pub(crate) const BATCH_MAX: usize = 256;

/// How many single deletions run at once where there are no batches.
const SINGLES_AT_ONCE: usize = 8;

/// Removes the object; a missing one is success.
pub(crate) async fn delete(client: &Client, key: &ObjectKey) -> TargetResult<()> {
    match client.blob(key)?.delete(None).await {
        Ok(_) => Ok(()),
        Err(error) if is_missing(&error) => Ok(()),
        Err(error) => Err(client.failed(Operation::Delete, error).on(key)),
    }
}

/// Removes all `keys`; goes on after a failure and gives the first one.
pub(crate) async fn delete_all(client: &Client, keys: &[ObjectKey]) -> TargetResult<()> {
    let mut outcome = Ok(());
    for keys in keys.chunks(BATCH_MAX) {
        outcome = outcome.and(delete_chunk(client, keys).await);
    }
    outcome
}

async fn delete_chunk(client: &Client, keys: &[ObjectKey]) -> TargetResult<()> {
    if keys.len() < 2 || !client.batches().load(Ordering::Relaxed) {
        return delete_singly(client, keys.iter()).await;
    }
    let mut tries = Tries::default();
    loop {
        let permit = client.batch_permits().acquire().await;
        let sent = send_batch(client, keys).await;
        drop(permit);
        match sent {
            Ok(done) => {
                let left = keys.iter().enumerate().filter(|(at, _)| !done.contains(at));
                return delete_singly(client, left.map(|(_, key)| key)).await;
            }
            // No answer, or too many requests: single ones would fare no better.
            Err(error) if matches!(status(&error), 0 | 429 | 503) => {
                tries.wait_after(client.failed(Operation::Delete, error)).await?;
            }
            Err(_) => {
                client.batches().store(false, Ordering::Relaxed);
                return delete_singly(client, keys.iter()).await;
            }
        }
    }
}

async fn delete_singly<'a>(
    client: &Client,
    keys: impl Iterator<Item = &'a ObjectKey>,
) -> TargetResult<()> {
    let deletions: Vec<_> = keys.map(|key| delete(client, key)).collect();
    stream::iter(deletions)
        .buffer_unordered(SINGLES_AT_ONCE)
        .fold(Ok(()), |first, result| async move { first.and(result) })
        .await
}

/// Which of `keys` are gone now, by their places.
async fn send_batch(client: &Client, keys: &[ObjectKey]) -> azure_core::Result<BTreeSet<usize>> {
    let boundary = format!("batch_{}", Uuid::new_v4());
    let mut body = String::new();
    for (at, key) in keys.iter().enumerate() {
        let part = part(client, key).await?;
        let _ = write!(
            body,
            "--{boundary}\r\nContent-Type: application/http\r\n\
             Content-Transfer-Encoding: binary\r\nContent-ID: {at}\r\n\r\n{part}"
        );
    }
    let _ = write!(body, "--{boundary}--\r\n");
    let mut url = client.container_url().clone();
    url.query_pairs_mut().append_pair("restype", "container").append_pair("comp", "batch");
    let mut request = Request::new(url, Method::Post);
    request.insert_header("content-type", format!("multipart/mixed; boundary={boundary}"));
    request.insert_header("x-ms-version", BlobContainerClientOptions::default().version);
    request.set_body(Bytes::from(body));
    let options = PipelineSendOptions {
        check_success: CheckSuccessOptions { success_codes: &[202] },
        ..Default::default()
    };
    let response = client.pipeline().send(&Context::new(), &mut request, Some(options)).await?;
    Ok(confirmed(&response))
}

/// One small request: a deletion with its own authorisation.
async fn part(client: &Client, key: &ObjectKey) -> azure_core::Result<String> {
    let url = client.blob_url(key).map_err(|error| Error::new(ErrorKind::Other, error))?;
    let mut request = Request::new(url, Method::Delete);
    let nothing: [Arc<dyn Policy>; 1] = [Arc::new(Nowhere)];
    client.authorization().send(&Context::new(), &mut request, &nothing).await?;
    let mut text = format!("DELETE {} HTTP/1.1\r\n", request.path_and_query());
    for (name, value) in request.headers().iter() {
        let _ = write!(text, "{}: {}\r\n", name.as_str(), value.as_str());
    }
    text.push_str("Content-Length: 0\r\n\r\n");
    Ok(text)
}

/// Where a request ends that is only signed.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Policy for Nowhere {
    async fn send(&self, _: &Context, _: &mut Request, _: &[Arc<dyn Policy>]) -> PolicyResult {
        Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), Bytes::new()))
    }
}

/// The places of the parts that say that their object was removed or not there.
fn confirmed(response: &RawResponse) -> BTreeSet<usize> {
    let content_type = HeaderName::from_static("content-type");
    let content_type = response.headers().get_optional_str(&content_type).unwrap_or_default();
    let Some((_, boundary)) = content_type.split_once("boundary=") else {
        return BTreeSet::new();
    };
    let boundary = format!("--{}", boundary.trim().trim_matches('"'));
    let body = String::from_utf8_lossy(response.body().as_ref());
    body.split(&boundary).filter_map(confirmed_part).collect()
}

fn confirmed_part(part: &str) -> Option<usize> {
    let value = |name: &str| {
        part.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let line = part.lines().find(|line| line.starts_with("HTTP/1.1 "))?;
    let status = line.split_whitespace().nth(1)?;
    let is_gone = status == "202"
        || status == "404" && value("x-ms-error-code").is_some_and(|code| code == "BlobNotFound");
    let place = value("Content-ID")?.parse().ok()?;
    is_gone.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_confirmed_counts_as_gone() {
        let mut headers = Headers::new();
        headers.insert("content-type", "multipart/mixed; boundary=batchresponse_1");
        let part = |id: &str, status: &str, code: &str| {
            format!(
                "--batchresponse_1\r\nContent-Type: application/http\r\n{id}\r\n\r\n\
                 HTTP/1.1 {status}\r\nx-ms-error-code: {code}\r\n\r\n"
            )
        };
        let body = [
            part("Content-ID: 0", "202 Accepted", ""),
            part("Content-ID: 1", "404 gone", "BlobNotFound"),
            part("Content-ID: 2", "404 gone", "ContainerNotFound"),
            part("content-id: 3", "202 Accepted", ""),
            part("Content-ID: 4", "403 no", "AuthorizationFailure"),
            part("", "202 Accepted", ""),
            "--batchresponse_1--".to_owned(),
        ];
        let body = body.concat().into_bytes();
        let response = RawResponse::from_bytes(StatusCode::Accepted, headers, body.clone());
        assert_eq!(confirmed(&response), BTreeSet::from([0, 1, 3]));
        let without = RawResponse::from_bytes(StatusCode::Accepted, Headers::new(), body);
        assert!(confirmed(&without).is_empty());
    }
}
