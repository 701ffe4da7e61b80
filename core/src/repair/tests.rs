//! Damage by hand, repair, and what the next backup brings back.

use std::{collections::BTreeMap, sync::Arc};

use futures::TryStreamExt;

use super::*;
use crate::{
    entry::TreePath,
    error::ErrorKind,
    forget::{Survey, forget},
    look,
    monitor::SilentMonitor,
    prune::{PruneOptions, UnusedMax, prune},
    repository::Snapshot,
    target::{ByteRange, KeyPrefix, ObjectKey, Payload, PutMode, TargetExt},
    testing::{
        MemorySource,
        world::{World, noise},
    },
    verify::{VerifyReport, verify},
};

fn monitor() -> Arc<SilentMonitor> {
    Arc::new(SilentMonitor)
}

fn options(is_dry_run: bool) -> RepairOptions {
    RepairOptions {
        is_dry_run,
        read_data: ReadData::All,
        workers: 2,
        client: ClientId([6; 16]),
        host: "repairer".to_owned(),
        ..RepairOptions::default()
    }
}

async fn names(world: &World, prefix: &str) -> Vec<String> {
    let prefix = KeyPrefix::parse(prefix).unwrap();
    let all = world.target.list_all(&prefix).await.unwrap();
    let mut names: Vec<_> = all.into_iter().map(|object| object.key.to_string()).collect();
    names.sort();
    names
}

async fn delete(world: &World, name: &str) {
    world.target.delete(&ObjectKey::parse(name).unwrap()).await.unwrap();
}

/// Turns over one byte of the object.
async fn flip(world: &World, name: &str, at: impl FnOnce(usize) -> usize) {
    let key = ObjectKey::parse(name).unwrap();
    let mut bytes = world.target.get(&key, ByteRange::Full).await.unwrap().to_vec();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    let payload = Payload::from(bytes::Bytes::from(bytes));
    world.target.put(&key, payload, PutMode::Replace).await.unwrap();
}

/// A view of the same repository with nothing in memory.
async fn anew(world: &World) -> World {
    world.reopen(world.target.clone()).await
}

async fn verified(world: &World) -> VerifyReport {
    let options = VerifyOptions { read_data: ReadData::All, ..VerifyOptions::default() };
    verify(&anew(world).await.repository, &options, monitor()).await.unwrap()
}

/// All files of the snapshot by path; `None` for those that cannot be read.
async fn files(world: &World, snapshot: &Snapshot) -> BTreeMap<String, Option<Vec<u8>>> {
    let world = anew(world).await;
    world.repository.snapshots().await.unwrap();
    let root = TreePath::root();
    let entries: Vec<_> =
        look::list(&world.repository, snapshot, &root, true).try_collect().await.unwrap();
    let mut files = BTreeMap::new();
    for (path, entry) in entries {
        if entry.stat.kind != crate::entry::EntryKind::File {
            continue;
        }
        let blocks: crate::error::Result<Vec<_>> =
            look::read_file(&world.repository, &entry).try_collect().await;
        files.insert(path.display().to_string(), blocks.ok().map(|blocks| blocks.concat()));
    }
    files
}

fn data(files: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 0..files {
        source.put(&format!("data/file-{file:02}"), noise(file, 130_000));
    }
    Arc::new(source)
}

fn content(files: u64) -> BTreeMap<String, Option<Vec<u8>>> {
    (0..files).map(|file| (format!("data/file-{file:02}"), Some(noise(file, 130_000)))).collect()
}

fn lost_of(all: &BTreeMap<String, Option<Vec<u8>>>) -> usize {
    all.values().filter(|content| content.is_none()).count()
}

