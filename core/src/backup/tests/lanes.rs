//! Several repositories in one run: each file is read once, and each lane stands for itself.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::{
    super::{BackupOptions, BackupReport, Lane, backup, backup_to_all},
    latest, new_repository, options, read_all, run,
};
use crate::{
    entry::{EntryKind, Stat, TreePath},
    error::{ErrorKind, Result},
    monitor::{Monitor, Problem, Progress, SilentMonitor},
    repository::{Repository, SnapshotKind},
    target::layers::{FaultEffect, FaultLayer, FaultRule, When},
    testing::{
        MemorySource, stat,
        world::{World, noise},
    },
    verify::{ReadData, VerifyOptions, verify},
};

fn lane(repository: &Repository) -> Lane {
    Lane { repository: repository.clone(), options: options() }
}

async fn both(
    left: &Repository,
    right: &Repository,
    source: &Arc<MemorySource>,
) -> [Result<BackupReport>; 2] {
    let lanes = [lane(left), lane(right)];
    let results = backup_to_all(&lanes, source.clone(), Arc::new(SilentMonitor)).await;
    results.try_into().unwrap()
}

/// Small, large, sparse, empty and linked files.
fn sample() -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 0..200u64 {
        source.put(&format!("many/d{}/f{file}", file % 7), noise(file, 10 + file as usize * 13));
    }
    source.put("large", noise(5, 3 << 20));
    source.put("empty", Vec::new());
    let mut sparse = vec![0; 8 << 20];
    sparse[1 << 20..(1 << 20) + 100_000].copy_from_slice(&noise(3, 100_000));
    source.put("sparse", sparse);
    source.edit("sparse", |node| node.stat.allocated_bytes = 2 << 20);
    for name in ["link/a", "link/b", "other/c"] {
        source.put(name, noise(9, 70_000));
        let stat = Stat { links: 3, ..stat(EntryKind::File, 77, 70_000) };
        source.edit(name, |node| node.stat = stat);
    }
    source.put_other("other/symlink", EntryKind::Symlink, Some("../large"));
    Arc::new(source)
}

async fn assert_holds(repository: &Repository, source: &MemorySource) {
    let all = read_all(repository, &latest(repository).await).await;
    let expected = source.see();
    assert_eq!(all.len(), expected.len());
    for (path, entry, content) in all {
        let node: &crate::testing::MemoryNode = &expected[&path];
        assert!(*node.content == content && node.stat == entry.stat, "{}", path.display());
    }
}

