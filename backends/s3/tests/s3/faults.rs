//! Answers that are lost, cut, flipped or errors in disguise: each has one defined result.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::target::{
    BackupTarget, ByteRange, KeyPrefix, Payload, PutMode, SharedTarget, TargetErrorKind, TargetExt,
};
use strongroom_s3::{S3Config, S3Target};

use crate::{
    proxy::{Proxy, What},
    support::{Server, content, key, unique},
};

struct Lab {
    proxy: Proxy,
    target: SharedTarget,
    config: S3Config,
}

impl Lab {
    async fn new() -> Self {
        let direct = Server::main();
        let proxy = Proxy::before(&direct.endpoint).await;
        let place = format!("strongroom-tests/{}", unique("f"));
        S3Target::create(direct.config(&place)).await.unwrap();
        let config = Server { endpoint: proxy.endpoint.clone(), ..direct }.config(&place);
        let target = Arc::new(S3Target::open(config.clone()).await.unwrap());
        Self { proxy, target, config }
    }
}

fn streamed(bytes: &[u8]) -> Payload {
    let pieces: Vec<_> = bytes.chunks(1 << 20).map(|p| Ok(Bytes::copy_from_slice(p))).collect();
    Payload::Streamed(stream::iter(pieces).boxed())
}

const MULTIPART: usize = 20 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_whose_answer_is_lost_is_known_to_be_ours() {
    for mode in [PutMode::Create, PutMode::Replace] {
        let lab = Lab::new().await;
        lab.proxy.add(("POST", "uploadId="), What::LoseAnswer, 1);
        let bytes = content(MULTIPART, 1);
        lab.target.put(&key("big"), streamed(&bytes), mode).await.unwrap();
        assert_eq!(lab.proxy.hits(), 1);
        assert_eq!(lab.target.get_full(&key("big")).await.unwrap(), bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_stream_whose_answer_is_lost_is_known_to_be_ours() {
    let lab = Lab::new().await;
    lab.proxy.add(("PUT", "small"), What::LoseAnswer, 1);
    lab.target.put(&key("small"), streamed(b"abc"), PutMode::Create).await.unwrap();
    assert_eq!(lab.proxy.count("PUT", "small"), 2, "tried again from memory");
    let again = lab.target.put(&key("small"), streamed(b"abc"), PutMode::Create).await;
    assert_eq!(again.unwrap_err().kind(), TargetErrorKind::AlreadyExists);
}

/// Between the lost answer and the next try nobody else's object is taken for ours.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_object_is_never_taken_for_ours() {
    let lab = Lab::new().await;
    lab.target.create(&key("taken"), b"theirs".to_vec()).await.unwrap();
    lab.proxy.add(("POST", "uploadId="), What::refusal(500, "", "InternalError"), 1);
    let bytes = content(MULTIPART, 2);
    let error = lab.target.put(&key("taken"), streamed(&bytes), PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::AlreadyExists, "{error}");
    assert_eq!(lab.target.get_full(&key("taken")).await.unwrap(), b"theirs".as_slice());
    assert_eq!(lab.proxy.count("DELETE", "uploadId="), 1, "the upload was aborted");
}

/// One put is one request here: the layer outside decides about repeating it.
#[tokio::test(flavor = "multi_thread")]
async fn a_buffered_create_is_sent_once() {
    let lab = Lab::new().await;
    lab.proxy.add(("PUT", "once"), What::LoseAnswer, 1);
    let error = lab.target.create(&key("once"), b"abc".to_vec()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
    assert_eq!(lab.proxy.count("PUT", "once"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_parts_are_sent_again_and_a_conflict_is_no_answer() {
    let lab = Lab::new().await;
    lab.proxy.add(("PUT", "partNumber=2"), What::refusal(500, "", "InternalError"), 2);
    lab.proxy.add(("PUT", "partNumber=1&"), What::LoseAnswer, 1);
    lab.proxy.add(("POST", "uploads"), What::refusal(503, "", "SlowDown"), 1);
    let bytes = content(MULTIPART, 3);
    lab.target.put(&key("big"), streamed(&bytes), PutMode::Create).await.unwrap();
    assert_eq!(lab.proxy.hits(), 4);
    assert_eq!(lab.target.get_full(&key("big")).await.unwrap(), bytes);
    let conflict = What::refusal(409, "", "ConditionalRequestConflict");
    lab.proxy.add(("PUT", "contested"), conflict.clone(), 2);
    lab.target.create(&key("contested"), b"abc".to_vec()).await.unwrap();
    lab.proxy.add(("PUT", "contested"), conflict, 1);
    let error = lab.target.create(&key("contested"), b"abc".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::AlreadyExists, "a conflict, and it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_inside_a_success_is_an_error() {
    let lab = Lab::new().await;
    let disguised = What::refusal(200, "", "InternalError");
    lab.proxy.add(("POST", "uploadId="), disguised, 1);
    let bytes = content(MULTIPART, 4);
    lab.target.put(&key("big"), streamed(&bytes), PutMode::Create).await.unwrap();
    assert_eq!(lab.proxy.count("POST", "uploadId="), 2, "completed again");
    let body = "<DeleteResult><Error><Key>nothing/of/ours</Key><Code>AccessDenied</Code></Error>\
                <Error><Key>k</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
    lab.proxy.add(("POST", "delete"), What::xml(200, "", body), 1);
    let error = lab.target.delete_batch(&[key("a"), key("b")]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied);
    assert!(error.to_string().contains("nothing/of/ours"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_without_batches_are_asked_one_by_one() {
    let lab = Lab::new().await;
    for name in ["a", "b", "c"] {
        lab.target.create(&key(name), b"abc".to_vec()).await.unwrap();
    }
    lab.proxy.add(("POST", "delete"), What::refusal(501, "", "NotImplemented"), 1);
    lab.target.delete_batch(&[key("a"), key("b"), key("gone")]).await.unwrap();
    let left = lab.target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(left.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_cut_or_flipped_is_never_returned() {
    let lab = Lab::new().await;
    lab.target.create(&key("object"), content(100_000, 5)).await.unwrap();
    lab.proxy.add(("GET", "object"), What::Cut(50_000), 1);
    let error = lab.target.get_full(&key("object")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
    lab.proxy.add(("GET", "object"), What::Flip(1000), 1);
    let error = lab.target.get_full(&key("object")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Corrupt, true), "{error}");
    let part = "HTTP/1.1 206 Made Up\r\nContent-Range: bytes 0-9/100000\r\nContent-Length: 10\r\n\
                Connection: close\r\n\r\n0123456789";
    lab.proxy.add(("GET", "object"), What::Answer(part.to_owned()), 1);
    let range = ByteRange::From { offset: 0, length: 20 };
    let error = lab.target.get(&key("object"), range).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do() {
    use TargetErrorKind as Kind;
    let lab = Lab::new().await;
    for (status, headers, code, kind, wait, hint) in [
        (403, "", "RequestTimeTooSkewed", Kind::Denied, None, "clock"),
        (400, "", "ExpiredToken", Kind::Denied, None, "log in"),
        (503, "Retry-After: 7\r\n", "SlowDown", Kind::Throttled, Some(7), ""),
        (429, "Retry-After: 3\r\n", "", Kind::Throttled, Some(3), ""),
        (502, "", "", Kind::Unavailable, None, ""),
        (403, "", "InvalidObjectState", Kind::Unavailable, None, "restore"),
        (
            301,
            "x-amz-bucket-region: eu-north-1\r\n",
            "PermanentRedirect",
            Kind::Invalid,
            None,
            "region=eu-north-1",
        ),
        (507, "", "", Kind::Full, None, "quota"),
    ] {
        lab.proxy.add(("GET", "refused"), What::refusal(status, headers, code), 1);
        let error = lab.target.get_full(&key("refused")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {code}: {error}");
        assert_eq!(error.wait_asked(), wait.map(Duration::from_secs), "{status} {code}");
        assert!(error.hint_text().unwrap_or_default().contains(hint), "{error}");
        assert_eq!(error.key(), Some("refused"));
    }
    let page = What::xml(502, "", "<html><body>Bad Gateway</body></html>");
    lab.proxy.add(("GET", "refused"), page, 1);
    let error = lab.target.get_full(&key("refused")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (Kind::Unavailable, true), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listing_is_asked_for_again() {
    let lab = Lab::new().await;
    let keys: Vec<_> = (0..1_100).map(|i| key(&format!("k/{i}"))).collect();
    stream::iter(keys.clone())
        .map(|key| {
            let target = lab.target.clone();
            async move { target.create(&key, vec![1]).await.unwrap() }
        })
        .buffer_unordered(16)
        .for_each(|()| async {})
        .await;
    lab.proxy.add(("GET", "continuation-token"), What::refusal(503, "", "SlowDown"), 1);
    let before = lab.target.requests_sent().unwrap();
    assert_eq!(lab.target.list_all(&KeyPrefix::all()).await.unwrap().len(), keys.len());
    assert_eq!(lab.target.requests_sent().unwrap() - before, 3, "two pages, one of them twice");
    lab.target.delete_batch(&keys).await.unwrap();
    assert_eq!(lab.target.requests_sent().unwrap() - before, 5, "two batches");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_is_one_request() {
    let lab = Lab::new().await;
    let opened = S3Target::open(lab.config.clone()).await.unwrap();
    assert_eq!(opened.requests_sent(), Some(1));
}

/// The clock stands still until the server has the request; then it runs as fast as it can.
#[tokio::test]
async fn silence_and_trickles_are_noticed_within_a_minute() {
    let lab = Lab::new().await;
    lab.target.create(&key("object"), content(100_000, 6)).await.unwrap();
    for (method, what) in [("GET", What::Silence), ("GET", What::Trickle), ("PUT", What::Silence)] {
        let hits = lab.proxy.hits();
        lab.proxy.add((method, "object"), what, 1);
        let target = lab.target.clone();
        let call = tokio::spawn(async move {
            match method {
                "GET" => target.get_full(&key("object")).await.map(drop),
                _ => target.replace(&key("object"), vec![1; 300_000]).await,
            }
        });
        while lab.proxy.hits() == hits {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let error = call.await.unwrap().unwrap_err();
        let seconds = begun.elapsed().as_secs();
        tokio::time::resume();
        let outcome = (error.kind(), error.is_retryable());
        assert_eq!(outcome, (TargetErrorKind::Unavailable, true), "{error}");
        assert!((45..=60).contains(&seconds), "after {seconds} s");
    }
}
