//! Looking into real snapshots, compared with the tree that was backed up.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::{
    entry::{Content, EntryKind},
    error::ErrorKind,
    target::layers::MetricsLayer,
    testing::{
        MemorySource,
        world::{World, noise, path},
    },
};

/// A tree of many pages: folders with many small files, one large file, one with holes.
fn tree() -> Arc<MemorySource> {
    let source = MemorySource::default();
    for folder in 0..40 {
        for file in 0..40 {
            let name = format!("many/folder-{folder:02}/file-{file:02}");
            source.put(&name, format!("{folder} {file}").into_bytes());
        }
    }
    source.put("large", noise(1, 700_000));
    source.put("many.txt", b"sorts between many and what is in it".to_vec());
    source.put("sparse", sparse());
    source.edit("sparse", |node| node.stat.allocated_bytes = 100_000);
    for (name, kind) in [("empty", EntryKind::Dir), ("device", EntryKind::CharDevice)] {
        source.put(name, Vec::new());
        source.edit(name, |node| node.stat.kind = kind);
    }
    Arc::new(source)
}

fn sparse() -> Vec<u8> {
    let mut content = vec![0; 5 << 20];
    content[1 << 20..][..90_000].copy_from_slice(&noise(2, 90_000));
    content[3 << 20..][..10].copy_from_slice(&noise(3, 10));
    content
}

async fn listed(world: &World, snapshot: &Snapshot, at: &str, recursive: bool) -> Vec<String> {
    let items: Vec<(TreePath, Entry)> =
        list(&world.repository, snapshot, &path(at), recursive).try_collect().await.unwrap();
    items.into_iter().map(|(path, _)| path.display()).collect()
}

async fn content(world: &World, entry: &Entry) -> Vec<u8> {
    let blocks: Vec<Bytes> = read_file(&world.repository, entry).try_collect().await.unwrap();
    blocks.concat()
}

#[tokio::test]
async fn lists_are_ranges_in_table_order() {
    let world = World::new().await;
    let snapshot = world.backup(&tree()).await;
    let root = listed(&world, &snapshot, "", false).await;
    assert_eq!(root, ["device", "empty", "large", "many", "many.txt", "sparse"]);
    let all = listed(&world, &snapshot, "", true).await;
    assert_eq!(all.len() as u64, snapshot.root.counts.entries());
    assert_eq!(all.len(), 6 + 40 + 1600);
    let folder = listed(&world, &snapshot, "many/folder-07", false).await;
    assert_eq!(folder.len(), 41);
    assert_eq!(folder[0], "many/folder-07");
    assert_eq!(folder[1], "many/folder-07/file-00");
    let below = listed(&world, &snapshot, "many", true).await;
    assert_eq!(below.len(), 1 + 40 + 1600);
    assert!(below.iter().all(|path| path == "many" || path.starts_with("many/")));
    assert_eq!(listed(&world, &snapshot, "many", false).await.len(), 41);
    assert_eq!(listed(&world, &snapshot, "empty", true).await, ["empty"]);
    assert_eq!(listed(&world, &snapshot, "device", true).await, ["device"]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let world = World::new().await;
    let snapshot = world.backup(&tree()).await;
    for missing in ["nothing", "many/folder-07/nothing", "zzz/deep", "large/below", "0"] {
        let found = entry_at(&world.repository, &snapshot, &path(missing)).await.unwrap();
        assert_eq!(found, None, "{missing}");
        let result: Result<Vec<_>> =
            list(&world.repository, &snapshot, &path(missing), true).try_collect().await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.object(), Some(missing));
    }
    assert_eq!(entry_at(&world.repository, &snapshot, &path("")).await.unwrap(), None);
    let empty = world.backup(&Arc::default()).await;
    assert_eq!(listed(&world, &empty, "", true).await, Vec::<String>::new());
}

#[tokio::test]
async fn every_entry_is_found_and_files_come_back() {
    let world = World::new().await;
    let snapshot = world.backup(&tree()).await;
    let all: Vec<(TreePath, Entry)> =
        list(&world.repository, &snapshot, &path(""), true).try_collect().await.unwrap();
    for (path, entry) in all.iter().step_by(37) {
        let found = entry_at(&world.repository, &snapshot, path).await.unwrap();
        assert_eq!(found.as_ref(), Some(entry));
    }
    let entries: BTreeMap<String, Entry> =
        all.into_iter().map(|(path, entry)| (path.display(), entry)).collect();
    assert!(content(&world, &entries["large"]).await == noise(1, 700_000));
    assert_eq!(content(&world, &entries["many/folder-03/file-09"]).await, b"3 9");
    assert!(content(&world, &entries["sparse"]).await == sparse());
    assert!(content(&world, &entries["device"]).await.is_empty());
    assert!(content(&world, &entries["many"]).await.is_empty());
}

