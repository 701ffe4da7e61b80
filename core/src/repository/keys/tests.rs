//! Slots are added, replaced and removed, and at no point of it is there none that opens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use zeroize::Zeroizing;

use super::*;
use crate::{
    format::slot::{KeyFile, RecoveryKey},
    repository::{KeyAgent, Storage, Unlock},
    target::{
        MemoryTarget, SharedTarget,
        layers::{FaultEffect, FaultLayer, FaultRule, When},
    },
    testing::{
        MemorySource,
        world::{World, noise},
    },
};

pub(super) fn password(text: &str) -> Credential {
    Credential::Password(Zeroizing::new(text.as_bytes().to_vec()))
}

/// What opens a new [`World`].
pub(super) fn first() -> Credential {
    password("password")
}

pub(super) fn options() -> SlotOptions {
    SlotOptions {
        kdf: KdfCost { memory_kib: 8, passes: 1, lanes: 1 },
        label: "test@host".to_owned(),
    }
}

pub(super) async fn open(target: &SharedTarget, credential: &Credential) -> Result<Repository> {
    let runtime = crate::runtime::Runtime::system();
    Repository::open(target.clone(), runtime, credential).await
}

pub(super) fn source() -> Arc<MemorySource> {
    let source = MemorySource::default();
    source.put("folder/file", noise(1, 50_000));
    Arc::new(source)
}

/// A repository with one snapshot, opened through a layer that is cut off at the `n`th call.
pub(super) struct Doomed {
    pub(super) world: World,
    pub(super) repository: Repository,
    pub(super) faults: Arc<FaultLayer>,
}

impl Doomed {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        world.backup(&source()).await;
        let clock = world.repository.runtime().clock.clone();
        let faults = Arc::new(FaultLayer::new(world.target.clone(), clock));
        let repository = world.reopen(faults.clone()).await.repository;
        Self { world, repository, faults }
    }

    pub(super) fn cut_off_at(&self, n: u64, when: When) {
        self.faults.add(FaultRule::new(None, FaultEffect::CutOff(when)).nth(n));
    }
}

/// Runs `change` again and again, cut off at its first, second, ... call, before or after the
/// storage saw it, and lets `check` look at what is left. At least `least` runs are cut off.
pub(super) async fn at_every_call(
    least: u64,
    change: impl AsyncFn(&Repository) -> Result<()>,
    check: impl AsyncFn(&World, bool),
) {
    for when in [When::Before, When::After] {
        let mut cut_off = 0;
        loop {
            let doomed = Doomed::new().await;
            doomed.cut_off_at(cut_off + 1, when);
            let result = change(&doomed.repository).await;
            if !doomed.faults.is_cut_off() {
                result.unwrap();
                check(&doomed.world, true).await;
                break;
            }
            check(&doomed.world, result.is_ok()).await;
            cut_off += 1;
        }
        assert!(cut_off >= least, "only {cut_off} calls");
    }
}

