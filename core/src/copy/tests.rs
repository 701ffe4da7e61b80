//! Copies between repositories in memory: the same tree, sent once.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::TryStreamExt;

use super::{Copied, Copier, CopyOptions};
use crate::{
    backup::BackupReport,
    entry::{Content, Entry, EntryKind, Piece, Stat, TreePath},
    error::{ErrorKind, Result},
    id::ClientId,
    monitor::{Monitor, Progress, SilentMonitor},
    repository::{Original, Repository, Snapshot, SnapshotKind, pieces_of},
    target::{KeyPrefix, TargetExt, layers::MetricsLayer},
    testing::{
        MemorySource, stat,
        world::{World, noise},
    },
};

fn options() -> CopyOptions {
    let client = ClientId([3; 16]);
    CopyOptions { client, is_dry_run: false, workers: 2, compression: None }
}

async fn copier(from: &World, to: &World) -> Copier {
    Copier::open(&from.repository, &to.repository, options()).await.unwrap()
}

async fn try_copy(from: &World, to: &World, snapshot: &Snapshot) -> Result<Copied> {
    copier(from, to).await.copy(snapshot, Arc::new(SilentMonitor)).await
}

async fn copy(from: &World, to: &World, snapshot: &Snapshot) -> BackupReport {
    match try_copy(from, to, snapshot).await.unwrap() {
        Copied::Now(report) => *report,
        Copied::Before(id) => panic!("already there as {id}"),
    }
}

async fn latest(world: &World) -> Snapshot {
    world.repository.snapshots().await.unwrap().snapshots.pop().unwrap()
}

/// Everything that a restore makes use of: entries without places, content, where the holes are.
async fn read_all(
    repository: &Repository,
    snapshot: &Snapshot,
) -> Vec<(TreePath, Entry, Vec<u8>, Vec<u64>)> {
    let pages: Vec<_> = repository.table(&snapshot.root).pages().try_collect().await.unwrap();
    let mut all = Vec::new();
    for page in pages {
        for (folder, entry) in page.page.entries() {
            let (mut content, mut holes) = (Vec::new(), Vec::new());
            for piece in pieces_of(repository.packs(), entry).await.unwrap() {
                match piece {
                    Piece::Chunk(chunk) => {
                        content.extend_from_slice(&repository.packs().chunk(&chunk).await.unwrap());
                    }
                    Piece::Hole(length) => {
                        holes.extend([content.len() as u64, length]);
                        content.resize(content.len() + length as usize, 0);
                    }
                }
            }
            let bare = Entry { content: Content::default(), ..entry.clone() };
            all.push((folder.join(&entry.name), bare, content, holes));
        }
    }
    all
}

async fn assert_same(from: &World, original: &Snapshot, to: &World, copy: &Snapshot) {
    let left = read_all(&from.repository, original).await;
    let right = read_all(&to.repository, copy).await;
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(&right) {
        assert_eq!((&left.0, &left.1), (&right.0, &right.1));
        assert!(left.2 == right.2 && left.3 == right.3, "{}", left.0.display());
    }
}

