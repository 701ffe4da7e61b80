//! A damage matrix: every kind of object, every kind of harm. Harm is found and the object named,
//! what needs it is listed, and nothing panics.

mod forged;
mod scratch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::{
    entry::{Content, Entry, Piece},
    format::{object::ObjectType, record, session::SessionRecord},
    id::ClientId,
    look::entry_at,
    monitor::SilentMonitor,
    runtime::Timestamp,
    target::{
        KeyPrefix, ObjectKey, Operation, Payload, PutMode, TargetErrorKind,
        layers::{FaultLayer, FaultRule, KeyPattern},
    },
    testing::{
        MemorySource,
        world::{World, noise, path},
    },
};

/// All objects of a target by key.
type Objects = BTreeMap<String, Bytes>;

async fn objects(world: &World) -> Objects {
    let listed: Vec<ObjectMeta> = world.target.list(&KeyPrefix::all()).try_collect().await.unwrap();
    let mut objects = Objects::new();
    for object in listed {
        let content = world.target.get(&object.key, ByteRange::Full).await.unwrap();
        objects.insert(object.key.to_string(), content);
    }
    objects
}

async fn put(world: &World, key: &str, content: impl Into<Bytes>) {
    let payload = Payload::from(content.into());
    let key = ObjectKey::parse(key).unwrap();
    world.target.put(&key, payload, PutMode::Replace).await.unwrap();
}

async fn delete(world: &World, key: &str) {
    world.target.delete(&ObjectKey::parse(key).unwrap()).await.unwrap();
}

async fn verify_with(world: &World, read_data: ReadData) -> VerifyReport {
    let options = VerifyOptions { read_data, workers: 2, ..VerifyOptions::default() };
    verify(&world.repository, &options, Arc::new(SilentMonitor)).await.unwrap()
}

/// Puts `content` in the place of an object, verifies, and puts the object back.
async fn damage_by(world: &World, key: &str, content: Vec<u8>, read: ReadData) -> Vec<Damage> {
    let before = world.target.get(&ObjectKey::parse(key).unwrap(), ByteRange::Full).await.unwrap();
    put(world, key, content).await;
    let report = verify_with(world, read).await;
    put(world, key, before).await;
    report.damage
}

fn names(damage: &[Damage], key: &str) -> bool {
    damage.iter().any(|damage| damage.object == key)
}

fn flipped(content: &[u8], bit: usize) -> Vec<u8> {
    let mut content = content.to_vec();
    content[bit / 8] ^= 1 << (bit % 8);
    content
}

/// A few small files in two snapshots: two packs, two index segments, two commits; and the
/// announcement of a session that was interrupted.
async fn small_world() -> World {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    source.put("folder/one", b"one".to_vec());
    source.put("folder/two", noise(2, 300));
    world.backup(&source).await;
    source.put("three", b"three".to_vec());
    world.backup(&source).await;
    announce(&world, SessionId([0x77; 16])).await;
    announce(&world, SessionId([0x78; 16])).await;
    world
}

async fn announce(world: &World, session: SessionId) {
    let host = "elsewhere".to_owned();
    let content =
        SessionRecord { session, client: ClientId([5; 16]), started: Timestamp(1), host, beat: 0 };
    let name = format!("meta/sessions/{session}");
    let randomness = &*world.repository.runtime().randomness;
    let keys = world.repository.keys();
    let sealed = record::seal(keys, ObjectType::Session, &name, &content.encode(), randomness);
    put(world, &name, sealed.unwrap()).await;
}

/// Several packs of 1 MiB, and a later snapshot that shares most of them.
async fn large_world() -> (World, Arc<MemorySource>) {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    for file in 0..30 {
        source.put(&format!("data/file-{file:02}"), noise(file, 130_000));
        source.put(&format!("text/file-{file:02}"), vec![b'a' + file as u8; 50_000]);
    }
    world.backup(&source).await;
    source.put("data/file-07", noise(1007, 20_000));
    world.backup(&source).await;
    (world, source)
}

