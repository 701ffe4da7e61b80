//! Damaged and hostile repositories: what is not hit comes back, what is hit leaves no trace.

use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::{
    error::ErrorKind,
    repository::layout,
    target::{ByteRange, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode},
};

impl Scene {
    /// Packs that hold content, largest first.
    async fn packs(&self) -> Vec<ObjectKey> {
        let target = &self.world.target;
        let mut found: Vec<ObjectMeta> =
            target.list(&KeyPrefix::parse(layout::PACKS).unwrap()).try_collect().await.unwrap();
        found.sort_by_key(|object| std::cmp::Reverse(object.size_bytes));
        found.into_iter().map(|object| object.key).collect()
    }

    async fn change(&self, key: &ObjectKey, change: impl FnOnce(&mut Vec<u8>)) {
        let target = &self.world.target;
        let mut bytes = target.get(key, ByteRange::Full).await.unwrap().to_vec();
        change(&mut bytes);
        let payload = Payload::from(Bytes::from(bytes));
        target.put(key, payload, PutMode::Replace).await.unwrap();
    }

    /// Files are right or absent; problems name all that are absent.
    fn assert_right_or_reported(&self, report: &RestoreReport) {
        let found = self.sink.see();
        let mut missing = 0;
        for (path, wanted) in self.source.see() {
            match found.get(&path) {
                Some(found) if wanted.stat.kind == EntryKind::File => {
                    assert!(found.content() == *wanted.content, "{}", path.display());
                    assert_eq!(found.stat.mtime, wanted.stat.mtime, "{}", path.display());
                }
                Some(_) => {}
                None => {
                    missing += 1;
                    let name = path.display();
                    assert!(report.problems.iter().any(|problem| problem.item == name), "{name}");
                }
            }
        }
        assert!(found.keys().all(|path| self.source.see().contains_key(path)));
        assert_eq!(report.problem_count, missing);
        let files = self.source.see().values().filter(|n| n.stat.kind == EntryKind::File).count();
        assert_eq!(report.files_restored + missing, files as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_segment_costs_the_files_in_it() {
    let scene = Scene::some_files().await;
    let pack = scene.packs().await.remove(0);
    scene
        .change(&pack, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        })
        .await;
    let report = scene.try_restore(&RestoreOptions::default()).await.unwrap();
    assert!(report.problem_count >= 1);
    assert!(report.problems[0].message.contains(pack.as_str()), "{}", report.problems[0]);
    scene.assert_right_or_reported(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_pack_costs_the_files_in_it() {
    let scene = Scene::some_files().await;
    let pack = scene.packs().await.remove(0);
    scene.world.target.delete(&pack).await.unwrap();
    let report = scene.try_restore(&RestoreOptions::default()).await.unwrap();
    assert!(report.problems.iter().all(|problem| problem.message.contains("is missing")));
    assert!(report.problem_count >= 1 && report.files_restored >= 5);
    scene.assert_right_or_reported(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_pack_costs_the_files_in_it() {
    let scene = Scene::some_files().await;
    let pack = scene.packs().await.remove(0);
    scene.change(&pack, |bytes| bytes.truncate(bytes.len() / 2)).await;
    let report = scene.try_restore(&RestoreOptions::default()).await.unwrap();
    assert!(report.problem_count >= 1);
    scene.assert_right_or_reported(&report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_leaves_what_was_there() {
    let scene = Scene::some_files().await;
    scene.sink.put("file-6", b"the old one");
    for pack in scene.packs().await {
        scene
            .change(&pack, |bytes| {
                let end = bytes.len() * 3 / 4;
                bytes[end] ^= 1;
            })
            .await;
    }
    let Ok(report) = scene.try_restore(&RestoreOptions::default()).await else { return };
    if report.problems.iter().any(|problem| problem.item == "file-6") {
        assert_eq!(scene.sink.at("file-6").unwrap().content(), b"the old one");
    }
    assert!(scene.sink.see().keys().all(|path| scene.source.see().contains_key(path)));
}

#[tokio::test(flavor = "multi_thread")]
async fn further_names_of_a_damaged_file_are_reported() {
    let source = MemorySource::default();
    for name in ["a", "b"] {
        source.put(name, noise(1, 900_000));
        source.edit(name, |node| (node.stat.inode, node.stat.links) = (7, 2));
    }
    let scene = Scene::of(source).await;
    let pack = scene.packs().await.remove(0);
    scene.change(&pack, |bytes| bytes[450_000] ^= 1).await;
    let report = scene.try_restore(&RestoreOptions::default()).await.unwrap();
    let items: Vec<_> = report.problems.iter().map(|problem| problem.item.as_str()).collect();
    assert_eq!(items, ["a", "b"]);
    assert!(scene.sink.see().is_empty());
}

#[tokio::test]
async fn a_target_that_fails_ends_the_run() {
    use crate::target::{
        Operation, TargetErrorKind,
        layers::{FaultLayer, FaultRule},
    };
    let mut scene = Scene::some_files().await;
    let clock = scene.world.repository.runtime().clock.clone();
    let faulty = Arc::new(FaultLayer::new(scene.world.target.clone(), clock));
    scene.world = scene.world.reopen(faulty.clone()).await;
    faulty.add(FaultRule::fail(Operation::Get, TargetErrorKind::Unavailable).from_nth(4));
    let error = scene.try_restore(&RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(scene.sink.see().keys().all(|path| scene.source.see().contains_key(path)));
}