/// One of everything.
fn everything() -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 0..300u64 {
        source.put(&format!("many/d{}/f{file}", file % 7), noise(file, 10 + file as usize * 13));
    }
    source.put("large", noise(5, 3 << 20));
    source.put("empty", Vec::new());
    let mut sparse = vec![0; 8 << 20];
    sparse[1 << 20..(1 << 20) + 100_000].copy_from_slice(&noise(3, 100_000));
    sparse[5 << 20] = 1;
    source.put("sparse", sparse);
    source.edit("sparse", |node| node.stat.allocated_bytes = 2 << 20);
    let comb: Vec<u8> = (0..9_000u32)
        .flat_map(|tooth| [tooth.to_le_bytes().repeat(1024), vec![0; 4096]].concat())
        .collect();
    source.put("comb", comb);
    source.edit("comb", |node| node.stat.allocated_bytes = 1);
    for name in ["link/a", "link/b", "other/c"] {
        source.put(name, noise(9, 70_000));
        let stat = Stat { links: 3, ..stat(EntryKind::File, 77, 70_000) };
        source.edit(name, |node| node.stat = stat);
    }
    for (name, kind) in [
        ("other/dir", EntryKind::Dir),
        ("other/fifo", EntryKind::Fifo),
        ("other/socket", EntryKind::Socket),
        ("other/block", EntryKind::BlockDevice),
        ("other/char", EntryKind::CharDevice),
    ] {
        source.put_other(name, kind, None);
        source.edit(name, |node| node.stat.device_number = 5 << 32 | 6);
    }
    source.put_other("other/symlink", EntryKind::Symlink, Some("../large"));
    source.edit("large", |node| {
        node.details.xattrs = vec![(b"user.a".to_vec(), vec![0, 255])];
        (node.stat.mode, node.stat.uid) = (0o4755, 4242);
    });
    Arc::new(source)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_entry_comes_out_as_it_was() {
    let (from, to) = (World::new().await, World::new().await);
    let source = everything();
    // shorter than its stat says: it seems to change whenever it is read
    source.put("torn", noise(1, 50_000));
    source.edit("torn", |node| (node.stat.size, node.stat.allocated_bytes) = (60_000, 60_000));
    source.edit("many/d0/f0", |node| node.is_unreadable = true);
    let original = from.backup(&source).await;
    assert_eq!(original.unreadable, 2);
    let report = copy(&from, &to, &original).await;
    assert_eq!((report.problem_count, report.parent), (0, None));
    let made = latest(&to).await;
    assert_same(&from, &original, &to, &made).await;
    let told = |snapshot: &Snapshot| {
        let Snapshot { time, started, host, user, paths, tags, kind, unreadable, .. } = snapshot;
        let texts = (host.clone(), user.clone(), paths.clone(), tags.clone());
        (*time, *started, texts, *kind, *unreadable, snapshot.root.counts)
    };
    assert_eq!(told(&made), told(&original));
    let repository = from.repository.id();
    assert_eq!(made.original, Some(Original { repository, snapshot: original.id }));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_twice_wherever_it_comes_from() {
    let (a, b, c) = (World::new().await, World::new().await, World::new().await);
    let source = Arc::new(MemorySource::default());
    source.put("file", noise(1, 100_000));
    let original = a.backup(&source).await;
    copy(&a, &b, &original).await;
    assert!(matches!(try_copy(&a, &b, &original).await.unwrap(), Copied::Before(_)));
    let second = latest(&b).await;
    copy(&b, &c, &second).await;
    let third = latest(&c).await;
    assert_eq!(third.original, second.original);
    assert!(matches!(try_copy(&a, &c, &original).await.unwrap(), Copied::Before(_)));
    assert!(matches!(try_copy(&c, &a, &third).await.unwrap(), Copied::Before(_)));
    let error = Copier::open(&a.repository, &a.repository, options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_reads_and_sends_what_has_changed() {
    let (from, to) = (World::new().await, World::new().await);
    let source = everything();
    let first = from.backup(&source).await;
    copy(&from, &to, &first).await;
    source.put("many/d3/f3", noise(77, 20_000));
    source.put("many/new", noise(78, 20_000));
    source.remove("many/d4/f4");
    let second = from.backup(&source).await;
    assert_eq!(second.kind, SnapshotKind::Incremental);
    let report = copy(&from, &to, &second).await;
    assert_eq!(report.read_bytes, 40_000);
    assert!(report.files.unmodified > 295 && report.added_bytes < 400_000, "{report:?}");
    let made = latest(&to).await;
    assert_eq!((made.kind, made.parent), (SnapshotKind::Incremental, report.parent));
    assert_same(&from, &second, &to, &made).await;
}

/// What a stat does not tell: the chunks do.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_trace_is_copied() {
    let (from, to) = (World::new().await, World::new().await);
    let source = everything();
    copy(&from, &to, &from.backup(&source).await).await;
    let content = Arc::new(noise(99, 3 << 20));
    source.edit("large", |node| node.content = content.clone());
    let mut full = crate::backup::BackupOptions {
        kind: SnapshotKind::Full,
        ..copier(&from, &to).await.backup_options(&latest(&from).await, None)
    };
    full.time = None;
    let monitor = Arc::new(SilentMonitor);
    crate::backup::backup(&from.repository, source, &full, monitor).await.unwrap();
    let second = latest(&from).await;
    copy(&from, &to, &second).await;
    assert_same(&from, &second, &to, &latest(&to).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_fetched_once_and_not_chunk_by_chunk() {
    let (from, to) = (World::new().await, World::new().await);
    let source = MemorySource::default();
    for file in 0..3_000u64 {
        source.put(&format!("d{}/f{file}", file % 10), noise(file, 1_000));
    }
    let original = from.backup(&Arc::new(source)).await;
    let metrics = Arc::new(MetricsLayer::new(from.target.clone()));
    let from = from.reopen(metrics.clone()).await;
    copy(&from, &to, &original).await;
    let made = metrics.snapshot();
    assert!(made.get.calls < 60, "{made:?}");
    assert!(made.get.bytes < 8 << 20, "{made:?}");
}

/// Cancels once some content was read.
struct CancelAfter(AtomicU64);

impl Monitor for CancelAfter {
    fn advance(&self, delta: Progress) {
        self.0.fetch_add(delta.bytes_done, Ordering::Relaxed);
    }
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 8 << 20
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_goes_on_where_it_was() {
    let (from, to) = (World::new().await, World::new().await);
    let source = MemorySource::default();
    for file in 0..32 {
        source.put(&format!("f{file:02}"), noise(file, 1 << 20));
    }
    let original = from.backup(&Arc::new(source)).await;
    let monitor = Arc::new(CancelAfter(0.into()));
    let error = copier(&from, &to).await.copy(&original, monitor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(to.repository.snapshots().await.unwrap().snapshots.is_empty());
    let report = copy(&from, &to, &original).await;
    assert!(report.packs_adopted > 0 && report.added_bytes < 30 << 20, "{report:?}");
    assert_same(&from, &original, &to, &latest(&to).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_copied_by_half() {
    let (from, to) = (World::new().await, World::new().await);
    let source = MemorySource::default();
    for file in 0..8 {
        source.put(&format!("f{file:02}"), noise(file, 1 << 20));
    }
    let original = from.backup(&Arc::new(source)).await;
    let packs = KeyPrefix::parse("packs").unwrap();
    let packs: Vec<_> = from.target.list(&packs).try_collect().await.unwrap();
    from.target.delete_many(vec![packs[2].key.clone()], 1).await.unwrap();
    let from = from.reopen(from.target.clone()).await;
    let error = try_copy(&from, &to, &original).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(to.repository.snapshots().await.unwrap().snapshots.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing() {
    let (from, to) = (World::new().await, World::new().await);
    let original = from.backup(&everything()).await;
    let dry = CopyOptions { is_dry_run: true, ..options() };
    let mut copier = Copier::open(&from.repository, &to.repository, dry).await.unwrap();
    let Copied::Now(report) = copier.copy(&original, Arc::new(SilentMonitor)).await.unwrap() else {
        panic!("nothing was there")
    };
    assert!(report.snapshot.is_none() && report.added_bytes > 3 << 20);
    assert!(to.repository.snapshots().await.unwrap().snapshots.is_empty());
    assert_eq!(copier.copy_of(&original), None);
}
