//! The layer under the conformance suite, under crashes at every call, and over every damage.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::*;
use crate::{
    monitor::SilentMonitor,
    runtime::{Runtime, SystemClock},
    target::{
        MemoryTarget, TargetExt,
        conformance::{self, Options},
        layers::{FaultEffect, FaultLayer, FaultRule, KeyPattern, RecordLayer, When},
    },
};

const PACK: &str = "packs/s/0";
const SMALL: &str = "meta/keys/0";

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn prefix(text: &str) -> KeyPrefix {
    KeyPrefix::parse(text).unwrap()
}

fn memory() -> SharedTarget {
    Arc::new(MemoryTarget::new())
}

fn over(inner: SharedTarget) -> ParityLayer {
    ParityLayer::new(inner, ParityScheme::new("packs", &["meta/keys", "repository"]).unwrap())
}

fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

async fn all(target: &SharedTarget) -> BTreeMap<String, Bytes> {
    let mut objects = BTreeMap::new();
    for object in target.list_all(&KeyPrefix::all()).await.unwrap() {
        let content = target.get_full(&object.key).await.unwrap();
        objects.insert(object.key.to_string(), content);
    }
    objects
}

async fn names(target: &dyn BackupTarget, below: &str) -> Vec<String> {
    let listed = target.list_all(&prefix(below)).await.unwrap();
    listed.into_iter().map(|object| object.key.to_string()).collect()
}

async fn scrub(layer: &ParityLayer) -> ScrubReport {
    layer.scrub(ScrubOptions::default(), &SilentMonitor).await.unwrap()
}

/// A pack of 300 KiB (38 shards of 8 KiB, 2 of parity) and a small object.
async fn filled() -> (SharedTarget, ParityLayer) {
    let memory = memory();
    let layer = over(memory.clone());
    layer.create(&key(PACK), noise(1, 300 << 10)).await.unwrap();
    layer.create(&key(SMALL), noise(2, 500)).await.unwrap();
    (memory, layer)
}

#[tokio::test]
async fn the_suite_passes_whatever_stands_beside() {
    for (sharded, copied) in [("scratch", "elsewhere"), ("elsewhere", "scratch")] {
        let memory = memory();
        let scheme = ParityScheme::new(sharded, &[copied]).unwrap();
        let layer: SharedTarget = Arc::new(ParityLayer::new(memory.clone(), scheme));
        let options = Options {
            scratch: prefix("scratch"),
            listed_objects: 300,
            large_object_bytes: 3 << 20,
            rounds: 3,
            ..Options::default()
        };
        let report = conformance::run(layer, &Runtime::system(), &options).await;
        assert!(report.is_conformant(), "{report}");
        assert!(all(&memory).await.is_empty(), "nothing stays beside");
    }
}

#[tokio::test]
async fn own_objects_show_nowhere_else() {
    let (memory, layer) = filled().await;
    layer.create(&key("repository"), vec![1]).await.unwrap();
    layer.create(&key("meta/sessions/0"), vec![2]).await.unwrap();
    let expected = [SMALL, "meta/sessions/0", PACK, "repository"];
    assert_eq!(names(&layer, "").await, expected);
    assert_eq!(names(&layer, "meta").await, expected[..2]);
    let below: Vec<String> = all(&memory).await.into_keys().collect();
    assert_eq!(below.len(), 4 + 1 + 4, "{below:?}");
    assert!(below.contains(&"parity/s/0".to_owned()), "{below:?}");
    assert!(below.contains(&"copies/2/repository".to_owned()), "{below:?}");
}

#[tokio::test]
async fn a_lost_primary_is_read_listed_and_not_made_again() {
    let (memory, layer) = filled().await;
    let layer = Arc::new(layer);
    let content = noise(2, 500);
    for _ in 0..2 {
        memory.delete(&key(SMALL)).await.unwrap();
        assert_eq!(names(&*layer, "meta").await, [SMALL]);
        assert_eq!(layer.list_all(&prefix("")).await.unwrap()[0].size_bytes, 500);
        assert_eq!(layer.head(&key(SMALL)).await.unwrap().size_bytes, 500);
        let again = layer.create(&key(SMALL), content.clone()).await.unwrap_err();
        assert_eq!(again.kind(), TargetErrorKind::AlreadyExists);
        assert_eq!(layer.get_range(&key(SMALL), 10, 5).await.unwrap(), content[10..15]);
        assert_eq!(memory.get_full(&key(SMALL)).await.unwrap(), content, "and it is back");
    }
    assert_eq!(layer.healed(), [key(SMALL), key(SMALL)]);
    layer.delete(&key(SMALL)).await.unwrap();
    assert_eq!(names(&*layer, "meta").await, [""; 0]);
    assert!(layer.get_full(&key(SMALL)).await.is_err());
}

