//! Streams of unknown length: constant memory, and nothing visible of one that does not end well.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures::{
    StreamExt,
    future::{Either, select},
    stream,
};
use strongroom_core::target::{
    BackupTarget, KeyPrefix, ObjectKey, Operation, Payload, PayloadStream, PutMode, SharedTarget,
    TargetError, TargetErrorKind, TargetExt,
};
use tokio::sync::oneshot;

use crate::servers;

const BUFFER_BYTES: usize = 1 << 20;

/// Counts the buffers that somebody still holds.
#[derive(Debug, Default)]
struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Counted(Vec<u8>, Arc<Alive>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.now.fetch_sub(1, Relaxed);
    }
}

fn counted(buffers: usize, alive: &Arc<Alive>) -> Payload {
    let alive = alive.clone();
    let parts = stream::iter(0..buffers).map(move |number| {
        let now = alive.now.fetch_add(1, Relaxed) + 1;
        alive.most.fetch_max(now, Relaxed);
        Ok(Bytes::from_owner(Counted(vec![number as u8; BUFFER_BYTES], alive.clone())))
    });
    Payload::Streamed(parts.boxed())
}

/// Puts a stream of `buffers`, of which at most `buffers_max` may be held at once.
pub(crate) async fn streams(target: SharedTarget, buffers: usize, buffers_max: usize) {
    let (key, alive) = (ObjectKey::parse("stream").unwrap(), Arc::new(Alive::default()));
    target.put(&key, counted(buffers, &alive), PutMode::Create).await.unwrap();
    let most = alive.most.load(Relaxed);
    assert!(most <= buffers_max, "{most} buffers were held at once");
    assert_eq!(alive.now.load(Relaxed), 0);
    assert_eq!(target.head(&key).await.unwrap().size_bytes, (buffers * BUFFER_BYTES) as u64);
    for number in [0, 57, buffers - 1] {
        let offset = (number * BUFFER_BYTES) as u64;
        let part = target.get_range(&key, offset, BUFFER_BYTES as u64).await.unwrap();
        assert!(part.len() == BUFFER_BYTES && part.iter().all(|byte| *byte == number as u8));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_holds_few_buffers() {
    streams(servers::create(&servers::sftp(&servers::unique("~/stream"))).await, 100, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ftp_holds_few_buffers() {
    streams(servers::create(&servers::ftp(&servers::unique("stream"))).await, 100, 8).await;
}

/// More than would be gathered, and than fits between two processes without being read.
#[tokio::test(flavor = "multi_thread")]
async fn webdav_holds_few_buffers() {
    let target = servers::create(&servers::webdav(&servers::unique("stream"))).await;
    assert_eq!(target.capabilities().await.unwrap().object_bytes_max, None);
    streams(target, 300, 10).await;
}

/// A part for each byte, and many parts of nothing.
#[tokio::test]
async fn webdav_takes_tiny_parts() {
    const BYTES: usize = 100_000;
    let target = servers::create(&servers::webdav(&servers::unique("stream"))).await;
    let key = ObjectKey::parse("tiny").unwrap();
    let large = stream::iter([Ok(Bytes::from(vec![1; 5 << 20]))]);
    let tiny = stream::iter(0..BYTES * 2).map(|number| Ok(Bytes::from(vec![2; number % 2])));
    let payload = Payload::Streamed(large.chain(tiny).boxed());
    target.put(&key, payload, PutMode::Create).await.unwrap();
    let found = target.get_full(&key).await.unwrap();
    assert!(found == [vec![1; 5 << 20], vec![2; BYTES]].concat(), "{} bytes", found.len());
}

/// A small stream goes with its length; the limit between the two is crossed by a byte.
#[tokio::test]
async fn webdav_takes_streams_of_all_sizes() {
    let target = servers::create(&servers::webdav(&servers::unique("stream"))).await;
    for (number, pieces) in
        [vec![], vec![0], vec![1], vec![4 << 20], vec![4 << 20, 1], vec![1, 5 << 20, 0, 7, 0]]
            .into_iter()
            .enumerate()
    {
        let key = ObjectKey::parse(&format!("sizes/{number}")).unwrap();
        let parts: Vec<Bytes> = pieces.iter().map(|length| vec![7; *length].into()).collect();
        let stream = stream::iter(parts.clone().into_iter().map(Ok)).boxed();
        target.put(&key, Payload::Streamed(stream), PutMode::Create).await.unwrap();
        assert!(target.get_full(&key).await.unwrap() == parts.concat(), "{pieces:?}");
        let before = target.requests_sent();
        let stream = stream::iter(parts.into_iter().map(Ok)).boxed();
        let taken = target.put(&key, Payload::Streamed(stream), PutMode::Create).await;
        assert_eq!(taken.unwrap_err().kind(), TargetErrorKind::AlreadyExists);
        assert!(target.requests_sent() > before);
    }
}

/// What lies on the server's disk below the folder, as names.
fn on_disk(folder: &str) -> Vec<String> {
    let folder = Path::new(&servers::variable("TEST_WEBDAV_DATA")).join(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_shows_nothing_of_a_stream_that_fails() {
    let folder = servers::unique("stream");
    let target = servers::create(&servers::webdav(&folder)).await;
    let key = ObjectKey::parse("failing").unwrap();
    for buffers in [2, 10] {
        let failure = TargetError::new(TargetErrorKind::Corrupt, Operation::Get, "a bad source");
        let stream = many(buffers).chain(stream::iter([Err(failure)])).chain(many(10)).boxed();
        let error =
            target.put(&key, Payload::Streamed(stream), PutMode::Replace).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("a bad source"), "{error}");
        assert!(!target.exists(&key).await.unwrap());
        assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
        assert_eq!(on_disk(&format!("{folder}/.uploads")), Vec::<String>::new());
    }
    target.put(&key, counted(10, &Arc::default()), PutMode::Create).await.unwrap();
}

fn many(buffers: usize) -> PayloadStream {
    counted(buffers, &Arc::default()).into_stream()
}

/// The future is dropped when the stream has given all that it has for now.
#[tokio::test(flavor = "multi_thread")]
async fn webdav_shows_nothing_of_a_put_that_is_dropped() {
    let folder = servers::unique("stream");
    let target = servers::create(&servers::webdav(&folder)).await;
    let (key, (told, all_given)) = (ObjectKey::parse("dropped").unwrap(), oneshot::channel());
    let never = stream::once(async move {
        told.send(()).unwrap();
        std::future::pending().await
    });
    let stream = Payload::Streamed(many(10).chain(never).boxed());
    match select(target.put(&key, stream, PutMode::Create), all_given).await {
        Either::Left((ended, _)) => panic!("{ended:?}"),
        Either::Right((told, put)) => {
            told.unwrap();
            drop(put);
        }
    }
    assert!(!target.exists(&key).await.unwrap());
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
    target.put(&key, counted(10, &Arc::default()), PutMode::Create).await.unwrap();
}