#[tokio::test]
async fn nothing_is_wrong_with_what_was_written() {
    let (world, _) = large_world().await;
    let stored = objects(&world).await;
    let is_pack = |key: &&String| key.starts_with("packs/");
    let packs = stored.keys().filter(is_pack).count() as u64;
    assert!(packs > 4);
    let entries = [30 + 30 + 2, 30 + 30 + 2].iter().sum::<u64>();
    for read in [ReadData::None, ReadData::Percent(40.0), ReadData::All] {
        let report = verify_with(&world, read).await;
        assert_eq!(report.damage, []);
        assert_eq!((report.snapshots, report.entries, report.packs), (2, entries, packs));
        assert_eq!(report.objects, stored.len() as u64 - packs);
        assert_eq!(report.unreferenced, 0);
        let read_packs = match read {
            ReadData::None => 0,
            ReadData::Percent(_) => (packs * 2).div_ceil(5),
            ReadData::All => packs,
        };
        assert_eq!(report.packs_read, read_packs);
        if read == ReadData::All {
            let total: usize = stored.values().map(Bytes::len).sum();
            assert!(report.bytes_read >= total as u64);
        }
    }
}

#[tokio::test]
async fn an_empty_repository_and_an_empty_snapshot_are_fine() {
    let world = World::new().await;
    assert_eq!(verify_with(&world, ReadData::All).await.damage, []);
    world.backup(&Arc::default()).await;
    let report = verify_with(&world, ReadData::Percent(1.0)).await;
    assert_eq!((report.damage, report.snapshots, report.entries), (vec![], 1, 0));
}

/// The first object of each kind, by the folder it lies in.
fn one_of_each_kind(objects: &Objects) -> Objects {
    let kind = |key: &str| key.trim_start_matches("meta/").split('/').next().map(str::to_owned);
    let mut kinds = BTreeMap::new();
    for (key, content) in objects {
        kinds.entry(kind(key)).or_insert_with(|| (key.clone(), content.clone()));
    }
    assert_eq!(kinds.len(), 6, "{:?}", kinds.keys());
    kinds.into_values().collect()
}

/// Flips bits of `objects` one at a time, each `step`th; how many.
async fn flip_bits(world: &World, objects: Objects, step: impl Fn(&str) -> usize) -> u64 {
    let mut flips = 0;
    for (key, content) in objects {
        for bit in (0..content.len() * 8).step_by(step(&key)) {
            let damage = damage_by(world, &key, flipped(&content, bit), ReadData::All).await;
            assert!(names(&damage, &key), "bit {bit} of {key}: {damage:?}");
            flips += 1;
        }
    }
    flips
}

#[tokio::test]
async fn every_flipped_bit_of_a_small_object_is_found_and_named() {
    let world = small_world().await;
    let objects = one_of_each_kind(&objects(&world).await);
    let step = |key: &str| if key.starts_with("packs/") { 61 } else { 1 };
    assert!(flip_bits(&world, objects, step).await > 10_000);
}

#[tokio::test]
#[ignore = "takes minutes: every bit of every object, packs included"]
async fn every_flipped_bit_is_found_and_named() {
    let (mut flips, mut round) = (0, 0);
    while flips < 100_000 {
        let world = small_world().await;
        flips += flip_bits(&world, objects(&world).await, |_| 1).await;
        round += 1;
    }
    println!("{flips} flipped bits in {round} repositories, all found and named");
}

#[tokio::test]
async fn flipped_bits_of_large_packs_are_found_and_named() {
    let (world, _) = large_world().await;
    let stored = objects(&world).await;
    for (key, content) in stored.iter().filter(|(key, _)| key.starts_with("packs/")) {
        for part in 0..4 {
            let bit = (content.len() * 8 - 1) / 3 * part;
            let damage = damage_by(&world, key, flipped(content, bit), ReadData::All).await;
            assert!(names(&damage, key), "bit {bit} of {key}: {damage:?}");
            assert_eq!(damage.len(), 1, "only that: {damage:?}");
        }
    }
}