/// Everything is there, and a further backup finds nothing to store.
pub(super) async fn assert_whole(target: &SharedTarget, credential: &Credential) {
    let repository = open(target, credential).await.unwrap();
    let world = World { target: target.clone(), repository };
    let report = world.try_backup(&source()).await.unwrap();
    assert_eq!((report.packs_written, report.problem_count), (0, 0));
    let snapshots = world.repository.snapshots().await.unwrap();
    assert!(snapshots.damaged.is_empty() && snapshots.snapshots.len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_listed_with_what_they_say() {
    let world = World::new().await;
    let file = KeyFile::new(Zeroizing::new((0..64).collect())).unwrap();
    let file = Credential::KeyFile(file);
    let added = world.repository.add_key(&file, &options()).await.unwrap();
    let listed = world.repository.key_slots().await.unwrap();
    let kinds: Vec<_> = listed.slots.iter().map(|slot| slot.kind).collect();
    assert_eq!(listed.slots.len(), 3);
    for kind in [SlotKind::Password, SlotKind::Recovery, SlotKind::KeyFile] {
        assert!(kinds.contains(&kind));
    }
    let last = listed.slots.last().unwrap();
    assert_eq!((last.id, last.note.as_ref().unwrap().label.as_str()), (added, "test@host"));
    assert_eq!(listed.slots.iter().filter(|slot| slot.is_in_use).count(), 1);
    assert!(listed.slots.iter().all(|slot| slot.epochs == 1 && !slot.is_outdated));
    let by_file = open(&world.target, &file).await.unwrap();
    assert_eq!(by_file.slot_in_use(), added);
    assert_eq!(listed.find(&added.to_string()[..12]).unwrap(), added);
    assert_eq!(listed.find("").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(listed.find("zz").unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_slot_and_the_one_in_use_stay() {
    let world = World::new().await;
    let repository = &world.repository;
    let slots = repository.key_slots().await.unwrap().slots;
    let own = repository.slot_in_use();
    let recovery = slots.iter().find(|slot| slot.id != own).unwrap().id;
    let error = repository.remove_key(own, false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    repository.remove_key(recovery, false).await.unwrap();
    for is_forced in [false, true] {
        let error = repository.remove_key(own, is_forced).await.unwrap_err();
        assert!(error.to_string().contains("is the last one"), "{error}");
    }
    let added = repository.add_key(&password("other"), &options()).await.unwrap();
    repository.remove_key(own, true).await.unwrap();
    assert_eq!(open(&world.target, &first()).await.unwrap_err().kind(), ErrorKind::WrongKey);
    assert_eq!(open(&world.target, &password("other")).await.unwrap().slot_in_use(), added);
    let missing = repository.remove_key(SlotId([9; 16]), true).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_removes_the_others_slot_at_the_same_time_puts_it_back() {
    let world = World::new().await;
    let repository = &world.repository;
    let slots = repository.key_slots().await.unwrap().slots;
    let own = repository.slot_in_use();
    let recovery = slots.iter().find(|slot| slot.id != own).unwrap().id;
    repository.remove_key(recovery, false).await.unwrap();
    let other = repository.add_key(&password("other"), &options()).await.unwrap();
    // both look, both find two slots; the other one removes ours in between
    let clock = repository.runtime().clock.clone();
    let faults = Arc::new(FaultLayer::new(world.target.clone(), clock));
    let through = world.reopen(faults.clone()).await.repository;
    let found = through.find_slots().await.unwrap();
    through.check_removal(&found.slots, other, false).unwrap();
    repository.drop_slot(own).await.unwrap();
    let kept = found.bytes.iter().find(|(id, _)| *id == other).unwrap().1.clone();
    through.drop_slot(other).await.unwrap();
    assert!(!through.find_slots().await.unwrap().slots.opens_without(None));
    through.create(MetaName::Slot(other.0), kept).await.unwrap();
    open(&world.target, &password("other")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_replaces_the_one_in_use() {
    let world = World::new().await;
    let own = world.repository.slot_in_use();
    let change = world.repository.change_password(&password("new"), &options(), None).await;
    assert_eq!(change.unwrap().removed, own);
    assert_eq!(open(&world.target, &first()).await.unwrap_err().kind(), ErrorKind::WrongKey);
    let repository = open(&world.target, &password("new")).await.unwrap();
    // opened by something else, several passwords are ambiguous
    let recovery = RecoveryKey::generate(&*repository.runtime().randomness);
    let recovery = Credential::RecoveryKey(recovery);
    repository.add_key(&recovery, &options()).await.unwrap();
    repository.add_key(&password("second"), &options()).await.unwrap();
    let repository = open(&world.target, &recovery).await.unwrap();
    let third = password("third");
    let error = repository.change_password(&third, &options(), None).await.unwrap_err();
    assert!(error.to_string().contains("say which"), "{error}");
    let slot = repository.slot_in_use();
    assert!(repository.change_password(&third, &options(), Some(slot)).await.is_err());
    assert!(repository.add_key(&password(""), &options()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_may_be_cut_off_anywhere() {
    let add = async |repository: &Repository| {
        repository.add_key(&password("new"), &options()).await.map(drop)
    };
    at_every_call(7, add, async |world: &World, is_done| {
        assert_whole(&world.target, &first()).await;
        let opens = open(&world.target, &password("new")).await.is_ok();
        assert!(opens || !is_done);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changing_the_password_may_be_cut_off_anywhere() {
    let change = async |repository: &Repository| {
        repository.change_password(&password("new"), &options(), None).await.map(drop)
    };
    at_every_call(10, change, async |world: &World, is_done| {
        let opens_new = open(&world.target, &password("new")).await.is_ok();
        let opens_old = open(&world.target, &first()).await.is_ok();
        assert!(opens_new || opens_old);
        assert!(!is_done || (opens_new && !opens_old));
        let opening = if opens_new { password("new") } else { first() };
        assert_whole(&world.target, &opening).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_may_be_cut_off_anywhere() {
    let remove = async |repository: &Repository| {
        let slots = repository.key_slots().await?.slots;
        let other = slots.iter().find(|slot| !slot.is_in_use).unwrap();
        repository.remove_key(other.id, false).await
    };
    at_every_call(6, remove, async |world: &World, _| {
        assert_whole(&world.target, &first()).await;
    })
    .await;
}

/// An agent in memory.
#[derive(Debug, Default)]
struct MemoryAgent(Mutex<BTreeMap<String, Zeroizing<Vec<u8>>>>);

impl KeyAgent for MemoryAgent {
    fn recall(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.0.lock().unwrap().get(name).cloned()
    }

    fn keep(&self, name: &str, entry: &[u8]) {
        let entry = Zeroizing::new(entry.to_vec());
        self.0.lock().unwrap().insert(name.to_owned(), entry);
    }

    fn forget(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_stands_in_for_the_password_and_lets_no_other_pass() {
    let world = World::new().await;
    let agent = Arc::new(MemoryAgent::default());
    let unlock = async |credential: Option<Credential>, cache: Option<SharedTarget>| {
        let unlock = Unlock { credential, agent: Some(agent.clone()) };
        let storage = Storage { cache, ..Storage::from(world.target.clone()) };
        Repository::unlock(storage, world.repository.runtime().clone(), &unlock).await
    };
    let count = || agent.0.lock().unwrap().len();
    let empty = unlock(None, None).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::WrongKey);
    assert!(unlock(Some(password("wrong")), None).await.is_err());
    assert_eq!(count(), 0, "only what opened is kept");
    unlock(Some(first()), None).await.unwrap();
    assert_eq!(count(), 1);
    let cache: SharedTarget = Arc::new(MemoryTarget::new());
    for cache in [None, Some(cache.clone()), Some(cache)] {
        assert!(unlock(None, cache.clone()).await.is_ok());
        assert!(unlock(Some(first()), cache.clone()).await.is_ok());
        let refused = unlock(Some(password("wrong")), cache.clone()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongKey);
    }
    let repository = unlock(None, None).await.unwrap();
    repository.change_password(&password("new"), &options(), None).await.unwrap();
    assert_eq!(count(), 0, "a slot that is gone is held no longer");
    assert!(unlock(None, None).await.is_err());
    assert!(unlock(Some(password("new")), None).await.is_ok());
}
