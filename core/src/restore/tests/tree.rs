//! Folders, special entries, hard links, filters, and trees of unusual shape.

use super::*;
use crate::{
    entry::TreePath,
    restore::Filter,
    testing::{sink::SinkFaults, world::path},
};

#[tokio::test]
async fn every_kind_of_entry_comes_back() {
    let source = MemorySource::default();
    source.put("file", b"1".to_vec());
    source.edit("file", |node| {
        node.details.xattrs = vec![(b"user.a".to_vec(), vec![0, 1]), (b"user.b".to_vec(), vec![])];
        node.details.group = Some(b"staff".to_vec());
    });
    source.put_other("link", EntryKind::Symlink, Some("../\u{1}away"));
    for (name, kind) in [
        ("pipe", EntryKind::Fifo),
        ("socket", EntryKind::Socket),
        ("block", EntryKind::BlockDevice),
        ("char", EntryKind::CharDevice),
    ] {
        source.put_other(name, kind, None);
    }
    source.edit("block", |node| node.stat.device_number = 8 << 32 | 1);
    let scene = Scene::of(source).await;
    let options = RestoreOptions { verify: true, ..Default::default() };
    let report = scene.restore(&options).await;
    assert_eq!((report.files_restored, report.others), (1, 5));
    scene.assert_restored();
    let before = scene.sink.see();
    let again = scene.restore(&options).await;
    assert_eq!((again.files_unchanged, again.others), (1, 5));
    // not even made again
    assert_eq!(scene.sink.see(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_that_keep_the_owner_out_come_last() {
    let source = MemorySource::default();
    source.put("a/b/c/file", noise(1, 10));
    source.put("a/b/d/file", noise(2, 10));
    source.put("z/file", noise(3, 10));
    for (folder, mode) in [("a", 0o000), ("a/b", 0o600), ("a/b/c", 0o400), ("z", 0o555)] {
        source.edit(folder, |node| node.stat.mode = mode);
    }
    let scene = Scene::of(source).await;
    scene.sink.fail(SinkFaults { enforces_modes: true, ..SinkFaults::default() });
    scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_folders_get_their_metadata_from_a_second_walk() {
    let source = MemorySource::default();
    for number in 0..20_000 {
        source.put_other(&format!("{}/{number}", number % 7), EntryKind::Dir, None);
    }
    source.edit("3/3", |node| node.stat.mode = 0);
    let scene = Scene::of(source).await;
    scene.sink.fail(SinkFaults { enforces_modes: true, ..SinkFaults::default() });
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    assert_eq!(report.dirs, 20_007);
    scene.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn few_folders_are_open_at_once() {
    let source = MemorySource::default();
    for number in 0..1_000 {
        source.put(&format!("{number}/a/file"), noise(number, 10));
        source.put(&format!("{number}/file"), noise(number, 10));
    }
    let scene = Scene::of(source).await;
    scene.restore(&RestoreOptions::default()).await;
    scene.assert_restored();
    assert!(scene.sink.open_dirs_peak() < 100, "{}", scene.sink.open_dirs_peak());
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_folders_come_back() {
    let source = MemorySource::default();
    let mut folder = String::new();
    for depth in 0..600 {
        // with something on every level after the way down
        source.put(&format!("{folder}z"), noise(depth, 5));
        folder.push_str("deep folder/");
    }
    source.put(&format!("{folder}file"), noise(1_000, 5));
    let scene = Scene::of(source).await;
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    assert_eq!((report.dirs, report.files_verified), (600, 601));
    scene.assert_restored();
    assert!(scene.sink.open_dirs_peak() < 100);
}

fn hard_links(names: &[&str]) -> MemorySource {
    let source = MemorySource::default();
    for name in names {
        source.put(name, noise(1, 50_000));
        source.edit(name, |node| {
            node.stat.inode = 77;
            node.stat.links = names.len() as u64;
            node.stat.mtime = time(1);
            node.stat.ctime = time(1);
        });
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_one_inode_are_linked_again() {
    let source = hard_links(&["a", "b", "folder/c", "folder/below/d"]);
    source.put("other", noise(1, 50_000));
    let scene = Scene::of(source).await;
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    scene.assert_restored();
    let inode = |name: &str| scene.sink.at(name).unwrap().stat.inode;
    assert_eq!([inode("b"), inode("folder/c"), inode("folder/below/d")], [inode("a"); 3]);
    assert_ne!(inode("other"), inode("a"));
    assert_eq!((report.files_restored, report.bytes_restored), (5, 100_000));
    let before = scene.sink.see();
    let again = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((again.files_unchanged, again.files_restored), (5, 0));
    assert_eq!(scene.sink.see(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_names_of_one_inode_are_linked() {
    let names: Vec<String> = (0..10_000).map(|number| format!("{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::of(hard_links(&names)).await;
    let report = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((report.files_restored, report.bytes_restored), (10_000, 50_000));
    assert_eq!(scene.sink.at("00000").unwrap().stat.links, 10_000);
    scene.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_links_cannot_be_made_the_files_are_written() {
    let scene = Scene::of(hard_links(&["a", "b", "c"])).await;
    scene.sink.fail(SinkFaults { refuses_links: true, ..SinkFaults::default() });
    let report = scene.restore(&RestoreOptions::default()).await;
    assert_eq!((report.files_restored, report.bytes_restored), (3, 150_000));
    scene.assert_restored();
}

fn only(suffix: &'static str) -> Option<Filter> {
    let filter: Filter =
        Arc::new(move |path: &TreePath, _| path.as_bytes().ends_with(suffix.as_bytes()));
    Some(filter)
}

#[tokio::test]
async fn a_filter_takes_what_it_accepts_and_the_folders_that_lead_there() {
    let source = MemorySource::default();
    for name in ["a/b/c.txt", "a/b/c.md", "a/x.md", "b/y.md", "z.txt", "q/r/s/t/u.txt"] {
        source.put(name, noise(1, 20));
    }
    source.put_other("empty", EntryKind::Dir, None);
    let scene = Scene::of(source).await;
    let options = RestoreOptions { filter: only(".txt"), verify: true, ..Default::default() };
    let report = scene.restore(&options).await;
    let names: Vec<_> = scene.sink.see().into_keys().map(|path| path.display()).collect();
    let expected =
        ["a", "a/b", "a/b/c.txt", "q", "q/r", "q/r/s", "q/r/s/t", "q/r/s/t/u.txt", "z.txt"];
    assert_eq!(names, expected);
    assert_eq!((report.dirs, report.files_restored, report.files_verified), (6, 3, 3));
    let wanted = scene.source.see();
    for (path, found) in scene.sink.see() {
        assert_eq!(found.stat.mtime, wanted[&path].stat.mtime, "{}", path.display());
        assert_eq!(found.stat.mode, wanted[&path].stat.mode, "{}", path.display());
    }
}

#[tokio::test]
async fn a_filter_sees_whole_paths_in_a_subtree() {
    let scene = Scene::some_files().await;
    let filter: Filter = Arc::new(|path: &TreePath, _| path.as_bytes() == b"folder/below/file-1");
    let options =
        RestoreOptions { subtree: path("folder"), filter: Some(filter), ..Default::default() };
    scene.restore(&options).await;
    let names: Vec<_> = scene.sink.see().into_keys().map(|path| path.display()).collect();
    assert_eq!(names, ["below", "below/file-1"]);
}

#[tokio::test]
async fn metadata_that_cannot_be_set_is_a_problem_of_its_item() {
    let source = MemorySource::default();
    source.put("folder/file", b"1".to_vec());
    source.put("plain", b"2".to_vec());
    for name in ["folder", "folder/file"] {
        source.edit(name, |node| node.details.xattrs = vec![(b"user.a".to_vec(), vec![1])]);
    }
    let scene = Scene::of(source).await;
    scene.sink.fail(SinkFaults { refuses_xattrs: true, ..SinkFaults::default() });
    let options = RestoreOptions { verify: true, ..Default::default() };
    let report = scene.try_restore(&options).await.unwrap();
    let items: Vec<_> = report.problems.iter().map(|problem| problem.item.as_str()).collect();
    assert_eq!(items, ["folder/file", "folder"]);
    assert_eq!((report.files_restored, report.problem_count), (2, 2));
}

#[tokio::test]
async fn attributes_that_are_left_out_on_purpose_are_no_difference() {
    let source = MemorySource::default();
    source.put("file", b"1".to_vec());
    source.edit("file", |node| node.details.xattrs = vec![(b"user.a".to_vec(), vec![1])]);
    let scene = Scene::of(source).await;
    scene.sink.fail(SinkFaults { leaves_out_xattrs: true, ..SinkFaults::default() });
    let report = scene.restore(&RestoreOptions { verify: true, ..Default::default() }).await;
    assert_eq!(report.files_verified, 1);
}