#[tokio::test]
async fn a_lost_index_is_written_anew_and_used() {
    let world = World::new().await;
    let source = data(12);
    world.backup(&source).await;
    for name in names(&world, "meta/index").await {
        delete(&world, &name).await;
    }
    let before = names(&world, "").await;
    let planned = index(&world.repository, &options(true), monitor()).await.unwrap();
    assert_eq!(before, names(&world, "").await);
    assert_eq!((planned.lost.len(), planned.written.len()), (1, 0));
    let done = index(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!((done.packs, done.chunks), (planned.packs, planned.chunks));
    assert!(done.packs > 1 && done.chunks > 100);
    assert_eq!(done.written, names(&world, "meta/index").await);
    assert_eq!(names(&world, "meta/sessions").await.len(), 1, "the backup's own");

    // all is known again: nothing but a table is stored
    let copy = Arc::new(MemorySource::default());
    for file in 0..12 {
        copy.put(&format!("elsewhere/{file}"), noise(file, 130_000));
    }
    let report = anew(&world).await.try_backup(&copy).await.unwrap();
    assert_eq!(report.data_chunks, 0);
    let again = index(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!((again.packs, again.written.len()), (0, 0));
}

#[tokio::test]
async fn a_damaged_index_segment_is_replaced_by_a_new_one() {
    let world = World::new().await;
    world.backup(&data(4)).await;
    let name = names(&world, "meta/index").await.remove(0);
    flip(&world, &name, |length| length / 2).await;
    let done = index(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!(done.lost, std::slice::from_ref(&name));
    assert_eq!(done.written.len(), 1);
    assert_ne!(done.written[0], name);
    assert_eq!(verified(&world).await.damage, [], "nothing misses the damaged one");
    // what a base index stands for is swept away by a prune, and the rows live on
    let all = PruneOptions { unused_max: UnusedMax::Bytes(0), ..PruneOptions::default() };
    prune(&world.repository, &all, monitor()).await.unwrap();
    let report = anew(&world).await.try_backup(&data(4)).await.unwrap();
    assert_eq!(report.data_chunks, 0);
}

#[tokio::test]
async fn a_lost_pack_is_brought_back_by_the_next_backup() {
    let world = World::new().await;
    let source = data(20);
    let first = world.backup(&source).await;
    let pack = names(&world, "packs").await.remove(0);
    delete(&world, &pack).await;
    assert!(lost_of(&files(&world, &first).await) > 2);

    let planned = packs(&world.repository, &options(true), monitor()).await.unwrap();
    assert_eq!((planned.packs_lost, planned.packs_new, planned.record), (1, 1, None));
    assert_eq!(names(&world, "meta/damage").await, [] as [String; 0]);
    let done = packs(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!(names(&world, "meta/damage").await, [done.record.unwrap()]);
    assert!(done.chunks_lost > 50);
    assert!(done.damage.iter().any(|damage| damage.object == pack && damage.files.len() > 2));
    let again = packs(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!((again.packs_lost, again.packs_new, again.record), (1, 0, None));

    // nothing changed in the source, and still what was lost is read and stored
    let world = anew(&world).await;
    let report = world.try_backup(&source).await.unwrap();
    assert!(report.data_chunks > 50 && report.data_chunks <= done.chunks_lost);
    assert_eq!(files(&world, &first).await, content(20));
    let verified = verified(&world).await;
    assert_eq!(verified.damage, []);
    // and the backup after that has nothing to do
    let third = world.try_backup(&source).await.unwrap();
    assert_eq!((third.data_chunks, third.files.unmodified), (0, 20));
}

#[tokio::test]
async fn what_was_brought_back_stays_when_its_own_snapshot_goes() {
    let world = World::new().await;
    let source = data(20);
    let first = world.backup(&source).await;
    delete(&world, &names(&world, "packs").await.remove(0)).await;
    packs(&world.repository, &options(false), monitor()).await.unwrap();
    let second = world.backup(&source).await;
    let survey = Survey::read(&world.repository).await.unwrap();
    forget(&world.repository, &survey, &[second.id], "host").await.unwrap();
    for unused_max in [UnusedMax::Unlimited, UnusedMax::Bytes(0), UnusedMax::Bytes(0)] {
        let options = PruneOptions { unused_max, ..PruneOptions::default() };
        prune(&anew(&world).await.repository, &options, monitor()).await.unwrap();
        assert_eq!(files(&world, &first).await, content(20));
        assert_eq!(verified(&world).await.damage, []);
    }
    // once nothing needs it any more, it goes as well
    source.put("other", noise(99, 1_000));
    for file in 0..20 {
        source.remove(&format!("data/file-{file:02}"));
    }
    world.backup(&source).await;
    let survey = Survey::read(&world.repository).await.unwrap();
    forget(&world.repository, &survey, &[first.id], "host").await.unwrap();
    let options = PruneOptions { unused_max: UnusedMax::Bytes(0), ..PruneOptions::default() };
    prune(&anew(&world).await.repository, &options, monitor()).await.unwrap();
    assert!(names(&world, "packs").await.len() <= 2);
}

#[tokio::test]
async fn one_damaged_segment_costs_its_chunks_only() {
    let world = World::new().await;
    let source = data(20);
    let first = world.backup(&source).await;
    let pack = names(&world, "packs").await.remove(0);
    flip(&world, &pack, |length| length / 2).await;
    let damaged = lost_of(&files(&world, &first).await);
    assert!((1..20).contains(&damaged));
    // the structure is sound: only reading the pack shows it
    let shallow = RepairOptions { read_data: ReadData::None, ..options(false) };
    let done = packs(&world.repository, &shallow, monitor()).await.unwrap();
    assert_eq!(done.packs_lost, 0);
    let id = crate::repository::layout::pack_of(&ObjectKey::parse(&pack).unwrap()).unwrap();
    let named = RepairOptions { packs: vec![id], ..shallow.clone() };
    let done = packs(&world.repository, &named, monitor()).await.unwrap();
    assert_eq!((done.packs_lost, done.packs_new), (1, 1));
    // what is known to be lost is found again without naming it
    let done = packs(&world.repository, &shallow, monitor()).await.unwrap();
    assert_eq!((done.packs_lost, done.packs_new), (1, 0));
    assert_eq!(lost_of(&files(&world, &first).await), damaged, "nothing is lost by saying so");
    anew(&world).await.backup(&source).await;
    assert_eq!(files(&world, &first).await, content(20));
    assert_eq!(verified(&world).await.damage, []);
}

#[tokio::test]
async fn a_damaged_snapshot_is_saved_without_what_is_lost() {
    let world = World::new().await;
    let source = data(20);
    source.put("elsewhere/untouched", noise(77, 10));
    let first = world.backup(&source).await;
    let pack = names(&world, "packs").await.remove(0);
    flip(&world, &pack, |length| length / 2).await;
    let before = files(&world, &first).await;
    let damaged = lost_of(&before);
    let all = names(&world, "").await;
    let planned = snapshots(&world.repository, &options(true), monitor()).await.unwrap();
    assert_eq!(names(&world, "").await, all);
    assert_eq!(planned.snapshots.len(), 1);
    assert_eq!(planned.snapshots[0].left_out_count as usize, damaged);
    assert_eq!(planned.snapshots[0].became, None);

    let world = anew(&world).await;
    let done = snapshots(&world.repository, &options(false), monitor()).await.unwrap();
    let repaired = &done.snapshots[0];
    assert_eq!((repaired.snapshot, repaired.left_out_count as usize), (first.id, damaged));
    let list = world.repository.snapshots().await.unwrap().snapshots;
    let new = list.iter().find(|one| Some(one.id) == repaired.became).unwrap();
    assert_eq!(new.tags, [REPAIRED_TAG]);
    assert_eq!((new.time, &new.paths, new.original), (first.time, &first.paths, None));
    assert_eq!((new.parent, new.unreadable), (Some(first.id), damaged as u64));
    let readable: BTreeMap<_, _> =
        before.into_iter().filter(|(_, content)| content.is_some()).collect();
    assert_eq!(files(&world, new).await, readable);
    assert!(list.iter().any(|one| one.id == first.id), "the damaged one stays");
    let again = snapshots(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!(again.snapshots[0].became, repaired.became);
    assert!(again.snapshots[0].is_from_before);

    let survey = Survey::read(&world.repository).await.unwrap();
    forget(&world.repository, &survey, &[first.id], "host").await.unwrap();
    assert_eq!(verified(&world).await.damage, []);
    prune(&world.repository, &PruneOptions::default(), monitor()).await.unwrap();
    assert_eq!(files(&world, new).await, readable);
}

#[tokio::test]
async fn a_snapshot_whose_table_is_lost_is_hopeless_until_it_is_stored_again() {
    let world = World::new().await;
    let source = data(3);
    let first = world.backup(&source).await;
    let pack = first.root.chunk.unwrap().pack.id;
    delete(&world, &format!("packs/{pack}")).await;
    let world = anew(&world).await;
    let done = snapshots(&world.repository, &options(false), monitor()).await.unwrap();
    assert!(done.snapshots[0].is_hopeless);
    assert_eq!(done.snapshots[0].became, None);
    world.backup(&source).await;
    // equal content makes equal chunks, so that even the old table may be whole again
    let report = verified(&world).await;
    assert!(report.damage.iter().all(|damage| damage.files.len() <= 1));
}

#[tokio::test]
async fn an_unreadable_commit_is_named_and_can_be_forgotten() {
    let world = World::new().await;
    let source = data(2);
    let first = world.backup(&source).await;
    source.put("more", noise(5, 100));
    world.backup(&source).await;
    flip(&world, &format!("meta/snapshots/{}", first.id), |length| length / 2).await;
    let world = anew(&world).await;
    let refused = prune(&world.repository, &PruneOptions::default(), monitor()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Damaged);
    let done = snapshots(&world.repository, &options(false), monitor()).await.unwrap();
    assert_eq!(done.unreadable.len(), 1);
    assert!(done.unreadable[0].item.ends_with(&first.id.to_string()));
    let survey = Survey::read(&world.repository).await.unwrap();
    assert!(survey.unreadable.contains_key(&first.id));
    let report = forget(&world.repository, &survey, &[first.id], "host").await.unwrap();
    assert_eq!(report.forgotten, [first.id]);
    assert_eq!(verified(&world).await.damage, []);
    prune(&world.repository, &PruneOptions::default(), monitor()).await.unwrap();
}
