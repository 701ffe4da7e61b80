//! Two processes of one machine, which remember in the same place.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::*;
use crate::{
    monitor::SilentMonitor,
    repository::{Credential, Snapshot, Storage},
    target::TargetResult,
    target::{BackupTarget, Capabilities, KeyPrefix, MemoryTarget, ObjectMeta, Payload, PutMode},
    testing::{
        MemorySource,
        world::{World, noise, password},
    },
    verify::{VerifyOptions, verify},
};

#[test]
fn round_trip_and_truncation() {
    let commits = [(SessionId([1; 16]), [2; 32]), (SessionId([3; 16]), [4; 32])];
    let pin = Pin { generation: 9, commits: commits.into_iter().collect() };
    let bytes = pin.encode();
    assert_eq!(Pin::decode(&bytes).unwrap(), pin);
    for length in 0..bytes.len() {
        assert!(Pin::decode(&bytes[..length]).is_err());
    }
}

/// A target beside which another process makes a snapshot, right before one of the reads.
struct Beside {
    target: SharedTarget,
    other: World,
    reads_left: AtomicI64,
}

impl Beside {
    async fn before_read(&self) {
        if self.reads_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.other.try_backup(&source(2)).await.unwrap();
        }
    }
}

#[async_trait]
impl BackupTarget for Beside {
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        self.before_read().await;
        self.target.get(key, range).await
    }

    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        self.target.put(key, payload, mode).await
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        self.target.head(key).await
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let listing = self.target.list(prefix);
        let begun = async {
            self.before_read().await;
            Ok(listing)
        };
        stream::once(begun).try_flatten().boxed()
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        self.target.delete(key).await
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        self.target.capabilities().await
    }
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.target.fmt(f)
    }
}

impl std::fmt::Display for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.target, f)
    }
}

fn source(version: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    source.put("file", noise(version, 50_000));
    Arc::new(source)
}

/// A process that remembers in `store`.
async fn process(world: &World, target: SharedTarget, store: &SharedTarget) -> World {
    let pins = Pins { store: Some(store.clone()), ..Pins::default() };
    let storage = Storage { target: target.clone(), cache: None, pins };
    let runtime = world.repository.runtime().clone();
    let credential = Credential::Password(password());
    World { target, repository: Repository::open(storage, runtime, &credential).await.unwrap() }
}

/// Runs `verb` while another process makes a snapshot before its `nth` read; false if it read
/// less often.
async fn run_beside(nth: i64, verb: impl AsyncFn(&World)) -> bool {
    let world = World::new().await;
    let store: SharedTarget = Arc::new(MemoryTarget::new());
    process(&world, world.target.clone(), &store).await.try_backup(&source(1)).await.unwrap();
    let other = process(&world, world.target.clone(), &store).await;
    let reads_left = AtomicI64::new(nth);
    let beside = Arc::new(Beside { target: world.target.clone(), other, reads_left });
    verb(&process(&world, beside.clone(), &store).await).await;
    // nothing of it is forgotten
    let after = process(&world, world.target.clone(), &store).await;
    let known = after.repository.remembered().await.unwrap().unwrap();
    let made = after.repository.snapshots().await.unwrap().snapshots;
    let is_known = |one: &Snapshot| known.commits.contains_key(&one.id);
    assert!(made.iter().all(is_known), "read {nth}: {known:?}");
    beside.reads_left.load(Ordering::Relaxed) < 0
}

async fn expect_no_alarm(reads_min: i64, verb: impl AsyncFn(&World)) {
    let mut reads = 0;
    while run_beside(reads, &verb).await {
        reads += 1;
    }
    assert!(reads >= reads_min, "{reads} reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_made_beside_a_backup_is_no_rollback() {
    expect_no_alarm(5, async |world| drop(world.try_backup(&source(3)).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_made_beside_a_look_is_no_rollback() {
    let look = async |world: &World| {
        assert!(!world.repository.snapshots().await.unwrap().snapshots.is_empty());
    };
    expect_no_alarm(4, look).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_made_beside_a_verification_is_no_rollback() {
    let look = async |world: &World| {
        let (options, monitor) = (VerifyOptions::default(), Arc::new(SilentMonitor));
        let report = verify(&world.repository, &options, monitor).await.unwrap();
        assert_eq!(report.damage, []);
    };
    expect_no_alarm(8, look).await;
}