#[tokio::test]
async fn long_lists_of_pieces_are_read() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    let bytes = noise(4, 9 << 20);
    source.put("huge", bytes.clone());
    let snapshot = world.backup(&source).await;
    let entry = entry_at(&world.repository, &snapshot, &path("huge")).await.unwrap().unwrap();
    assert!(matches!(entry.content, Content::Listed { .. }), "the test wants a long list");
    assert!(content(&world, &entry).await == bytes);
}

async fn differences(
    world: &World,
    before: &Snapshot,
    after: &Snapshot,
) -> Vec<(String, Difference)> {
    let items: Vec<DiffItem> = diff(&world.repository, before, after).try_collect().await.unwrap();
    for item in &items {
        let (has_before, has_after) = (item.before.is_some(), item.after.is_some());
        assert_eq!(has_before, item.difference != Difference::Added);
        assert_eq!(has_after, item.difference != Difference::Removed);
    }
    items.into_iter().map(|item| (item.path.display(), item.difference)).collect()
}

#[tokio::test]
async fn differences_are_exactly_what_was_changed() {
    let world = World::new().await;
    let source = tree();
    let before = world.backup(&source).await;
    source.put("many/folder-20/file-05", b"another content".to_vec());
    source.put("many/folder-20/new", b"new".to_vec());
    source.remove("many/folder-21/file-00");
    (0..40).for_each(|file| source.remove(&format!("many/folder-30/file-{file:02}")));
    source.remove("many/folder-30");
    source.edit("many/folder-31/file-01", |node| {
        (node.stat.mode, node.stat.ctime.seconds) = (0o600, 2_000);
    });
    source.edit("device", |node| (node.stat.device_number, node.stat.ctime.seconds) = (7, 2_000));
    source.put("empty", b"now a file".to_vec());
    let after = world.backup(&source).await;
    let mut expected = vec![
        ("empty".to_owned(), Difference::TypeChanged),
        ("device".to_owned(), Difference::ContentChanged),
        ("many/folder-20/file-05".to_owned(), Difference::ContentChanged),
        ("many/folder-20/new".to_owned(), Difference::Added),
        ("many/folder-21/file-00".to_owned(), Difference::Removed),
        ("many/folder-30".to_owned(), Difference::Removed),
        ("many/folder-31/file-01".to_owned(), Difference::MetadataChanged),
    ];
    expected.extend(
        (0..40).map(|file| (format!("many/folder-30/file-{file:02}"), Difference::Removed)),
    );
    let mut found = differences(&world, &before, &after).await;
    let mut sorted = found.clone();
    sorted.sort_by(|(left, _), (right, _)| {
        let key =
            |text: &str| path(text).split_last().map(|(folder, name)| (folder, name.to_vec()));
        key(left).cmp(&key(right))
    });
    assert_eq!(found, sorted, "in table order");
    found.sort_by(|left, right| left.0.cmp(&right.0));
    expected.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(found, expected);
    assert_eq!(differences(&world, &after, &after).await, []);
    let back = differences(&world, &after, &before).await;
    assert_eq!(back.len(), expected.len());
    assert_eq!(back.iter().filter(|(_, how)| *how == Difference::Removed).count(), 1);
}

#[tokio::test]
async fn only_what_is_asked_for_is_read() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    // names that hardly compress: a table of several segments
    let name = |file: u64| {
        let random = noise(file, 24);
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("folder-{:02}/{digits}", file % 50)
    };
    (0..100_000).for_each(|file| source.put(&name(file), Vec::new()));
    let before = world.backup(&source).await;
    source.put(&name(30), b"no longer empty".to_vec());
    let after = world.backup(&source).await;

    let bytes_of = async |what: &str| {
        let metrics = Arc::new(MetricsLayer::new(world.target.clone()));
        let repository = world.reopen(metrics.clone()).await.repository;
        let opening = metrics.snapshot().get.bytes;
        let count = match what {
            "all" => {
                let all = list(&repository, &before, &path(""), true);
                all.try_fold(0, async |count, _| Ok(count + 1)).await.unwrap()
            }
            "folder" => {
                let folder = list(&repository, &before, &path("folder-17"), false);
                folder.try_fold(0, async |count, _| Ok(count + 1)).await.unwrap()
            }
            "entry" => {
                let at = path(&name(99_999));
                usize::from(entry_at(&repository, &before, &at).await.unwrap().is_some())
            }
            _ => diff(&repository, &before, &after).try_collect::<Vec<_>>().await.unwrap().len(),
        };
        (count, metrics.snapshot().get.bytes - opening)
    };
    let (all, all_bytes) = bytes_of("all").await;
    assert_eq!(all, 100_050);
    for (what, expected) in [("folder", 2001), ("entry", 1), ("diff", 1)] {
        let (count, bytes) = bytes_of(what).await;
        assert_eq!(count, expected, "{what}");
        assert!(bytes < all_bytes / 2, "{what}: {bytes} of {all_bytes}");
    }
}
