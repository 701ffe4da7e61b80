//! Streams of unknown length: constant memory, and nothing left of those that fail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use strongroom_core::target::{
    BackupTarget, ByteRange, KeyPrefix, Operation, Payload, PutMode, TargetError, TargetErrorKind,
    TargetExt,
};
use strongroom_s3::S3Target;

use crate::{
    proxy::Proxy,
    support::{Server, content, key, unique},
};

const PIECE_BYTES: usize = 1 << 20;

/// A buffer that counts itself as long as anybody holds it.
struct Counted {
    bytes: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_mebibytes_run_in_bounded_memory() {
    const PIECES: usize = 100;
    let target = Server::main().target("").await;
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (their_alive, their_most) = (alive.clone(), most.clone());
    let pieces = stream::iter(0..PIECES).map(move |piece| {
        let now = their_alive.fetch_add(1, Ordering::SeqCst) + 1;
        their_most.fetch_max(now, Ordering::SeqCst);
        let bytes = content(PIECE_BYTES, piece as u64);
        Ok(Bytes::from_owner(Counted { bytes, alive: their_alive.clone() }))
    });
    target.put(&key("big"), Payload::Streamed(pieces.boxed()), PutMode::Create).await.unwrap();
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 48, "{most} MiB were held at once");
    assert_eq!(target.head(&key("big")).await.unwrap().size_bytes, (PIECES * PIECE_BYTES) as u64);
    for piece in [0, 7, 8, 55, PIECES - 1] {
        let range = ((piece * PIECE_BYTES) as u64, PIECE_BYTES as u64);
        let stored = target.get_range(&key("big"), range.0, range.1).await.unwrap();
        assert!(stored == content(PIECE_BYTES, piece as u64), "piece {piece}");
    }
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_buffer_goes_in_parts_and_a_pack_in_one() {
    let target = Server::main().target("").await;
    let before = target.requests_sent().unwrap();
    target.create(&key("pack"), content(20 << 20, 1)).await.unwrap();
    assert_eq!(target.requests_sent().unwrap() - before, 1);
    let bytes = content(40 << 20, 2);
    target.create(&key("large"), bytes.clone()).await.unwrap();
    assert_eq!(target.requests_sent().unwrap() - before, 1 + 1 + 3 + 1);
    assert!(target.get(&key("large"), ByteRange::Full).await.unwrap() == bytes);
    let again = target.create(&key("large"), bytes).await.unwrap_err();
    assert_eq!(again.kind(), TargetErrorKind::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_stream_that_fails_or_is_dropped() {
    let server = Server::main();
    let proxy = Proxy::before(&server.endpoint).await;
    let place = format!("strongroom-tests/{}", unique("s"));
    let near = Server { endpoint: proxy.endpoint.clone(), ..server };
    let target = S3Target::create(near.config(&place)).await.unwrap();
    let begin = || {
        let pieces: Vec<_> = (0..20).map(|i| Ok(content(PIECE_BYTES, i).into())).collect();
        stream::iter(pieces)
    };
    let broken = TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "the disk broke");
    let failing = begin().chain(stream::iter([Err(broken)])).boxed();
    let name = key("failing");
    let put = target.put(&name, Payload::Streamed(failing), PutMode::Create);
    let error = put.await.unwrap_err();
    assert!(error.to_string().contains("the disk broke"), "{error}");
    assert_eq!(proxy.count("DELETE", "uploadId="), 1);

    // The rest of this stream never comes; the put is dropped when it asks for it.
    let (asked, asks) = tokio::sync::oneshot::channel();
    let endless = begin().chain(stream::once(async move {
        let _ = asked.send(());
        std::future::pending().await
    }));
    {
        let payload = Payload::Streamed(endless.boxed());
        let dropped_key = key("dropped");
        let put = target.put(&dropped_key, payload, PutMode::Create);
        futures::future::select(put, asks.boxed()).await;
    }
    while proxy.count("DELETE", "uploadId=") < 2 {
        tokio::task::yield_now().await;
    }
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}