#[tokio::test]
async fn an_unreadable_primary_is_read_from_a_copy() {
    let (memory, _) = filled().await;
    let faulty = Arc::new(FaultLayer::new(memory, Arc::new(SystemClock::new())));
    let layer = over(faulty.clone());
    let rule = FaultRule::fail(Operation::Get, TargetErrorKind::Unavailable);
    faulty.add(rule.on(KeyPattern::Exact(SMALL.to_owned())));
    assert_eq!(layer.get_full(&key(SMALL)).await.unwrap(), noise(2, 500));
}

#[tokio::test]
async fn an_unreadable_stretch_of_a_pack_is_rebuilt() {
    let (memory, _) = filled().await;
    let faulty = Arc::new(FaultLayer::new(memory, Arc::new(SystemClock::new())));
    let layer = over(faulty.clone());
    // the whole, and then the eighth shard
    let rule = || {
        FaultRule::fail(Operation::Get, TargetErrorKind::Unavailable)
            .on(KeyPattern::Exact(PACK.to_owned()))
    };
    faulty.add(rule().nth(1));
    faulty.add(rule().nth(8));
    assert_eq!(layer.heal_object(&key(PACK)).await.unwrap(), Healed::Rebuilt);
    assert_eq!(layer.get_full(&key(PACK)).await.unwrap(), noise(1, 300 << 10));
}

#[tokio::test]
async fn packs_heal_up_to_their_parity_and_nothing_is_written_beyond() {
    let (memory, layer) = filled().await;
    let content = noise(1, 300 << 10);
    let with_damage = |shards: usize| {
        let mut bytes = content.to_vec();
        (0..shards).for_each(|shard| bytes[shard * 7 * 8192 + 99] ^= 0x40);
        bytes
    };
    let longer = [&content[..], b"more"].concat();
    let cut = content[..content.len() - 5_000].to_vec();
    for damaged in [with_damage(1), with_damage(2), longer, cut] {
        memory.replace(&key(PACK), damaged).await.unwrap();
        assert_eq!(layer.heal_object(&key(PACK)).await.unwrap(), Healed::Rebuilt);
        assert_eq!(memory.get_full(&key(PACK)).await.unwrap(), content);
    }
    assert_eq!(layer.heal_object(&key(PACK)).await.unwrap(), Healed::Intact);
    memory.replace(&key(PACK), with_damage(3)).await.unwrap();
    let before = all(&memory).await;
    assert_eq!(layer.heal_object(&key(PACK)).await.unwrap(), Healed::Impossible);
    assert_eq!(layer.heal_object(&key(PACK)).await.unwrap(), Healed::Impossible);
    let report = scrub(&layer).await;
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(report.damaged[0].object, PACK);
    assert_eq!(all(&memory).await, before, "nothing was written");
}

#[tokio::test]
async fn a_missing_pack_comes_back_if_it_is_small_enough() {
    let (memory, layer) = filled().await;
    layer.create(&key("packs/s/1"), noise(3, 6_000)).await.unwrap();
    for pack in ["packs/s/0", "packs/s/1"] {
        memory.delete(&key(pack)).await.unwrap();
    }
    let report = scrub(&layer).await;
    assert_eq!(report.healed, ["packs/s/1"]);
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(memory.get_full(&key("packs/s/1")).await.unwrap(), noise(3, 6_000));
    // what is lost for good is named until somebody says that it may go
    assert!(memory.exists(&key("parity/s/0")).await.unwrap());
    let options = ScrubOptions { removes_orphans: true, ..ScrubOptions::default() };
    let report = layer.scrub(options, &SilentMonitor).await.unwrap();
    assert_eq!(report.orphans_removed, [PACK]);
    assert!(!memory.exists(&key("parity/s/0")).await.unwrap());
    assert_eq!(scrub(&layer).await.damaged, []);
}

#[tokio::test]
async fn a_scrub_completes_what_is_missing_and_a_dry_run_only_says_so() {
    let (memory, layer) = filled().await;
    let whole = all(&memory).await;
    for beside in ["parity/s/0", "copies/1/meta/keys/0", "copies/2/meta/keys/0"] {
        memory.delete(&key(beside)).await.unwrap();
    }
    let before = all(&memory).await;
    let dry = ScrubOptions { is_dry_run: true, ..ScrubOptions::default() };
    let said = layer.scrub(dry, &SilentMonitor).await.unwrap();
    assert_eq!(said.completed, [SMALL, PACK]);
    assert_eq!(all(&memory).await, before);
    assert_eq!(scrub(&layer).await, said);
    assert_eq!(all(&memory).await, whole);
    let report = scrub(&layer).await;
    assert_eq!((report.packs, report.small_objects), (1, 1));
    assert_eq!([report.completed, report.healed].concat(), [""; 0]);
}

