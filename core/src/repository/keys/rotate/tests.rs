//! Rotations: what was stored stays readable, what is new is sealed under the new key, and
//! whoever dies or comes second leaves a repository that opens.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use tokio::runtime::Handle;

use super::{
    super::tests::{Doomed, assert_whole, at_every_call, first, open, options, password, source},
    *,
};
use crate::{
    monitor::{Monitor, Phase, SilentMonitor},
    prune::{PruneOptions, prune},
    repository::Storage,
    restore::{RestoreOptions, restore},
    source::{Scan, Source},
    target::{MemoryTarget, SharedTarget, layers::When},
    testing::{
        MemorySource,
        sink::MemorySink,
        world::{World, noise},
    },
    verify::{ReadData, VerifyOptions, verify},
};

fn removing() -> RotateOptions {
    RotateOptions { slot: options(), removes_others: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_data_is_sealed_under_the_new_key_and_old_chunks_are_found() {
    let world = World::new().await;
    let source = source();
    let before = world.backup(&source).await;
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    assert_eq!((rotated.epoch, rotated.removed.len(), rotated.is_resumed), (1, 2, false));
    assert!(rotated.problem.is_none() && rotated.left.is_empty());
    assert_whole(&world.target, &first()).await;
    assert_whole(&world.target, &Credential::RecoveryKey(rotated.recovery)).await;
    let world = World { repository: rotated.repository, ..world };
    source.put("folder/more", noise(2, 50_000));
    let after = world.backup(&source).await;
    let of_table = |root: &crate::format::page::TableRoot| root.chunk.unwrap().pack;
    let (old, new) = (of_table(&before.root), of_table(&after.root));
    assert_eq!((old.epoch, new.epoch), (0, 1));
    assert!(world.repository.is_of_earlier_epoch(&old));
    assert!(!world.repository.is_of_earlier_epoch(&new));
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_cannot_follow_are_named_and_stay() {
    let world = World::new().await;
    let options = RotateOptions { removes_others: false, ..removing() };
    let (others, _) = world.repository.slots_left_behind(&first()).await.unwrap();
    let error = world.repository.rotate_keys(&first(), &options).await.unwrap_err();
    assert_eq!((error.kind(), others.len()), (ErrorKind::Invalid, 1));
    assert!(error.to_string().contains(&others[0].id.to_string()), "{error}");
    world.repository.remove_key(others[0].id, false).await.unwrap();
    world.repository.rotate_keys(&first(), &options).await.unwrap();
    let wrong = world.repository.rotate_keys(&password("other"), &removing()).await;
    assert!(wrong.is_err());
    assert_eq!(open(&world.target, &first()).await.unwrap().keys().current().epoch(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_may_be_cut_off_anywhere_and_the_next_one_finishes() {
    let rotate = async |repository: &Repository| {
        let rotated = repository.rotate_keys(&first(), &removing()).await?;
        rotated.problem.map_or(Ok(()), Err)
    };
    at_every_call(14, rotate, async |world: &World, is_done| {
        assert_whole(&world.target, &first()).await;
        let repository = open(&world.target, &first()).await.unwrap();
        assert!(!is_done || repository.keys().current().epoch() == 1);
        let rotated = repository.rotate_keys(&first(), &removing()).await.unwrap();
        assert!(rotated.problem.is_none() && rotated.left.is_empty());
        assert_eq!(rotated.repository.key_slots().await.unwrap().slots.len(), 2);
        assert_whole(&world.target, &first()).await;
        assert_whole(&world.target, &Credential::RecoveryKey(rotated.recovery)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rotations_at_once_one_decides() {
    let world = World::new().await;
    world.backup(&source()).await;
    // the second one has looked, and drawn its key, before the first one begins
    let second = open(&world.target, &first()).await.unwrap();
    let found = second.find_slots().await.unwrap();
    let rotation = Rotation::begin(&second).unwrap();
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    let error = rotation.run(&found, &first(), &removing()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let slots = rotated.repository.key_slots().await.unwrap().slots;
    assert_eq!(slots.len(), 2, "what the second one made is gone");
    assert_whole(&world.target, &first()).await;
    // and who comes later still is told to look again
    let late = second.rotate_keys(&first(), &removing()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    assert_eq!(second.snapshots().await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_rotation_that_lost_and_died_are_passed_over() {
    for n in 0..2 {
        let doomed = Doomed::new().await;
        let loser = &doomed.repository;
        let found = loser.find_slots().await.unwrap();
        let rotation = Rotation::begin(loser).unwrap();
        let world = &doomed.world;
        let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
        // it makes two slots, finds out that it lost, and dies before it takes them back
        doomed.cut_off_at(7 + n, When::Before);
        assert!(rotation.run(&found, &first(), &removing()).await.is_err());
        assert!(doomed.faults.is_cut_off());
        let slots = rotated.repository.key_slots().await.unwrap().slots;
        assert!(slots.iter().any(|slot| slot.is_outdated), "{slots:?}");
        assert_whole(&world.target, &first()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opens_old_epochs_only_is_refused_by_name() {
    let world = World::new().await;
    world.backup(&source()).await;
    world.repository.add_key(&password("other"), &options()).await.unwrap();
    let other = open(&world.target, &password("other")).await.unwrap();
    // a slot that appears while the rotation runs
    let found = world.repository.find_slots().await.unwrap();
    let rotation = Rotation::begin(&world.repository).unwrap();
    let late = other.add_key(&password("late"), &options()).await.unwrap();
    let rotated = rotation.run(&found, &first(), &removing()).await.unwrap();
    assert_eq!(rotated.left, [late]);
    let error = open(&world.target, &password("late")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
    assert!(error.to_string().contains("rotated"), "{error}");
    // nor can who has only old keys add slots
    let error = other.add_key(&password("later"), &options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    rotated.repository.remove_key(late, false).await.unwrap();
    assert_whole(&world.target, &first()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_slot_is_a_conflict_once_and_then_forgotten() {
    let world = World::new().await;
    world.backup(&source()).await;
    let cache: SharedTarget = Arc::new(MemoryTarget::new());
    let elsewhere = async || {
        let storage = Storage { cache: Some(cache.clone()), ..Storage::from(world.target.clone()) };
        let runtime = world.repository.runtime().clone();
        Repository::open(storage, runtime, &first()).await.unwrap()
    };
    elsewhere().await.snapshots().await.unwrap();
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    let error = elsewhere().await.snapshots().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let world = World { repository: rotated.repository, target: world.target.clone() };
    world.backup(&source()).await;
    for _ in 0..2 {
        let repository = elsewhere().await;
        assert_eq!(repository.keys().current().epoch(), 1);
        assert_eq!(repository.snapshots().await.unwrap().snapshots.len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_of_an_epoch_takes_nothing_away() {
    let world = World::new().await;
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    let world = World { repository: rotated.repository, ..world };
    world.backup(&source()).await;
    let record = crate::repository::layout::key(&MetaName::Epoch(1).to_string()).unwrap();
    world.target.delete(&record).await.unwrap();
    assert_whole(&world.target, &first()).await;
    let repository = open(&world.target, &first()).await.unwrap();
    assert_eq!(repository.keys().current().epoch(), 0);
    let rotated = repository.rotate_keys(&first(), &removing()).await.unwrap();
    assert_eq!((rotated.epoch, rotated.is_resumed), (1, true));
    assert_whole(&world.target, &first()).await;
}

/// Rotates the keys when it is first read.
#[derive(Debug)]
struct Meanwhile {
    source: Arc<MemorySource>,
    other: Repository,
    is_done: AtomicBool,
    handle: Handle,
}

impl Source for Meanwhile {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        if !self.is_done.swap(true, Ordering::SeqCst) {
            self.handle.block_on(self.other.rotate_keys(&first(), &removing())).unwrap();
        }
        self.source.scan()
    }

    fn roots(&self) -> Vec<String> {
        self.source.roots()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_finishes_under_the_old_key() {
    let world = World::new().await;
    let other = open(&world.target, &first()).await.unwrap();
    let source = Meanwhile {
        source: source(),
        other,
        is_done: AtomicBool::new(false),
        handle: Handle::current(),
    };
    let report = world.try_backup_of(Arc::new(source)).await.unwrap();
    assert!(report.packs_written > 0);
    let repository = open(&world.target, &first()).await.unwrap();
    assert_eq!(repository.keys().current().epoch(), 1);
    let snapshots = repository.snapshots().await.unwrap();
    assert!(snapshots.damaged.is_empty());
    assert_eq!(snapshots.snapshots[0].root.chunk.unwrap().pack.epoch, 0);
    let world = World { repository, ..world };
    assert_eq!(world.try_backup(&self::source()).await.unwrap().packs_written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_verifies_with_old_keys_is_told_so_and_sees_no_damage() {
    let world = World::new().await;
    world.backup(&source()).await;
    let verify = async |repository: &Repository| {
        verify(repository, &VerifyOptions::default(), Arc::new(SilentMonitor)).await
    };
    let old = open(&world.target, &first()).await.unwrap();
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    assert_eq!(verify(&old).await.unwrap_err().kind(), ErrorKind::Conflict);
    let report = verify(&rotated.repository).await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}

/// A monitor in whose `nth` phase another run does something.
struct InPhase<F>(AtomicI64, F);

impl<F: Fn() + Send + Sync> Monitor for InPhase<F> {
    fn phase(&self, _: Phase) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            tokio::task::block_in_place(&self.1);
        }
    }
}

/// Five snapshots, of which one is left.
async fn mostly_forgotten(world: &World) -> Arc<MemorySource> {
    let source = source();
    for seed in 0..5 {
        source.put("folder/inner", noise(seed, 300_000));
        let old = world.backup(&source).await;
        if seed < 4 {
            world.repository.put_tombstone(old.id, old.hash, "host").await.unwrap();
        }
    }
    source
}

/// All that is stored can be read.
async fn assert_sound(target: &SharedTarget) {
    let repository = open(target, &first()).await.unwrap();
    let options = VerifyOptions { read_data: ReadData::All, ..VerifyOptions::default() };
    let report = verify(&repository, &options, Arc::new(SilentMonitor)).await.unwrap();
    assert!(report.damage.is_empty() && report.snapshots == 1, "{report:?}");
}

/// The keys are rotated at every step of a prune: it ends, or the next one goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_prune_beside_a_rotation_is_finished_by_the_next_one() {
    let mut conflicts = 0;
    for nth in 0..4 {
        let world = World::new().await;
        let source = mostly_forgotten(&world).await;
        let other = open(&world.target, &first()).await.unwrap();
        let handle = Handle::current();
        let rotate =
            move || drop(handle.block_on(other.rotate_keys(&first(), &removing())).unwrap());
        let options = PruneOptions::default();
        let monitor = Arc::new(InPhase(AtomicI64::new(nth), rotate));
        match prune(&world.repository, &options, monitor).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                conflicts += 1;
            }
        }
        assert_sound(&world.target).await;
        let repository = open(&world.target, &first()).await.unwrap();
        // who takes over finishes what was begun; what is of the earlier epoch is for the next
        let next = async || prune(&repository, &options, Arc::new(SilentMonitor)).await.unwrap();
        while next().await.took_over {}
        let left = next().await;
        assert_eq!((left.packs_rewritten, left.packs_removed), (0, 0), "after phase {nth}");
        let world = World { repository, ..world };
        assert_sound(&world.target).await;
        assert_eq!(world.try_backup(&source).await.unwrap().packs_written, 0);
    }
    assert!(conflicts > 0, "no rotation was in time");
}

/// Who reads with old keys what a prune has moved under the new ones is told so: it is no damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_cannot_follow_is_told_of_the_rotation() {
    let world = World::new().await;
    mostly_forgotten(&world).await;
    let old = open(&world.target, &first()).await.unwrap();
    let snapshots = old.snapshots().await.unwrap().snapshots;
    let rotated = world.repository.rotate_keys(&first(), &removing()).await.unwrap();
    prune(&rotated.repository, &PruneOptions::default(), Arc::new(SilentMonitor)).await.unwrap();
    let sink = Arc::new(MemorySink::new());
    let options = RestoreOptions::default();
    let monitor = Arc::new(SilentMonitor);
    let error = restore(&old, &snapshots[0], sink, &options, monitor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("rotated"), "{error}");
    assert_sound(&world.target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_does_not_disturb_a_run_under_way() {
    let world = World::new().await;
    world.backup(&source()).await;
    let cache: SharedTarget = Arc::new(MemoryTarget::new());
    let elsewhere = async || {
        let storage = Storage { cache: Some(cache.clone()), ..Storage::from(world.target.clone()) };
        let runtime = world.repository.runtime().clone();
        Repository::open(storage, runtime, &first()).await.unwrap()
    };
    elsewhere().await.snapshots().await.unwrap();
    let (begun, not_begun) = (elsewhere().await, elsewhere().await);
    begun.snapshots().await.unwrap();
    world.repository.change_password(&password("other"), &options(), None).await.unwrap();
    assert_eq!(begun.snapshots().await.unwrap().snapshots.len(), 1);
    assert_eq!(not_begun.snapshots().await.unwrap_err().kind(), ErrorKind::Conflict);
}