#[tokio::test]
async fn every_other_length_is_found_and_named() {
    let world = small_world().await;
    for (key, content) in one_of_each_kind(&objects(&world).await) {
        let step = if key.starts_with("packs/") { 7 } else { 1 };
        // without reading data: sizes and directories tell
        for length in (0..content.len()).step_by(step) {
            let damage = damage_by(&world, &key, content[..length].to_vec(), ReadData::None).await;
            assert!(names(&damage, &key), "{length} bytes of {key}: {damage:?}");
        }
        for more in [&[0][..], &[0; 4], &[1; 100]] {
            let longer = [&content[..], more].concat();
            let damage = damage_by(&world, &key, longer, ReadData::None).await;
            assert!(names(&damage, &key), "{key} and {} bytes: {damage:?}", more.len());
        }
    }
}

#[tokio::test]
async fn missing_objects_are_found_and_named() {
    let world = small_world().await;
    let stored = objects(&world).await;
    let mut unnoticed = Vec::new();
    for (key, content) in &stored {
        delete(&world, key).await;
        let report = verify_with(&world, ReadData::All).await;
        put(&world, key, content.clone()).await;
        if !names(&report.damage, key) {
            unnoticed.push(key.as_str());
            assert_eq!(report.damage, [], "{key}");
        }
    }
    // Announcements are removed by later runs, and nobody counts slots. The newest commit of a
    // client cannot be told from one that never came: what a client remembers tells.
    let kinds = |kind: &str| unnoticed.iter().filter(|key| key.starts_with(kind)).count();
    assert_eq!((kinds("meta/sessions/"), kinds("meta/keys/")), (3, 2));
    assert_eq!((kinds("meta/snapshots/"), unnoticed.len()), (1, 6), "{unnoticed:#?}");
    for slot in stored.keys().filter(|key| key.starts_with("meta/keys/")) {
        delete(&world, slot).await;
    }
    assert!(names(&verify_with(&world, ReadData::None).await.damage, "meta/keys"));
}

#[tokio::test]
async fn exchanged_objects_are_found_and_named() {
    let world = small_world().await;
    let stored = objects(&world).await;
    for kind in ["packs/", "meta/index/", "meta/snapshots/", "meta/sessions/"] {
        let same: Vec<(&String, &Bytes)> =
            stored.iter().filter(|(key, _)| key.starts_with(kind)).collect();
        let [(first, one), (second, two), ..] = same[..] else { panic!("two of {kind}") };
        put(&world, first, two.clone()).await;
        put(&world, second, one.clone()).await;
        let report = verify_with(&world, ReadData::None).await;
        for (key, content) in &stored {
            put(&world, key, content.clone()).await;
        }
        assert!(names(&report.damage, first) && names(&report.damage, second), "{report:?}");
    }
    // of another kind: any object in the place of any other
    let kinds = one_of_each_kind(&stored);
    for (key, own) in &kinds {
        for content in kinds.values().filter(|content| *content != own) {
            let damage = damage_by(&world, key, content.to_vec(), ReadData::None).await;
            assert!(names(&damage, key), "{key}: {damage:?}");
        }
    }
    assert_eq!(verify_with(&world, ReadData::All).await.damage, []);
}

#[tokio::test]
async fn objects_of_another_repository_are_found_and_named() {
    let (world, other) = (small_world().await, small_world().await);
    let (own, foreign) =
        (one_of_each_kind(&objects(&world).await), one_of_each_kind(&objects(&other).await));
    for ((key, _), content) in own.iter().zip(foreign.values()) {
        let damage = damage_by(&world, key, content.to_vec(), ReadData::None).await;
        // a slot of another repository opens nothing here: as good as missing
        assert!(names(&damage, key) || key.starts_with("meta/keys/"), "{key}: {damage:?}");
    }
}