#[tokio::test]
async fn a_reader_that_knows_of_damage_gets_no_copies_made_of_it() {
    let (memory, layer) = filled().await;
    for beside in ["copies/1/meta/keys/0", "copies/2/meta/keys/0"] {
        memory.delete(&key(beside)).await.unwrap();
    }
    memory.replace(&key(SMALL), vec![0; 500]).await.unwrap();
    let before = all(&memory).await;
    assert_eq!(layer.heal_object(&key(SMALL)).await.unwrap(), Healed::Impossible);
    assert_eq!(all(&memory).await, before);
}

#[tokio::test]
async fn of_three_any_two_may_be_damaged() {
    let places = [SMALL, "copies/1/meta/keys/0", "copies/2/meta/keys/0"];
    for spared in 0..3 {
        let (memory, layer) = filled().await;
        let whole = all(&memory).await;
        for (number, place) in places.iter().enumerate().filter(|(number, _)| *number != spared) {
            let mut bytes = memory.get_full(&key(place)).await.unwrap().to_vec();
            let at = bytes.len() - 1 - number;
            bytes[at] ^= 1;
            memory.replace(&key(place), bytes).await.unwrap();
        }
        let report = scrub(&layer).await;
        assert_eq!(report.damaged, [], "spared {spared}");
        assert_eq!(all(&memory).await, whole, "spared {spared}");
    }
}

/// What can be done to an object.
#[derive(Debug, Clone, Copy)]
enum Act {
    Create,
    Delete,
    Heal,
}

async fn act(layer: &ParityLayer, act: Act, name: &str, content: &Bytes) {
    // the storage is cut off in the middle: what is answered tells nothing
    let _ = match act {
        Act::Create => layer.create(&key(name), content.clone()).await,
        Act::Delete => layer.delete(&key(name)).await,
        Act::Heal => layer.heal_object(&key(name)).await.map(drop),
    };
}

/// Whatever call is the last: the object is there as it was written, or not at all; and a scrub
/// completes it, after which nothing is left to do.
#[tokio::test]
async fn a_crash_at_any_call_leaves_the_object_whole_or_not_at_all() {
    let contents = [(PACK, noise(5, 100_000)), (SMALL, noise(6, 700))];
    for (name, content) in &contents {
        for doing in [Act::Create, Act::Delete, Act::Heal] {
            for (crash, when) in (1..20).flat_map(|n| [(n, When::Before), (n, When::After)]) {
                let memory = memory();
                let layer = over(memory.clone());
                if !matches!(doing, Act::Create) {
                    layer.create(&key(name), content.clone()).await.unwrap();
                }
                if matches!(doing, Act::Heal) {
                    let mut damaged = content.to_vec();
                    damaged[300] ^= 1;
                    memory.replace(&key(name), damaged).await.unwrap();
                }
                let faulty = FaultLayer::new(memory.clone(), Arc::new(SystemClock::new()));
                faulty.add(FaultRule::new(None, FaultEffect::CutOff(when)).nth(crash));
                act(&over(Arc::new(faulty)), doing, name, content).await;
                scrub(&layer).await;
                let what = format!("{doing:?} of {name}, cut off at call {crash} ({when:?})");
                let report = scrub(&layer).await;
                let changes = [report.healed, report.completed].concat();
                assert_eq!(changes, [""; 0], "{what}: nothing is left to do");
                assert_eq!(report.damaged, [], "{what}");
                let listed = names(&layer, "").await;
                let stored = all(&memory).await;
                match layer.get_full(&key(name)).await {
                    Ok(found) => {
                        assert_eq!(found, *content, "{what}");
                        assert_eq!(listed, [*name], "{what}");
                        assert!(stored.len() >= 2, "{what}: {stored:?}");
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), TargetErrorKind::NotFound, "{what}");
                        assert!(stored.is_empty() && !matches!(doing, Act::Heal), "{what}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn copies_come_after_the_primary_and_go_before_it() {
    let record = Arc::new(RecordLayer::new(memory()));
    let layer = over(record.clone());
    let calls = || {
        let log = record.take().into_iter();
        log.map(|line| format!("{} {}", line.call.operation(), line.call.place()))
            .collect::<Vec<_>>()
    };
    layer.create(&key("repository"), vec![1]).await.unwrap();
    let copies = ["copies/1/repository", "copies/2/repository"];
    let of = |operation: &str| copies.map(|copy| format!("{operation} {copy}"));
    let expected = [
        &of("get")[..],
        &["put repository".to_owned()],
        &of("put"),
        &["head repository".to_owned()],
    ];
    assert_eq!(calls(), expected.concat());
    layer.get_full(&key("repository")).await.unwrap();
    assert_eq!(calls(), ["get repository"], "reading costs nothing more");
    layer.delete(&key("repository")).await.unwrap();
    let expected = [&of("delete")[..], &["delete repository".to_owned()], &of("delete")];
    assert_eq!(calls(), expected.concat());
    layer.create(&key(PACK), noise(1, 9_000)).await.unwrap();
    assert_eq!(calls(), ["put packs/s/0", "put parity/s/0", "head packs/s/0"]);
}
