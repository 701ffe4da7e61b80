//! Streams of unknown length: constant memory where OpenDAL sends parts, a bound where not.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::target::{
    BackupTarget, ObjectKey, Payload, PutMode, SharedTarget, TargetErrorKind, TargetExt,
};

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

async fn streams(target: SharedTarget, buffers_max: usize) {
    const BUFFERS: usize = 100;
    let (key, alive) = (ObjectKey::parse("stream").unwrap(), Arc::new(Alive::default()));
    target.put(&key, counted(BUFFERS, &alive), PutMode::Create).await.unwrap();
    let most = alive.most.load(Relaxed);
    assert!(most <= buffers_max, "{most} buffers were held at once");
    assert_eq!(alive.now.load(Relaxed), 0);
    assert_eq!(target.head(&key).await.unwrap().size_bytes, (BUFFERS * BUFFER_BYTES) as u64);
    for number in [0, 57, BUFFERS - 1] {
        let offset = (number * BUFFER_BYTES) as u64;
        let part = target.get_range(&key, offset, BUFFER_BYTES as u64).await.unwrap();
        assert!(part.len() == BUFFER_BYTES && part.iter().all(|byte| *byte == number as u8));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_holds_few_buffers() {
    streams(servers::create(&servers::sftp(&servers::unique("~/stream"))).await, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ftp_holds_few_buffers() {
    streams(servers::create(&servers::ftp(&servers::unique("stream"))).await, 8).await;
}

/// OpenDAL sends a WebDAV object in one piece, so that a stream is gathered, up to a bound.
#[tokio::test(flavor = "multi_thread")]
async fn webdav_gathers_and_refuses_too_much() {
    let target = servers::create(&servers::webdav(&servers::unique("stream"))).await;
    let limit = target.capabilities().await.unwrap().object_bytes_max.unwrap() as usize;
    streams(target.clone(), limit / BUFFER_BYTES).await;
    let (key, alive) = (ObjectKey::parse("too-much").unwrap(), Arc::new(Alive::default()));
    let buffers = limit / BUFFER_BYTES + 10;
    let refused = target.put(&key, counted(buffers, &alive), PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), TargetErrorKind::Unsupported, "{refused}");
    assert!(!target.exists(&key).await.unwrap());
    assert_eq!(alive.now.load(Relaxed), 0);
}
