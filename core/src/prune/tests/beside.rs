//! Restores beside a prune that rewrites what they read.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::{Years, run};
use crate::{
    monitor::SilentMonitor,
    repository::Repository,
    restore::{RestoreOptions, restore},
    target::{
        BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode,
        SharedTarget, TargetResult,
    },
    testing::sink::MemorySink,
};

/// A target beside which a prune runs, whole, right before one of the reads of packs.
#[derive(Debug)]
struct Beside {
    target: SharedTarget,
    other: Repository,
    reads_left: AtomicI64,
}

#[async_trait]
impl BackupTarget for Beside {
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let is_pack = key.as_str().starts_with("packs/");
        if is_pack && self.reads_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            let report = run(&self.other).await.unwrap();
            assert!(report.packs_rewritten > 0, "{report:?}");
        }
        self.target.get(key, range).await
    }

    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.target.put(key, payload, mode).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.target.head(key).await
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        self.target.list(prefix)
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.target.delete(key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.target.capabilities().await
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

/// Restores the oldest snapshot that was not forgotten, with a prune before the `nth` read of a
/// pack. False if there were not as many reads.
async fn restore_beside(nth: i64) -> bool {
    let mut years = Years::of(2).await;
    let (snapshot, content) = years.made[1].clone();
    years.forget(0).await;
    let beside = Arc::new(Beside {
        target: years.world.target.clone(),
        other: years.world.reopen(years.world.target.clone()).await.repository,
        reads_left: AtomicI64::new(nth),
    });
    let reader = years.world.reopen(beside.clone()).await.repository;
    let sink = MemorySink::new();
    let options = RestoreOptions::default();
    let monitor = Arc::new(SilentMonitor);
    let report = restore(&reader, &snapshot, Arc::new(sink.clone()), &options, monitor).await;
    let report = report.unwrap();
    assert_eq!(report.problem_count, 0, "read {nth}: {:?}", report.problems);
    for (path, bytes) in content.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        assert_eq!(sink.at(path).unwrap().content(), *bytes, "read {nth}: {path}");
    }
    years.assert_all_there().await;
    beside.reads_left.load(Ordering::Relaxed) < 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_follows_what_a_prune_moves() {
    let mut reads = 0;
    while restore_beside(reads).await {
        reads += 1;
    }
    assert!(reads > 5, "{reads} reads");
}
