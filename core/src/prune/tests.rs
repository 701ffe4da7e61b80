//! Prunes of repositories in memory: what goes, what stays, and what a crash anywhere leaves.

mod beside;
mod crash;
mod twice;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::TryStreamExt;

use super::{PruneOptions, PruneReport, UnusedMax, prune};
use crate::{
    entry::Piece,
    error::{ErrorKind, Result},
    id::SessionId,
    monitor::SilentMonitor,
    repository::{Repository, Snapshot, layout::MetaName, pieces_of},
    target::{KeyPrefix, SharedTarget, TargetExt},
    testing::{
        MemorySource,
        world::{World, noise},
    },
    verify::{VerifyOptions, VerifyReport, verify},
};

fn options() -> PruneOptions {
    PruneOptions {
        unused_max: UnusedMax::Bytes(0),
        fence_after: Duration::from_millis(1),
        ..PruneOptions::default()
    }
}

async fn run(repository: &Repository) -> Result<PruneReport> {
    prune(repository, &options(), Arc::new(SilentMonitor)).await
}

/// Every file of a snapshot with its content.
async fn content_of(repository: &Repository, snapshot: &Snapshot) -> BTreeMap<String, Vec<u8>> {
    let pages: Vec<_> = repository.table(&snapshot.root).pages().try_collect().await.unwrap();
    let mut files = BTreeMap::new();
    for page in pages {
        for (folder, entry) in page.page.entries() {
            let mut content = Vec::new();
            for piece in pieces_of(repository.packs(), entry).await.unwrap() {
                if let Piece::Chunk(chunk) = piece {
                    content.extend_from_slice(&repository.packs().chunk(&chunk).await.unwrap());
                }
            }
            files.insert(folder.join(&entry.name).display(), content);
        }
    }
    files
}

async fn forget(repository: &Repository, snapshot: &Snapshot) {
    repository.put_tombstone(snapshot.id, snapshot.hash, "host").await.unwrap();
}

async fn names(target: &SharedTarget, prefix: &str) -> Vec<String> {
    let prefix = KeyPrefix::parse(prefix).unwrap();
    let mut all: Vec<String> = target
        .list_all(&prefix)
        .await
        .unwrap()
        .into_iter()
        .map(|object| object.key.to_string())
        .collect();
    all.sort();
    all
}

async fn verified(repository: &Repository) -> VerifyReport {
    let options = VerifyOptions { read_data: crate::verify::ReadData::All, ..Default::default() };
    verify(repository, &options, Arc::new(SilentMonitor)).await.unwrap()
}

async fn assert_sound(repository: &Repository) {
    let report = verified(repository).await;
    assert!(report.damage.is_empty(), "{:#?}", report.damage);
}

/// Sources, the snapshots made of them and what these hold.
struct Years {
    world: World,
    source: Arc<MemorySource>,
    made: Vec<(Snapshot, BTreeMap<String, Vec<u8>>)>,
}

impl Years {
    /// A snapshot of 40 files, then `more`, each with some files new, changed and removed.
    async fn of(more: u64) -> Self {
        let source = Arc::new(MemorySource::default());
        for file in 0..40u64 {
            source.put(&format!("d{}/f{file}", file % 4), noise(file, 30_000));
        }
        let mut years = Self { world: World::new().await, source, made: Vec::new() };
        years.back_up().await;
        for year in 1..=more {
            for file in 0..10 {
                let path = format!("d{}/f{}", (file + year) % 4, file * 3 + year);
                years.source.put(&path, noise(1_000 * year + file, 20_000));
            }
            years.back_up().await;
        }
        years
    }

    async fn back_up(&mut self) {
        let snapshot = self.world.backup(&self.source).await;
        let content = content_of(&self.world.repository, &snapshot).await;
        self.made.push((snapshot, content));
    }

    async fn forget(&mut self, index: usize) {
        let (snapshot, _) = self.made.remove(index);
        forget(&self.world.repository, &snapshot).await;
    }

