//! Backups of a source in memory into a target in memory, read back through the table.

mod lanes;
mod requests;

use std::sync::{Arc, atomic::Ordering};

use futures::TryStreamExt;
use zeroize::Zeroizing;

use super::{BackupOptions, BackupReport, Parent, backup};
use crate::{
    crypto::KdfCost,
    entry::{Content, Entry, Piece, TreePath},
    error::{ErrorKind, Result},
    id::ClientId,
    monitor::{Monitor, SilentMonitor},
    repository::{Credential, InitOptions, Repository, Snapshot, SnapshotKind, pieces_of},
    runtime::Runtime,
    target::{KeyPrefix, MemoryTarget, SharedTarget},
    testing::MemorySource,
};

fn password() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(b"secret".to_vec())
}

async fn new_repository() -> (Repository, SharedTarget) {
    let target: SharedTarget = Arc::new(MemoryTarget::new());
    let kdf = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
    let options = InitOptions { kdf, ..InitOptions::default() };
    let runtime = Runtime::system();
    let (repository, _) =
        Repository::init(target.clone(), runtime, &password(), &options).await.unwrap();
    (repository, target)
}

fn options() -> BackupOptions {
    BackupOptions {
        host: "host".to_owned(),
        user: "user".to_owned(),
        tags: Vec::new(),
        time: None,
        kind: SnapshotKind::Incremental,
        parent: Parent::Automatic,
        client: ClientId([1; 16]),
        is_dry_run: false,
        workers: 2,
        compression: None,
    }
}

async fn run(repository: &Repository, source: &Arc<MemorySource>) -> BackupReport {
    backup(repository, source.clone(), &options(), Arc::new(SilentMonitor)).await.unwrap()
}

/// All entries of a snapshot with the content of files.
async fn read_all(repository: &Repository, snapshot: &Snapshot) -> Vec<(TreePath, Entry, Vec<u8>)> {
    let pages: Vec<_> = repository.table(&snapshot.root).pages().try_collect().await.unwrap();
    let mut all = Vec::new();
    for page in pages {
        for (folder, entry) in page.page.entries() {
            let mut content = Vec::new();
            for piece in pieces_of(repository.packs(), entry).await.unwrap() {
                match piece {
                    Piece::Chunk(chunk) => {
                        content.extend_from_slice(&repository.packs().chunk(&chunk).await.unwrap());
                    }
                    Piece::Hole(length) => content.resize(content.len() + length as usize, 0),
                }
            }
            all.push((folder.join(&entry.name), entry.clone(), content));
        }
    }
    all
}

async fn latest(repository: &Repository) -> Snapshot {
    repository.snapshots().await.unwrap().snapshots.pop().unwrap()
}

async fn count(target: &SharedTarget, prefix: &str) -> usize {
    let prefix = KeyPrefix::parse(prefix).unwrap();
    target.list(&prefix).try_collect::<Vec<_>>().await.unwrap().len()
}

/// Bytes that do not compress and do not repeat.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