#[tokio::test]
async fn damaged_content_leads_to_the_files_and_snapshots_that_need_it() {
    let (world, _) = large_world().await;
    let snapshots = world.repository.snapshots().await.unwrap().snapshots;
    let ids: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.to_string()).collect();
    let entry = entry_at(&world.repository, &snapshots[0], &path("data/file-07")).await;
    let Some(Entry { content: Content::Inline(pieces), .. }) = entry.unwrap() else {
        panic!("a file with its pieces");
    };
    let chunk = pieces.iter().find_map(|piece| match piece {
        Piece::Chunk(chunk) => Some(*chunk),
        Piece::Hole(_) => None,
    });
    let chunk = chunk.unwrap();
    let directory = world.repository.packs().directory(&chunk.pack).await.unwrap();
    let range = directory.segment_range(chunk.segment).unwrap();
    let key = format!("packs/{}", chunk.pack.id);
    let content = objects(&world).await[&key].clone();
    let flipped = flipped(&content, range.start as usize * 8 + 3);
    let damage = damage_by(&world, &key, flipped, ReadData::All).await;
    assert_eq!(damage.len(), 1);
    // the second snapshot has another file in that place, and shares the neighbours
    assert!(damage[0].snapshots.contains(&ids[0]), "{damage:?}");
    assert!(damage[0].files.contains(&"data/file-07".to_owned()), "{damage:?}");
    assert!(damage[0].files.len() < 20, "only files of one segment: {damage:?}");
    let missing = |damage: Vec<Damage>| {
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].message, "is missing");
        assert_eq!(damage[0].snapshots.iter().collect::<BTreeSet<_>>(), ids.iter().collect());
        assert!(damage[0].files.len() >= 7, "{damage:?}");
    };
    delete(&world, &key).await;
    missing(verify_with(&world, ReadData::None).await.damage);
    missing(verify_with(&world, ReadData::All).await.damage);
}

#[tokio::test]
async fn a_lost_table_is_named_with_what_it_listed() {
    let (world, source) = large_world().await;
    // an unchanged source adds nothing: the third snapshot is the table of the second
    world.backup(&source).await;
    let snapshots = world.repository.snapshots().await.unwrap().snapshots;
    let root = snapshots[2].root.chunk.unwrap();
    assert_eq!(snapshots[1].root.chunk, Some(root));
    delete(&world, &format!("packs/{}", root.pack.id)).await;
    let report = verify_with(&world, ReadData::None).await;
    assert_eq!(report.damage.len(), 1);
    let mut expected = vec![snapshots[1].id.to_string(), snapshots[2].id.to_string()];
    expected.sort();
    assert_eq!(report.damage[0].snapshots, expected);
    assert!(report.damage[0].files.contains(&"all entries".to_owned()));
    assert_eq!(report.snapshots, 3);
}

#[tokio::test]
async fn what_an_interrupted_run_left_is_no_damage() {
    let (world, _) = large_world().await;
    let stored = objects(&world).await;
    let newest = world.repository.snapshots().await.unwrap().snapshots.pop().unwrap().id;
    // as if the second run had died right before its commit
    delete(&world, &format!("meta/snapshots/{newest}")).await;
    let report = verify_with(&world, ReadData::All).await;
    assert_eq!((report.damage, report.snapshots), (vec![], 1));
    let left = stored.keys().filter(|key| key.contains(&newest.to_string())).count() - 1;
    assert_eq!(report.unreferenced, left as u64, "packs, index segments, the announcement");
    // but not if its announcement is gone too
    delete(&world, &format!("meta/sessions/{newest}")).await;
    let damage = verify_with(&world, ReadData::None).await.damage;
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].object, format!("meta/snapshots/{newest}"));
}

#[tokio::test]
async fn a_commit_that_stored_nothing_is_missed_by_later_ones() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    source.put("file", b"content".to_vec());
    world.backup(&source).await;
    let unchanged = world.backup(&source).await.id;
    world.backup(&source).await;
    delete(&world, &format!("meta/snapshots/{unchanged}")).await;
    let damage = verify_with(&world, ReadData::None).await.damage;
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].object, "meta/snapshots");
}