async fn assert_sound(repository: &Repository) {
    let options =
        VerifyOptions { read_data: ReadData::All, workers: 1, ..VerifyOptions::default() };
    let report = verify(repository, &options, Arc::new(SilentMonitor)).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_read_once_for_all() {
    // chunks of other sizes, and another key
    let (left, right) = (new_repository().await.0, World::new().await.repository);
    let source = sample();
    let [a, b] = both(&left, &right, &source).await.map(Result::unwrap);
    let files = source.see().values().filter(|node| node.stat.kind == EntryKind::File).count();
    let opened = source.opened.load(Ordering::Relaxed);
    assert_eq!(opened, files as u64 - 2, "names of one inode count once");
    let read = source.read_bytes.load(Ordering::Relaxed);
    assert_eq!((a.read_bytes, b.read_bytes), (read, read));
    assert_eq!((a.files.new, b.files.new), (files as u64, files as u64));
    assert!(a.snapshot != b.snapshot);
    for repository in [&left, &right] {
        assert_holds(repository, &source).await;
        assert_sound(repository).await;
    }
    let again = both(&left, &right, &source).await.map(Result::unwrap);
    assert!(again.iter().all(|report| report.packs_written == 0 && report.read_bytes == 0));
    assert_eq!(source.opened.load(Ordering::Relaxed), opened);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lane_has_a_parent_of_its_own() {
    let (left, right) = (World::new().await.repository, World::new().await.repository);
    let source = sample();
    run(&left, &source).await;
    source.put("many/d1/f1", noise(1_000, 5_000));
    source.put("new", noise(1_001, 5_000));
    let before = source.read_bytes.load(Ordering::Relaxed);
    let [a, b] = both(&left, &right, &source).await.map(Result::unwrap);
    let read = source.read_bytes.load(Ordering::Relaxed) - before;
    assert_eq!((a.files.new, a.files.changed, a.read_bytes), (1, 1, 10_000));
    assert_eq!((b.files.changed, b.read_bytes), (0, read));
    assert!(a.parent.is_some() && b.parent.is_none());
    for repository in [&left, &right] {
        assert_holds(repository, &source).await;
        assert_sound(repository).await;
    }
}

/// Lanes of one run and runs of one lane must come to the same chunks and tables.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_stores_what_a_run_alone_would() {
    let (left, right) = (World::new().await.repository, World::new().await.repository);
    let source = sample();
    let _ = both(&left, &right, &source).await.map(Result::unwrap);
    for repository in [&left, &right] {
        let full = BackupOptions { kind: SnapshotKind::Full, ..options() };
        let monitor = Arc::new(SilentMonitor);
        let alone = backup(repository, source.clone(), &full, monitor).await.unwrap();
        assert_eq!(alone.data_chunks, 0, "{alone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_may_fail_at_any_call_while_the_other_goes_on() {
    let source = MemorySource::default();
    for file in 0..40u64 {
        source.put(&format!("d{}/f{file}", file % 3), noise(file, 1_000 + file as usize * 4_000));
    }
    let source = Arc::new(source);
    for (when, step) in [(When::Before, 1), (When::After, 3)] {
        for nth in (1..).step_by(step) {
            let (good, bad) = (World::new().await, World::new().await);
            let clock = bad.repository.runtime().clock.clone();
            let faults = Arc::new(FaultLayer::new(bad.target.clone(), clock));
            let failing = bad.reopen(faults.clone()).await;
            faults.add(FaultRule::new(None, FaultEffect::CutOff(when)).nth(nth));
            let [a, b] = both(&failing.repository, &good.repository, &source).await;
            b.unwrap();
            assert_holds(&good.repository, &source).await;
            assert_sound(&good.repository).await;
            if !faults.is_cut_off() {
                a.unwrap();
                assert!(nth > 8, "{nth}");
                break;
            }
            // what comes after the commit does not matter any more
            if let Err(error) = a {
                assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
            }
            let bad = bad.reopen(bad.target.clone()).await;
            run(&bad.repository, &source).await;
            assert_holds(&bad.repository, &source).await;
            assert_sound(&bad.repository).await;
        }
    }
}

/// Notes what it is told.
#[derive(Default)]
struct Listening {
    problems: Mutex<Vec<String>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Monitor for Listening {
    fn advance(&self, delta: Progress) {
        self.files.fetch_add(delta.files_done, Ordering::Relaxed);
        self.bytes.fetch_add(delta.bytes_done, Ordering::Relaxed);
    }
    fn problem(&self, problem: &Problem) {
        self.problems.lock().unwrap().push(problem.item.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_and_progress_are_told_once() {
    let (left, right) = (World::new().await.repository, World::new().await.repository);
    let source = sample();
    run(&left, &source).await;
    source.put("bad", noise(1, 100));
    source.edit("bad", |node| node.is_unreadable = true);
    let monitor = Arc::new(Listening::default());
    let lanes = [lane(&left), lane(&right)];
    let results = backup_to_all(&lanes, source.clone(), monitor.clone()).await;
    for result in results {
        let report = result.unwrap();
        assert_eq!((report.problem_count, report.problems[0].item.as_str()), (1, "/bad"));
    }
    assert_eq!(*monitor.problems.lock().unwrap(), ["/bad"]);
    let nodes = source.see();
    let files = nodes.values().filter(|node| node.stat.kind == EntryKind::File);
    assert_eq!(monitor.files.load(Ordering::Relaxed), files.count() as u64 - 1);
    let bad = TreePath::parse(b"bad").unwrap();
    assert!(!read_all(&left, &latest(&left).await).await.iter().any(|(path, ..)| *path == bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_leaves_no_lane_a_snapshot() {
    struct Cancelled;
    impl Monitor for Cancelled {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let (left, right) = (World::new().await.repository, World::new().await.repository);
    let lanes = [lane(&left), lane(&right)];
    for result in backup_to_all(&lanes, sample(), Arc::new(Cancelled)).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Interrupted);
    }
    for repository in [&left, &right] {
        assert!(repository.snapshots().await.unwrap().snapshots.is_empty());
    }
}
