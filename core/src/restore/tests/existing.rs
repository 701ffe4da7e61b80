//! Restoring into a tree where something is already.

use super::*;
use crate::{
    entry::TreePath,
    restore::{Filter, Overwrite},
    testing::{sink::SinkFaults, world::path},
};

const ALL: [Overwrite; 4] =
    [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_right_is_neither_fetched_nor_written() {
    let scene = Scene::some_files().await;
    scene.restore(&RestoreOptions::default()).await;
    let written = scene.sink.written_bytes();
    let again = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((again.files_restored, again.files_unchanged), (0, 16));
    assert_eq!((again.bytes_fetched, scene.sink.written_bytes()), (0, written));
    scene.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_costs_its_chunk() {
    let scene = Scene::some_files().await;
    scene.restore(&RestoreOptions::default()).await;
    flatten(&scene, "file-6");
    scene.sink.edit("file-6", |_, content| content[1_000_000] ^= 1);
    let again = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((again.files_restored, again.files_unchanged), (1, 15));
    assert!(again.bytes_fetched < 2 << 20, "{}", again.bytes_fetched);
    scene.assert_restored();
}

/// Makes one extent of a file's content, so that it can be edited.
fn flatten(scene: &Scene, path: &str) {
    let seen = scene.sink.at(path).unwrap();
    scene.sink.put(path, &seen.content());
    scene.sink.edit(path, |stat, _| {
        *stat = crate::entry::Stat { inode: stat.inode, ..seen.stat };
    });
}

#[tokio::test]
async fn longer_and_shorter_files_are_put_right() {
    let scene = Scene::some_files().await;
    let whole = scene.source.see()[&path("file-5")].content.clone();
    scene.sink.put("file-5", &[&whole[..], b"more"].concat());
    scene.sink.put("file-4", b"");
    scene.sink.put("file-0", b"not empty");
    scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
}

#[tokio::test]
async fn metadata_alone_is_put_right() {
    let scene = Scene::some_files().await;
    scene.restore(&RestoreOptions::default()).await;
    flatten(&scene, "file-3");
    scene.sink.edit("file-3", |stat, _| stat.mode = 0o777);
    let again = scene.restore(&RestoreOptions::default()).await;
    assert_eq!(again.files_restored, 0);
    scene.assert_restored();
}

#[tokio::test]
async fn overwrite_is_obeyed() {
    for (seconds, restored) in [(1_000, [1, 1, 0, 0]), (10, [1, 1, 1, 0]), (5_000, [1, 1, 0, 0])] {
        for (overwrite, expected) in ALL.into_iter().zip(restored) {
            let source = MemorySource::default();
            source.put("file", b"from the snapshot".to_vec());
            source.edit("file", |node| node.stat.mtime = time(1_000));
            let scene = Scene::of(source).await;
            scene.sink.put("file", b"from elsewhere");
            scene.sink.edit("file", |stat, _| stat.mtime = time(seconds));
            let report = scene.restore(&RestoreOptions { overwrite, ..Default::default() }).await;
            let found = (report.files_restored, report.files_skipped);
            assert_eq!(found, (expected, 1 - expected), "{overwrite:?} {seconds}");
        }
    }
    // same size and time
    let source = MemorySource::default();
    source.put("file", b"one".to_vec());
    source.edit("file", |node| node.stat.mtime = time(5));
    let scene = Scene::of(source).await;
    scene.sink.put("file", b"two");
    scene.sink.edit("file", |stat, _| stat.mtime = time(5));
    let overwrite = Overwrite::IfChanged;
    let report = scene.restore(&RestoreOptions { overwrite, ..Default::default() }).await;
    assert_eq!(report.files_skipped, 1);
    assert_eq!(scene.sink.at("file").unwrap().content(), b"two");
}

#[tokio::test]
async fn folders_that_are_left_alone_keep_their_metadata() {
    let source = MemorySource::default();
    source.put("old/file", b"1".to_vec());
    source.put("new/file", b"2".to_vec());
    let scene = Scene::of(source).await;
    scene.sink.put("old/other", b"3");
    let overwrite = Overwrite::Never;
    scene.restore(&RestoreOptions { overwrite, ..Default::default() }).await;
    let wanted = scene.source.see();
    let modes = ["old", "new"].map(|name| scene.sink.at(name).unwrap().stat.mode);
    assert_eq!(modes, [0o700, wanted[&path("new")].stat.mode]);
    assert_eq!(scene.sink.at("old/file").unwrap().content(), b"1");
}

#[tokio::test]
async fn things_of_another_kind_are_replaced() {
    let source = MemorySource::default();
    source.put("folder/file", b"1".to_vec());
    source.put("file", b"2".to_vec());
    source.put_other("link", EntryKind::Symlink, Some("target"));
    let scene = Scene::of(source).await;
    scene.sink.put("folder", b"a file where a folder is to be");
    scene.sink.put_link("file", "elsewhere");
    scene.sink.put_link("link", "another target");
    scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
}

#[tokio::test]
async fn a_link_in_place_of_a_folder_is_never_followed() {
    for overwrite in ALL {
        let source = MemorySource::default();
        source.put("folder/file", b"1".to_vec());
        let scene = Scene::of(source).await;
        scene.sink.put("elsewhere/file", b"precious");
        scene.sink.put_link("folder", "elsewhere");
        scene.sink.edit("folder", |stat, _| stat.mtime = time(5_000));
        let options = RestoreOptions { overwrite, ..Default::default() };
        let report = scene.try_restore(&options).await.unwrap();
        assert_eq!(scene.sink.at("elsewhere/file").unwrap().content(), b"precious");
        let is_replaced = matches!(overwrite, Overwrite::Always | Overwrite::IfChanged);
        assert_eq!(report.problem_count, u64::from(!is_replaced), "{overwrite:?}");
        assert_eq!(scene.sink.at("folder/file").is_some(), is_replaced, "{overwrite:?}");
    }
}

#[tokio::test]
async fn a_folder_in_the_way_goes_only_with_delete() {
    let source = MemorySource::default();
    source.put("a", b"1".to_vec());
    source.put("b", b"2".to_vec());
    let scene = Scene::of(source).await;
    scene.sink.put("a/precious", b"3");
    let report = scene.try_restore(&RestoreOptions::default()).await.unwrap();
    assert_eq!((report.problem_count, report.files_restored), (1, 1));
    assert_eq!(report.problems[0].item, "a");
    assert!(scene.sink.at("a/precious").is_some());
    scene.restore(&RestoreOptions { delete: true, ..Default::default() }).await;
    scene.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_removes_what_the_snapshot_lacks() {
    let scene = Scene::some_files().await;
    scene.restore(&RestoreOptions::default()).await;
    for extra in ["extra", "extras/a/b", "folder/extra", "folder/empty/extra", "folder/z/z"] {
        scene.sink.put(extra, b"extra");
    }
    scene.sink.put("folder/below/file-1", b"changed");
    let report = scene.restore(&RestoreOptions { delete: true, ..Default::default() }).await;
    assert_eq!((report.deleted, report.files_restored), (5, 1));
    scene.assert_restored();
}

#[tokio::test]
async fn delete_stays_within_the_subtree() {
    let scene = Scene::some_files().await;
    scene.sink.put("extra", b"goes");
    let options =
        RestoreOptions { subtree: path("folder/empty"), delete: true, ..Default::default() };
    let report = scene.restore(&options).await;
    assert_eq!(report.deleted, 1);
    assert!(scene.sink.see().is_empty());
}

#[tokio::test]
async fn delete_spares_what_the_filter_excludes() {
    let scene = Scene::some_files().await;
    for extra in ["keep.log", "x/keep.log", "x/goes", "y/goes", "folder/keep.log"] {
        scene.sink.put(extra, b"extra");
    }
    let filter: Filter = Arc::new(|path: &TreePath, _| !path.as_bytes().ends_with(b".log"));
    let options = RestoreOptions { filter: Some(filter), delete: true, ..Default::default() };
    let report = scene.restore(&options).await;
    assert_eq!(report.deleted, 3);
    for (name, is_there) in [
        ("keep.log", true),
        ("x/keep.log", true),
        ("folder/keep.log", true),
        ("x/goes", false),
        ("y", false),
    ] {
        assert_eq!(scene.sink.at(name).is_some(), is_there, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_tells_the_truth() {
    let scene = Scene::some_files().await;
    scene.sink.put("extra", b"extra");
    scene.sink.put("file-1", b"other");
    scene
        .sink
        .put("folder/below/file-2", &scene.source.see()[&path("folder/below/file-2")].content);
    scene.sink.put_link("folder/below/file-3", "x");
    let before = scene.sink.see();
    let options = RestoreOptions { delete: true, ..Default::default() };
    let dry = RestoreOptions { is_dry_run: true, verify: true, ..options.clone() };
    let planned = scene.restore(&dry).await;
    assert_eq!(scene.sink.see(), before);
    let done = scene.restore(&options).await;
    scene.assert_restored();
    let figures = |report: &RestoreReport| {
        [
            report.files_restored,
            report.files_unchanged,
            report.dirs,
            report.others,
            report.deleted,
            report.bytes_restored,
            report.bytes_unchanged,
        ]
    };
    assert_eq!(figures(&planned), figures(&done));
    assert_eq!((planned.bytes_fetched, planned.files_verified), (0, 0));
}

#[tokio::test]
async fn a_dry_run_does_not_make_the_root() {
    let scene = Scene::some_files().await;
    scene.sink.fail(SinkFaults { is_absent: true, ..SinkFaults::default() });
    let filter: Filter = Arc::new(|path: &TreePath, _| path.as_bytes().ends_with(b"1"));
    for filter in [None, Some(filter)] {
        let is_filtered = filter.is_some();
        let options =
            RestoreOptions { is_dry_run: true, delete: true, filter, ..Default::default() };
        let report = scene.restore(&options).await;
        assert_eq!(report.files_restored, if is_filtered { 2 } else { 16 });
    }
}