    /// All that was not forgotten comes back, also for one who knows nothing yet.
    async fn assert_all_there(&self) {
        let fresh = self.world.reopen(self.world.target.clone()).await;
        let listed = fresh.repository.snapshots().await.unwrap();
        assert!(listed.damaged.is_empty(), "{:?}", listed.damaged);
        let ids = |list: &[SessionId]| {
            let mut ids = list.to_vec();
            ids.sort();
            ids
        };
        let found: Vec<SessionId> = listed.snapshots.iter().map(|s| s.id).collect();
        let made: Vec<SessionId> = self.made.iter().map(|(s, _)| s.id).collect();
        assert_eq!(ids(&found), ids(&made));
        for (snapshot, content) in &self.made {
            assert_eq!(content_of(&fresh.repository, snapshot).await, *content);
        }
        assert_sound(&fresh.repository).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forgotten_is_nothing_to_do() {
    let years = Years::of(2).await;
    let before = names(&years.world.target, "packs").await;
    let report = run(&years.world.repository).await.unwrap();
    assert_eq!((report.packs_removed, report.packs_rewritten), (0, 0));
    assert_eq!(names(&years.world.target, "packs").await, before);
    assert!(names(&years.world.target, "meta/collector").await.is_empty());
    years.assert_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_forgotten_snapshots_needed_goes() {
    let mut years = Years::of(3).await;
    for _ in 0..3 {
        years.forget(0).await;
    }
    let dry = PruneOptions { is_dry_run: true, ..options() };
    let monitor = Arc::new(SilentMonitor);
    let planned = prune(&years.world.repository, &dry, monitor).await.unwrap();
    assert!(planned.packs_rewritten > 0 && planned.requests_estimated > 0, "{planned:?}");
    assert!(names(&years.world.target, "meta/collector").await.is_empty(), "a plan only");
    let report = run(&years.world.repository).await.unwrap();
    assert_eq!(report.packs_rewritten, planned.packs_rewritten);
    assert!(report.bytes_removed > 0, "{report:?}");
    years.assert_all_there().await;
    let stored: u64 = {
        let prefix = KeyPrefix::parse("packs").unwrap();
        let all = years.world.target.list_all(&prefix).await.unwrap();
        all.iter().map(|object| object.size_bytes).sum()
    };
    let needed: usize = years.made[0].1.values().map(Vec::len).sum();
    assert!(stored < needed as u64 * 5 / 4, "{stored} bytes for {needed}");
    // one idle head is left, and another prune finds nothing to do
    assert_eq!(names(&years.world.target, "meta/collector").await.len(), 1);
    let before = names(&years.world.target, "").await;
    run(&years.world.repository).await.unwrap();
    assert_eq!(names(&years.world.target, "").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_on_from_what_was_rewritten() {
    let mut years = Years::of(3).await;
    for round in 0..4 {
        years.forget(0).await;
        run(&years.world.repository).await.unwrap();
        years.assert_all_there().await;
        let report = years.world.try_backup(&years.source).await.unwrap();
        assert_eq!((report.data_chunks, report.files.changed), (0, 0), "round {round}");
        let list = years.world.repository.snapshots().await.unwrap().snapshots;
        let snapshot = list.into_iter().find(|s| Some(s.id) == report.snapshot).unwrap();
        let content = content_of(&years.world.repository, &snapshot).await;
        assert_eq!(content, years.made.last().unwrap().1);
        years.made.push((snapshot, content));
        years.source.put("d1/again", noise(7_000 + round, 50_000));
        years.back_up().await;
        // what is stored anywhere is found, also by its content alone
        let copy = years.made.last().unwrap().1["d1/again"].clone();
        years.source.put("d2/copy", copy);
        let report = years.world.try_backup(&years.source).await.unwrap();
        assert_eq!(report.data_chunks, 0, "round {round}");
        let list = years.world.repository.snapshots().await.unwrap().snapshots;
        let snapshot = list.into_iter().find(|s| Some(s.id) == report.snapshot).unwrap();
        let content = content_of(&years.world.repository, &snapshot).await;
        years.made.push((snapshot, content));
    }
    years.assert_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_packs_and_index_segments_are_put_together() {
    let mut years = Years::of(0).await;
    for number in 0..110u64 {
        years.source.put(&format!("new/{number}"), noise(90_000 + number, 3_000));
        years.back_up().await;
    }
    let keep = years.made.split_off(100);
    for (snapshot, _) in std::mem::replace(&mut years.made, keep) {
        forget(&years.world.repository, &snapshot).await;
    }
    let before = names(&years.world.target, "packs").await.len();
    run(&years.world.repository).await.unwrap();
    let after = names(&years.world.target, "packs").await.len();
    assert!(after < before / 4, "{after} of {before}");
    let segments = names(&years.world.target, "meta/index").await.len();
    assert!(segments <= 3, "{segments} index segments");
    years.assert_all_there().await;
    let report = years.world.try_backup(&years.source).await.unwrap();
    assert_eq!((report.data_chunks, report.files.changed), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_writer_left_goes_once_it_shows_no_sign_of_life() {
    let mut years = Years::of(1).await;
    let crash = crash::Crash::of(&years.world.target);
    let world = years.world.reopen(crash.target()).await;
    years.source.put("lost", noise(4_242, 3 << 20));
    crash.after_writes(3);
    world.try_backup(&years.source).await.unwrap_err();
    let left = names(&years.world.target, "packs").await.len();
    let report = run(&years.world.repository).await.unwrap();
    assert_eq!(report.sessions_given_up, 1);
    assert!(names(&years.world.target, "packs").await.len() < left);
    assert!(names(&years.world.target, "meta/sessions").await.is_empty());
    years.assert_all_there().await;
    years.back_up().await;
    years.assert_all_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_of_a_killed_writer_whose_packs_were_taken_over() {
    let mut years = Years::of(1).await;
    let crash = crash::Crash::of(&years.world.target);
    let world = years.world.reopen(crash.target()).await;
    years.source.put("large", noise(4_242, 3 << 20));
    crash.after_writes(3);
    world.try_backup(&years.source).await.unwrap_err();
    let report = years.world.try_backup(&years.source).await.unwrap();
    assert!(report.packs_adopted > 0, "{report:?}");
    years.back_up().await;
    run(&years.world.repository).await.unwrap();
    assert_eq!(names(&years.world.target, "meta/sessions").await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_lacks_snapshots_stops_everything() {
    let mut years = Years::of(2).await;
    years.forget(0).await;
    run(&years.world.repository).await.unwrap();
    years.forget(0).await;
    let (snapshot, _) = years.made.last().unwrap();
    let key = crate::repository::layout::key(&MetaName::Commit(snapshot.id).to_string()).unwrap();
    years.world.target.delete(&key).await.unwrap();
    let packs = names(&years.world.target, "packs").await;
    let error = run(&years.world.repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains(&snapshot.id.to_string()), "{error}");
    assert_eq!(names(&years.world.target, "packs").await, packs);
}