#[tokio::test]
async fn foreign_objects_are_noted_not_damage() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<Problem>>);
    impl Monitor for Notes {
        fn problem(&self, problem: &Problem) {
            self.0.lock().unwrap().push(problem.clone());
        }
    }
    let world = small_world().await;
    let sessions = 2;
    for junk in ["notes.txt", "packs/x", "meta/index/0", "meta/keys/a/b", "repository/x"] {
        put(&world, junk, b"junk".to_vec()).await;
    }
    let notes = Arc::new(Notes::default());
    let options = VerifyOptions::default();
    let report = verify(&world.repository, &options, notes.clone()).await.unwrap();
    assert_eq!((report.damage, report.unreferenced), (vec![], 5 + sessions));
    let notes = notes.0.lock().unwrap();
    assert_eq!(notes.len(), 5);
    assert!(notes.iter().all(|note| !note.is_error));
}

#[tokio::test]
async fn progress_adds_up() {
    #[derive(Default)]
    struct Sum(Mutex<Progress>);
    impl Monitor for Sum {
        fn advance(&self, delta: Progress) {
            let mut sum = self.0.lock().unwrap();
            sum.files_done += delta.files_done;
            sum.files_total += delta.files_total;
            sum.bytes_done += delta.bytes_done;
            sum.bytes_total += delta.bytes_total;
        }
    }
    let (world, _) = large_world().await;
    for read_data in [ReadData::None, ReadData::Percent(50.0), ReadData::All] {
        let sum = Arc::new(Sum::default());
        let options = VerifyOptions { read_data, ..VerifyOptions::default() };
        verify(&world.repository, &options, sum.clone()).await.unwrap();
        let sum = *sum.0.lock().unwrap();
        assert!(sum.files_total > 0);
        assert_eq!(sum.files_done, sum.files_total);
        assert_eq!(sum.bytes_done, sum.bytes_total);
        assert_eq!(sum.bytes_total > 0, read_data != ReadData::None);
    }
}

#[tokio::test]
async fn wrong_options_and_cancelling_stop_it() {
    struct Cancelled;
    impl Monitor for Cancelled {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let world = small_world().await;
    let check = async |options: VerifyOptions, monitor: Arc<dyn Monitor>| {
        verify(&world.repository, &options, monitor).await.unwrap_err().kind()
    };
    for percent in [0.0, -1.0, 100.0, f64::NAN, f64::INFINITY] {
        let options =
            VerifyOptions { read_data: ReadData::Percent(percent), ..VerifyOptions::default() };
        assert_eq!(check(options, Arc::new(SilentMonitor)).await, ErrorKind::Invalid);
    }
    let kind = check(VerifyOptions::default(), Arc::new(Cancelled)).await;
    assert_eq!(kind, ErrorKind::Interrupted);
}

#[tokio::test]
async fn one_object_that_cannot_be_read_is_named_but_a_storage_that_is_gone_ends_it() {
    let world = small_world().await;
    let stored = objects(&world).await;
    let clock = world.repository.runtime().clock.clone();
    let faults = Arc::new(FaultLayer::new(world.target.clone(), clock));
    let repository = world.reopen(faults.clone()).await.repository;
    let options = VerifyOptions { read_data: ReadData::All, ..VerifyOptions::default() };
    for key in one_of_each_kind(&stored).into_keys() {
        for kind in [TargetErrorKind::Denied, TargetErrorKind::Unexpected, TargetErrorKind::Corrupt]
        {
            let rule = FaultRule::fail(Operation::Get, kind).on(KeyPattern::Exact(key.clone()));
            faults.add(rule);
            let report = verify(&repository, &options, Arc::new(SilentMonitor)).await.unwrap();
            faults.heal();
            let damage = report.damage.iter().find(|damage| damage.object == key).unwrap();
            assert!(damage.message.starts_with("cannot be read"), "{damage:?}");
        }
        let gone = FaultRule::fail(Operation::Get, TargetErrorKind::Unavailable);
        faults.add(gone.on(KeyPattern::Exact(key)));
        let error = verify(&repository, &options, Arc::new(SilentMonitor)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        faults.heal();
    }
}

#[tokio::test]
async fn a_verification_runs_as_a_task() {
    let repository = small_world().await.repository;
    let task = crate::tasks::spawn("verify", async move {
        verify(&repository, &VerifyOptions::default(), Arc::new(SilentMonitor)).await
    });
    assert_eq!(task.join().await.unwrap().damage, []);
}