fn sample() -> Arc<MemorySource> {
    let source = MemorySource::default();
    for folder in 0..20 {
        for file in 0..100 {
            let text = format!("content of {folder} and {file} ").repeat(file + 1);
            source.put(&format!("data/d{folder}/f{file}"), text.into_bytes());
        }
    }
    source.put("data/empty", Vec::new());
    source.put("big", noise(20 << 20, 1));
    Arc::new(source)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_is_read_back() {
    let (repository, target) = new_repository().await;
    let source = sample();
    let report = run(&repository, &source).await;
    assert_eq!((report.files.new, report.dirs.new, report.problem_count), (2002, 21, 0));
    let reopened =
        Repository::open(target, Runtime::system(), &Credential::Password(password())).await;
    let repository = reopened.unwrap();
    let all = read_all(&repository, &latest(&repository).await).await;
    assert_eq!(all.len(), 2023);
    for (path, _, content) in &all {
        let text = path.display();
        if let Some((folder, file)) = text.strip_prefix("data/d").and_then(|t| t.split_once("/f")) {
            let file: usize = file.parse().unwrap();
            assert_eq!(
                *content,
                format!("content of {folder} and {file} ").repeat(file + 1).as_bytes()
            );
        }
    }
    assert_eq!(
        all.iter().find(|(path, ..)| path.display() == "big").unwrap().2,
        noise(20 << 20, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_tree_reads_nothing_and_adds_no_pack() {
    let (repository, target) = new_repository().await;
    let source = sample();
    run(&repository, &source).await;
    let (packs, opened) = (count(&target, "packs").await, source.opened.load(Ordering::Relaxed));
    let report = run(&repository, &source).await;
    assert_eq!(report.files.unmodified, 2002);
    assert_eq!((report.packs_written, report.stored_bytes), (0, 0));
    assert_eq!(count(&target, "packs").await, packs);
    assert_eq!(source.opened.load(Ordering::Relaxed), opened);
    let snapshots = repository.snapshots().await.unwrap().snapshots;
    assert_eq!(snapshots[0].root, snapshots[1].root);
    assert_eq!(snapshots[1].parent, Some(snapshots[0].id));
    // the first run's announcement went with the second run
    assert_eq!(count(&target, "meta/sessions").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_does_not_depend_on_how_it_came_about() {
    let (repository, _) = new_repository().await;
    let source = sample();
    run(&repository, &source).await;
    source.put("data/d3/f50x", b"new".to_vec());
    source.put("data/d7/f1", b"changed".to_vec());
    source.remove("data/d19/f99");
    source.put("zz", b"at the end".to_vec());
    let report = run(&repository, &source).await;
    assert_eq!((report.files.new, report.files.changed), (2, 1));
    let full = BackupOptions { kind: SnapshotKind::Full, ..options() };
    backup(&repository, source, &full, Arc::new(SilentMonitor)).await.unwrap();
    let snapshots = repository.snapshots().await.unwrap().snapshots;
    let (incremental, full) = (&snapshots[1], &snapshots[2]);
    assert_eq!(read_all(&repository, incremental).await, read_all(&repository, full).await);
    assert_eq!(incremental.root.counts, full.root.counts);
    let ids = |root: &crate::format::page::TableRoot| root.chunk.map(|chunk| chunk.len_bytes);
    assert_eq!(ids(&incremental.root), ids(&full.root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_adds_about_one_chunk() {
    let (repository, _) = new_repository().await;
    let source = sample();
    run(&repository, &source).await;
    let mut big = noise(20 << 20, 1);
    big[10 << 20] ^= 1;
    source.put("big", big);
    let report = run(&repository, &source).await;
    assert!(report.data_chunks <= 2, "{report:?}");
    assert!(report.stored_bytes < 5 << 20, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_workers_find_at_the_same_time_is_stored_once() {
    for round in 0..8 {
        let (repository, _) = new_repository().await;
        let source = MemorySource::default();
        for file in 0..4 {
            source.put(&format!("large/{file}"), noise(3_000_000, round));
            source.put(&format!("small/{file}"), noise(60_000, 100 + round));
        }
        let options = BackupOptions { workers: 4, ..options() };
        let monitor = Arc::new(SilentMonitor);
        let report = backup(&repository, Arc::new(source), &options, monitor).await.unwrap();
        assert_eq!(report.total_bytes, 12_240_000);
        assert!(report.added_bytes < 3_070_000, "round {round}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_files_are_listed_and_the_rest_is_saved() {
    let (repository, _) = new_repository().await;
    let source = sample();
    source.edit("data/d1/f1", |node| node.is_unreadable = true);
    let report = run(&repository, &source).await;
    assert_eq!(report.problem_count, 1);
    assert_eq!(report.problems[0].item, "/data/d1/f1");
    let snapshot = latest(&repository).await;
    assert_eq!((snapshot.unreadable, snapshot.root.counts.files), (1, 2001));
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_stay_holes_and_long_lists_are_listed() {
    let (repository, _) = new_repository().await;
    let source = MemorySource::default();
    let mut sparse = vec![0; 64 << 20];
    sparse[10 << 20] = 1;
    sparse[40 << 20..41 << 20].copy_from_slice(&noise(1 << 20, 3));
    let allocated = 2 << 20;
    source.put("sparse", sparse.clone());
    source.edit("sparse", |node| node.stat.allocated_bytes = allocated);
    let mut comb = Vec::new();
    for tooth in 0..9_000u32 {
        comb.extend_from_slice(&tooth.to_le_bytes().repeat(1024));
        comb.resize(comb.len() + 4096, 0);
    }
    source.put("comb", comb.clone());
    source.edit("comb", |node| node.stat.allocated_bytes = 1);
    let source = Arc::new(source);
    let report = run(&repository, &source).await;
    assert!(report.read_bytes < 40 << 20);
    let all = read_all(&repository, &latest(&repository).await).await;
    assert!(all[0].2 == comb && matches!(all[0].1.content, Content::Listed { .. }));
    assert!(all[1].2 == sparse);
    let again = run(&repository, &source).await;
    assert_eq!((again.packs_written, again.read_bytes), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_are_read_once() {
    let (repository, _) = new_repository().await;
    let source = MemorySource::default();
    for name in ["a", "b", "c/d"] {
        source.put(name, noise(300_000, 9));
        source.edit(name, |node| (node.stat.inode, node.stat.links) = (77, 3));
    }
    let source = Arc::new(source);
    run(&repository, &source).await;
    assert_eq!(source.opened.load(Ordering::Relaxed), 1);
    let all = read_all(&repository, &latest(&repository).await).await;
    assert_eq!(all.iter().filter(|(.., content)| *content == noise(300_000, 9)).count(), 3);
}

/// Cancels once some content was read.
struct CancelAfter(std::sync::atomic::AtomicU64);

impl Monitor for CancelAfter {
    fn advance(&self, delta: crate::monitor::Progress) {
        self.0.fetch_add(delta.bytes_done, Ordering::Relaxed);
    }
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 40 << 20
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_run_stored_is_not_sent_again() {
    let (repository, target) = new_repository().await;
    let source = MemorySource::default();
    for file in 0..40 {
        source.put(&format!("f{file:02}"), noise(2 << 20, file));
    }
    let source = Arc::new(source);
    let monitor = Arc::new(CancelAfter(0.into()));
    let error = backup(&repository, source.clone(), &options(), monitor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let left = count(&target, "packs").await;
    assert!(left >= 1, "{left}");
    assert_eq!(repository.snapshots().await.unwrap().snapshots.len(), 0);
    let report = run(&repository, &source).await;
    assert_eq!(report.packs_adopted, left as u64);
    assert!(report.added_bytes < (80 << 20) - left as u64 * (14 << 20), "{report:?}");
    let all = read_all(&repository, &latest(&repository).await).await;
    assert!(all.iter().enumerate().all(|(n, (.., content))| *content == noise(2 << 20, n as u64)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing() -> Result<()> {
    let (repository, target) = new_repository().await;
    let before = count(&target, "").await;
    let dry = BackupOptions { is_dry_run: true, ..options() };
    let report = backup(&repository, sample(), &dry, Arc::new(SilentMonitor)).await?;
    assert_eq!((report.snapshot, report.files.new), (None, 2002));
    assert!(report.added_bytes > 20 << 20);
    assert_eq!(count(&target, "").await, before);
    Ok(())
}
