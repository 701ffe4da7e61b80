//! Content comes back exactly, and costs what it should.

use super::*;
use crate::{
    entry::TreePath,
    error::ErrorKind,
    target::{Operation, layers::RecordLayer},
    testing::{sink::SinkFaults, world::path},
};

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back() {
    let scene = Scene::some_files().await;
    let report = scene.restore(&RestoreOptions { workers: 3, ..Default::default() }).await;
    scene.assert_restored();
    assert_eq!(report.files_restored, 16);
    assert_eq!(report.dirs, 3);
    let size: usize = scene.source.see().values().map(|node| node.content.len()).sum();
    assert_eq!(report.bytes_restored, size as u64);
    assert!(report.bytes_fetched > 4 << 20 && report.bytes_fetched < 6 << 20);
}

#[tokio::test]
async fn everything_comes_back_on_one_thread() {
    let scene = Scene::some_files().await;
    scene.restore(&RestoreOptions { workers: 1, ..Default::default() }).await;
    scene.assert_restored();
}

#[tokio::test]
async fn an_empty_snapshot_restores_to_nothing() {
    let scene = Scene::of(MemorySource::default()).await;
    let report = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((report.files_restored, report.dirs), (0, 0));
    assert!(scene.sink.see().is_empty());
}

#[tokio::test]
async fn no_workers_are_refused() {
    let scene = Scene::of(MemorySource::default()).await;
    let options = RestoreOptions { workers: 0, ..Default::default() };
    assert_eq!(scene.try_restore(&options).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn shared_chunks_are_fetched_once() {
    let source = MemorySource::default();
    for number in 0..20 {
        source.put(&format!("copy-{number}"), noise(1, 300_000));
    }
    let scene = Scene::of(source).await;
    let report = scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
    assert_eq!(report.bytes_restored, 20 * 300_000);
    assert!(report.bytes_fetched < 320_000, "{}", report.bytes_fetched);
}

#[tokio::test]
async fn neighbouring_segments_come_in_few_requests() {
    let source = MemorySource::default();
    for number in 0..1_000 {
        source.put(&format!("{}/{number}", number % 10), noise(number, 3_000));
    }
    let mut scene = Scene::of(source).await;
    let packs = scene.world.try_backup(&scene.source).await.unwrap();
    assert_eq!(packs.packs_written, 0);
    let recorded = Arc::new(RecordLayer::new(scene.world.target.clone()));
    scene.world = scene.world.reopen(recorded.clone()).await;
    recorded.take();
    scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
    // 3 MB in packs of 1 MiB: a directory and one or two reads each, and the table's pages
    assert!(recorded.count(Operation::Get) <= 25, "{:?}", recorded.count(Operation::Get));
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_are_never_written() {
    let source = MemorySource::default();
    let mut content = vec![0; 1 << 20];
    content[8192..9000].fill(7);
    content[500_000..600_000].copy_from_slice(&noise(1, 100_000));
    source.put("sparse", content);
    source.put("hole", vec![0; 1 << 20]);
    for name in ["sparse", "hole"] {
        source.edit(name, |node| node.stat.allocated_bytes = 4096);
    }
    let scene = Scene::of(source).await;
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    scene.assert_restored();
    assert_eq!(report.files_verified, 2);
    assert!(scene.sink.written_bytes() < 120_000, "{}", scene.sink.written_bytes());
    assert!(scene.sink.at("hole").unwrap().extents.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_sparse_file_costs_its_data() {
    let source = MemorySource::default();
    source.put("huge", noise(1, 50_000));
    source.edit("huge", |node| {
        node.stat.size = 1 << 40;
        node.stat.allocated_bytes = 50_000;
    });
    let scene = Scene::of(source).await;
    scene.sink.fail(SinkFaults { available_bytes: Some(1 << 20), ..SinkFaults::default() });
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    let huge = scene.sink.at("huge").unwrap();
    assert_eq!(huge.stat.size, 1 << 40);
    assert!(scene.sink.written_bytes() < 60_000);
    assert_eq!((report.files_restored, report.files_verified), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_listed_pieces_comes_back() {
    let source = MemorySource::default();
    source.put("long", noise(1, 40 << 20));
    source.put("short", noise(2, 10));
    let scene = Scene::of(source).await;
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    scene.assert_restored();
    assert_eq!(report.files_verified, 2);
    // compared piece by piece: one flipped byte costs one chunk
    scene.sink.edit("short", |_, content| content[0] ^= 1);
    let again = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((again.files_restored, again.files_unchanged), (1, 1));
    assert_eq!(again.bytes_unchanged, 40 << 20);
}

#[tokio::test]
async fn a_subtree_lands_in_the_root() {
    let scene = Scene::some_files().await;
    let options = RestoreOptions { subtree: path("folder/below"), ..Default::default() };
    let report = scene.restore(&options).await;
    assert_eq!(report.files_restored, 7);
    let names: Vec<_> = scene.sink.see().into_keys().map(|path| path.display()).collect();
    assert_eq!(names, (0..7).map(|number| format!("file-{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_single_file_lands_under_its_name() {
    let scene = Scene::some_files().await;
    scene.sink.put("other", b"stays");
    let subtree = path("folder/below/file-3");
    let options = RestoreOptions { subtree, delete: true, ..Default::default() };
    let report = scene.restore(&options).await;
    assert_eq!((report.files_restored, report.dirs, report.deleted), (1, 0, 0));
    let names: Vec<_> = scene.sink.see().into_keys().map(|path| path.display()).collect();
    assert_eq!(names, ["file-3", "other"]);
}

#[tokio::test]
async fn what_the_snapshot_lacks_is_not_found() {
    let scene = Scene::some_files().await;
    for name in ["nothing", "folder/nothing", "file-1/below", "zzz/zzz"] {
        let options = RestoreOptions { subtree: path(name), ..Default::default() };
        let error = scene.try_restore(&options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(scene.sink.see().is_empty());
}

#[tokio::test]
async fn progress_reaches_its_totals() {
    let scene = Scene::some_files().await;
    let file_only = RestoreOptions { subtree: path("folder"), ..Default::default() };
    for options in [RestoreOptions::default(), file_only] {
        let watcher = Arc::new(Watcher::default());
        scene.restore_with(&options, watcher.clone()).await.unwrap();
        let told = *watcher.told.lock().unwrap();
        assert_eq!((told.files_done, told.bytes_done), (told.files_total, told.bytes_total));
        assert!(told.files_total > 5 && told.bytes_total > 1_000_000);
    }
    // files that are right already count as well
    let watcher = Arc::new(Watcher::default());
    scene.restore_with(&RestoreOptions::default(), watcher.clone()).await.unwrap();
    let told = *watcher.told.lock().unwrap();
    assert_eq!((told.files_done, told.bytes_done), (told.files_total, told.bytes_total));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_it_and_leaves_no_half_file() {
    let scene = Scene::some_files().await;
    let watcher = Watcher { cancel_after_files: Some(5), ..Default::default() };
    let options = RestoreOptions::default();
    let error = scene.restore_with(&options, Arc::new(watcher)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    let wanted = scene.source.see();
    for (path, found) in scene.sink.see() {
        let wanted = wanted.get(&path).unwrap_or_else(|| panic!("{} is left", path.display()));
        if found.stat.kind == EntryKind::File {
            assert!(found.content() == *wanted.content, "{}", path.display());
        }
    }
    // the same again goes on from there
    scene.restore(&options).await;
    scene.assert_restored();
}

#[tokio::test]
async fn too_little_room_is_told_before_the_first_byte() {
    let scene = Scene::some_files().await;
    scene.sink.fail(SinkFaults { available_bytes: Some(1 << 20), ..SinkFaults::default() });
    let error = scene.try_restore(&RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("1048576 available"), "{error}");
    assert!(error.hint_text().is_some());
    assert!(scene.sink.see().is_empty());
    // a part that fits is restored
    let subtree = path("folder/below/file-5");
    scene.restore(&RestoreOptions { subtree, ..Default::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_sink_ends_it_with_one_error() {
    let scene = Scene::some_files().await;
    scene.sink.fail(SinkFaults { room_bytes: Some(1 << 20), ..SinkFaults::default() });
    let watcher = Arc::new(Watcher::default());
    let options = RestoreOptions::default();
    let error = scene.restore_with(&options, watcher.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("room")), "{error}");
    assert_eq!(watcher.problems.load(Ordering::Relaxed), 0);
    assert!(scene.sink.see().keys().all(|path| scene.source.see().contains_key(path)));
}

#[tokio::test]
async fn reading_back_finds_what_differs() {
    let scene = Scene::some_files().await;
    let options = RestoreOptions { verify: true, ..Default::default() };
    let watcher = Arc::new(Watcher::default());
    let report = scene.restore_with(&options, watcher.clone()).await.unwrap();
    assert_eq!((report.files_verified, report.problem_count), (16, 0));
    assert_eq!(watcher.phases.lock().unwrap().last(), Some(&Phase::Verifying));
    scene.sink.fail(SinkFaults { flips_reads: true, ..SinkFaults::default() });
    let report = scene.try_restore(&options).await.unwrap();
    // all but the empty ones
    assert_eq!((report.files_verified, report.problem_count), (3, 13));
    assert!(report.problems[0].message.contains("content differs"), "{:?}", report.problems[0]);
    assert!(!TreePath::parse(report.problems[0].item.as_bytes()).unwrap().is_root());
}
