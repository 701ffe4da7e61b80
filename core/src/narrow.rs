//! Everything at a storage that is slow and takes one call at a time.
//!
//! Whoever waits there for what only he himself could bring on waits for ever: a read that was
//! begun ahead, and stands still, may hold the only turn, or be the one that others wait for.
//! Such a test ends by the runner's patience.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::TryStreamExt;

use crate::{
    copy::{Copied, Copier, CopyOptions},
    error::Result,
    forget::{UndoOptions, forgotten, undo},
    id::ClientId,
    look,
    monitor::SilentMonitor,
    repair::{self, RepairOptions},
    repository::{Repository, Snapshot},
    restore::{RestoreOptions, restore},
    runtime::{Clock, Timestamp},
    stats::stats,
    target::{
        KeyPrefix, SharedTarget, TargetExt,
        layers::{ConcurrencyLimitLayer, FaultEffect, FaultLayer, FaultRule, ScrubOptions},
    },
    testing::{
        MemorySource,
        sink::MemorySink,
        stage::{Promise, Stage, files, forget_now, prune_once, restored, verified},
        world::{noise, path},
    },
};

const CLIENT: ClientId = ClientId([7; 16]);

/// Whoever waits lets all others go first, a few times.
#[derive(Debug)]
struct Yielding;

#[async_trait]
impl Clock for Yielding {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
}

/// `target`, slow; of so many calls at a time.
fn narrow(target: &SharedTarget, calls_max: usize) -> SharedTarget {
    let slow = FaultLayer::new(target.clone(), Arc::new(Yielding));
    slow.add(FaultRule::new(None, FaultEffect::Delay(Duration::from_millis(1))));
    Arc::new(ConcurrencyLimitLayer::new(Arc::new(slow), calls_max))
}

/// Enough files for several pages, some that change with the version, and one whose pieces take
/// lists of their own.
fn wide_tree(version: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 0..1_500 {
        // another size tells that it has changed
        let (seed, length) = match file % 7 == version % 7 {
            true => (1_000_000 * version + file, 600 + version),
            false => (file, 600),
        };
        source.put(&format!("d{:02}/f{file}", file % 40), noise(seed, length as usize));
    }
    let mut large = noise(5_000, (6 << 20) + version as usize);
    large[(version as usize) << 18] ^= 1;
    source.put("large", large);
    Arc::new(source)
}

async fn latest(repository: &Repository) -> Snapshot {
    repository.snapshots().await.unwrap().snapshots.pop().unwrap()
}

async fn reopened(stage: &Stage, calls_max: usize) -> Repository {
    stage.open(narrow(&stage.target, calls_max)).await
}

async fn back_up(stage: &mut Stage, calls_max: usize) {
    let door = narrow(&stage.target, calls_max);
    let target = std::mem::replace(&mut stage.target, door);
    stage.back_up().await;
    stage.target = target;
}

/// All that only reads.
async fn look_at(stage: &Stage, repository: &Repository) {
    let monitor = Arc::new(SilentMonitor);
    stats(repository, &[], monitor.clone()).await.unwrap();
    stage.expect_promises_kept(repository).await;
    let report = verified(repository).await.unwrap();
    assert!(report.damage.is_empty(), "{:#?}", report.damage);
    let all = repository.snapshots().await.unwrap().snapshots;
    let changes: Vec<_> = look::diff(repository, &all[0], &all[1]).try_collect().await.unwrap();
    assert!(!changes.is_empty());
    read_long_file(repository, &all[0]).await;
    restore_over(repository).await;
}

/// The content of a long file, though packs of it were rewritten.
async fn read_long_file(repository: &Repository, snapshot: &Snapshot) {
    let entry = look::entry_at(repository, snapshot, &path("large")).await.unwrap().unwrap();
    let content: Vec<_> = look::read_file(repository, &entry).try_collect().await.unwrap();
    assert!(content.concat() == restored(repository, snapshot).await.unwrap()["large"]);
}

/// A restore that finds most of it there already, and reads all of it back.
async fn restore_over(repository: &Repository) {
    let snapshot = latest(repository).await;
    let sink = MemorySink::new();
    for (path, mut content) in restored(repository, &snapshot).await.unwrap() {
        content[300] ^= 1;
        sink.put(&path, &content);
    }
    let options = RestoreOptions { verify: true, ..RestoreOptions::default() };
    let report = restore(repository, &snapshot, Arc::new(sink), &options, Arc::new(SilentMonitor));
    assert_eq!(report.await.unwrap().problem_count, 0);
}

async fn copy_to(from: &Repository, to: &Repository) -> Result<()> {
    let options = CopyOptions { client: CLIENT, is_dry_run: false, workers: 2, compression: None };
    let mut copier = Copier::open(from, to, options).await?;
    for original in copier.originals().snapshots.clone() {
        let copied = copier.copy(&original, Arc::new(SilentMonitor)).await?;
        assert!(matches!(copied, Copied::Now(_)));
    }
    Ok(())
}

/// The index is lost in part, and written anew.
async fn repair_index(stage: &Stage, calls_max: usize) {
    let indexes = KeyPrefix::parse("meta/index").unwrap();
    for object in stage.target.list_all(&indexes).await.unwrap() {
        stage.target.delete(&object.key).await.unwrap();
    }
    let options = RepairOptions { client: CLIENT, ..RepairOptions::default() };
    let repository = reopened(stage, calls_max).await;
    let report = repair::index(&repository, &options, Arc::new(SilentMonitor)).await.unwrap();
    assert!(report.packs > 0);
}

async fn live(calls_max: usize, has_parity: bool) {
    let mut stage = Stage::of(wide_tree, has_parity).await;
    for _ in 0..4 {
        back_up(&mut stage, calls_max).await;
    }
    let doomed = stage.doom(2);
    let repository = reopened(&stage, calls_max).await;
    forget_now(&repository, &doomed).await.unwrap();
    assert_eq!(forgotten(&repository).await.unwrap().snapshots.len(), 2);
    let options = UndoOptions { client: CLIENT, host: "host".to_owned() };
    let back = undo(&repository, doomed[1], &options).await.unwrap();
    stage.promises.push(Promise { id: back.snapshot, version: 2 });
    // packs are rewritten, and found where they went by whoever comes next
    for _ in 0..2 {
        prune_once(&reopened(&stage, calls_max).await).await.unwrap();
        look_at(&stage, &reopened(&stage, calls_max).await).await;
    }
    back_up(&mut stage, calls_max).await;
    let repository = reopened(&stage, calls_max).await;
    let destination = Stage::of(wide_tree, false).await;
    copy_to(&repository, &reopened(&destination, calls_max).await).await.unwrap();
    let copy = latest(&destination.reopen().await).await;
    assert!(restored(&destination.reopen().await, &copy).await.unwrap() == files(&wide_tree(5)));
    match repository.parity() {
        Some(parity) => {
            parity.scrub(ScrubOptions::default(), &SilentMonitor).await.unwrap();
        }
        None => repair_index(&stage, calls_max).await,
    }
    look_at(&stage, &reopened(&stage, calls_max).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_at_a_time_is_enough() {
    live(1, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_at_a_time_is_enough_with_parity() {
    live(1, true).await;
}

#[tokio::test]
async fn on_one_thread_nobody_waits_for_ever() {
    live(64, false).await;
}
