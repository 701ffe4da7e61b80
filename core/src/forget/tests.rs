//! Forgetting, labels and undo in repositories in memory.

use std::{sync::Arc, time::Duration};

use super::{
    ForgetReport, LabelChange, Survey, TagChange, UndoOptions, change_labels, expect_survivors,
    forget, forgotten, undo,
};
use crate::{
    error::ErrorKind,
    format::{
        collector::{CollectorHead, CyclePhase},
        commit::Original,
        object::ObjectType,
        record,
    },
    id::{ClientId, SessionId},
    monitor::SilentMonitor,
    prune::{PruneOptions, UnusedMax, prune},
    repository::{Snapshot, layout, layout::MetaName},
    retention::{GroupBy, PlacedBy},
    target::{TargetErrorKind, TargetExt},
    testing::{
        MemorySource,
        world::{World, noise},
    },
    verify::{ReadData, VerifyOptions, verify},
};

async fn with_snapshots(count: u64) -> (World, Vec<Snapshot>) {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    let mut snapshots = Vec::new();
    for number in 0..count {
        source.put("a/file", noise(number, 50_000));
        source.put(&format!("a/small-{number}"), noise(number + 100, 300));
        snapshots.push(world.backup(&source).await);
    }
    (world, snapshots)
}

async fn live(world: &World) -> Vec<SessionId> {
    let list = world.repository.snapshots().await.unwrap();
    list.snapshots.iter().map(|snapshot| snapshot.id).collect()
}

async fn forget_now(world: &World, ids: &[SessionId]) -> crate::error::Result<ForgetReport> {
    let survey = Survey::read(&world.repository).await.unwrap();
    forget(&world.repository, &survey, ids, "host").await
}

fn options() -> UndoOptions {
    UndoOptions { client: ClientId([5; 16]), host: "host".to_owned() }
}

#[tokio::test]
async fn what_is_forgotten_is_gone_from_the_list_and_forgetting_twice_is_fine() {
    let (world, all) = with_snapshots(3).await;
    let old = Survey::read(&world.repository).await.unwrap();
    let report = forget_now(&world, &[all[0].id, all[1].id]).await.unwrap();
    assert_eq!(report.forgotten, [all[0].id, all[1].id]);
    assert_eq!(live(&world).await, [all[2].id]);
    // whoever looked before, and whoever looks now
    let late = forget(&world.repository, &old, &[all[1].id], "host").await.unwrap();
    assert_eq!(late, ForgetReport { forgotten: Vec::new(), already: vec![all[1].id] });
    let again = forget_now(&world, &[all[0].id, all[2].id]).await.unwrap();
    assert_eq!((again.forgotten, again.already), (vec![all[2].id], vec![all[0].id]));
    let missing = forget_now(&world, &[SessionId([77; 16])]).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let gone = forgotten(&world.repository).await.unwrap().snapshots;
    assert_eq!(gone.len(), 3);
}

#[tokio::test]
async fn held_snapshots_are_refused_by_name_and_nothing_is_done() {
    let (world, all) = with_snapshots(2).await;
    let repository = &world.repository;
    let held = change_labels(repository, &[all[0].id], &LabelChange::hold(true)).await.unwrap();
    assert!(held[0].is_held && held[0].is_changed);
    let again = change_labels(repository, &[all[0].id], &LabelChange::hold(true)).await.unwrap();
    assert!(again[0].is_held && !again[0].is_changed);
    let refused = forget_now(&world, &[all[1].id, all[0].id]).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains(&all[0].id.to_string()), "{refused}");
    assert_eq!(live(&world).await.len(), 2);
    change_labels(repository, &[all[0].id], &LabelChange::hold(false)).await.unwrap();
    forget_now(&world, &[all[0].id]).await.unwrap();
    assert_eq!(live(&world).await, [all[1].id]);
}

#[tokio::test]
async fn who_forgets_what_somebody_begins_to_hold_is_told_and_undo_brings_it_back_held() {
    let (world, all) = with_snapshots(2).await;
    let before = Survey::read(&world.repository).await.unwrap();
    let id = all[0].id;
    change_labels(&world.repository, &[id], &LabelChange::hold(true)).await.unwrap();
    let told = forget(&world.repository, &before, &[id], "host").await.unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Conflict);
    assert!(told.to_string().contains(&id.to_string()), "{told}");
    let back = undo(&world.repository, id, &options()).await.unwrap().snapshot;
    let list = world.repository.snapshots().await.unwrap().snapshots;
    assert!(list.iter().any(|snapshot| snapshot.id == back && snapshot.is_held));
}

#[tokio::test]
async fn a_tombstone_that_cannot_be_read_buries_nothing_and_is_replaced() {
    let (world, all) = with_snapshots(2).await;
    let id = all[0].id;
    let key = layout::key(&MetaName::Tombstone(id).to_string()).unwrap();
    world.target.create(&key, vec![1, 2, 3]).await.unwrap();
    assert_eq!(live(&world).await.len(), 2);
    let report = forget_now(&world, &[id]).await.unwrap();
    assert_eq!(report.forgotten, [id]);
    assert_eq!(live(&world).await, [all[1].id]);
}

fn prune_all() -> PruneOptions {
    let unused_max = UnusedMax::Bytes(0);
    PruneOptions { unused_max, fence_after: Duration::from_millis(1), ..PruneOptions::default() }
}

async fn prune_now(world: &World) {
    prune(&world.repository, &prune_all(), Arc::new(SilentMonitor)).await.unwrap();
}

async fn assert_sound(world: &World) {
    let options = VerifyOptions { read_data: ReadData::All, ..Default::default() };
    let report = verify(&world.repository, &options, Arc::new(SilentMonitor)).await.unwrap();
    assert!(report.damage.is_empty(), "{:#?}", report.damage);
}

/// Files of which every second one changes: packs are needed in part.
async fn with_mixed_packs() -> (World, Vec<Snapshot>) {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    let mut snapshots = Vec::new();
    for round in 0..2u64 {
        for file in 0..20 {
            let seed = if file % 2 == 0 { file } else { 100 * round + file };
            source.put(&format!("d/f{file}"), noise(seed, 30_000));
        }
        snapshots.push(world.backup(&source).await);
    }
    (world, snapshots)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_before_a_prune_outlives_it() {
    let (world, all) = with_mixed_packs().await;
    forget_now(&world, &[all[0].id]).await.unwrap();
    undo(&world.repository, all[0].id, &options()).await.unwrap();
    prune_now(&world).await;
    assert_eq!(live(&world).await.len(), 2);
    assert_sound(&world).await;
}

/// Every pack that the snapshot needs has a successor, but not all of its chunks came along.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_prune_what_lost_a_chunk_does_not_come_back() {
    let (world, all) = with_mixed_packs().await;
    forget_now(&world, &[all[0].id]).await.unwrap();
    prune_now(&world).await;
    let refused = undo(&world.repository, all[0].id, &options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert_eq!(live(&world).await, [all[1].id]);
    assert_sound(&world).await;
}

/// A snapshot that was forgotten after its packs had been rewritten is whole in the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_rewritten_before_it_was_forgotten_comes_back() {
    let (world, all) = with_mixed_packs().await;
    forget_now(&world, &[all[0].id]).await.unwrap();
    prune_now(&world).await;
    world.repository.snapshots().await.unwrap();
    assert!(
        world
            .repository
            .packs()
            .has_moved(&world.repository.load_commit(all[1].id).await.unwrap().references)
    );
    forget_now(&world, &[all[1].id]).await.unwrap();
    undo(&world.repository, all[1].id, &options()).await.unwrap();
    prune_now(&world).await;
    assert_eq!(live(&world).await.len(), 1);
    assert_sound(&world).await;
}

#[tokio::test]
async fn labels_of_several_people_add_up() {
    let (world, all) = with_snapshots(1).await;
    let repository = &world.repository;
    let id = all[0].id;
    let add = |tag: &str| {
        LabelChange::tags(TagChange::Edit { add: vec![tag.to_owned()], remove: Vec::new() })
    };
    let changes: Vec<LabelChange> = (0..20).map(|number| add(&number.to_string())).collect();
    let ids = [id];
    let works = changes.iter().map(|change| change_labels(repository, &ids, change));
    futures::future::try_join_all(works).await.unwrap();
    change_labels(repository, &[id], &LabelChange::hold(true)).await.unwrap();
    let snapshot = repository.snapshots().await.unwrap().snapshots.remove(0);
    let mut tags = snapshot.tags;
    tags.sort_by_key(|tag| tag.parse::<u32>().unwrap());
    assert_eq!(tags, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(snapshot.is_held);
    let many = (0..1001).map(|number| number.to_string()).collect();
    let many = LabelChange::tags(TagChange::Set(many));
    assert_eq!(
        change_labels(repository, &[id], &many).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn a_snapshot_whose_label_is_damaged_counts_as_held_until_it_has_a_new_one() {
    let (world, all) = with_snapshots(2).await;
    let id = all[0].id;
    change_labels(&world.repository, &[id], &LabelChange::hold(true)).await.unwrap();
    let key = layout::key(&MetaName::Label(id, 0).to_string()).unwrap();
    world.target.replace(&key, vec![1, 2, 3]).await.unwrap();
    let survey = Survey::read(&world.repository).await.unwrap();
    assert_eq!(survey.damaged.len(), 1);
    assert!(survey.candidate(survey.snapshot(id).unwrap()).is_held);
    let refused = forget_now(&world, &[id]).await.unwrap_err();
    assert!(refused.hint_text().unwrap().contains("damaged"), "{refused:?}");
    change_labels(&world.repository, &[id], &LabelChange::hold(false)).await.unwrap();
    forget_now(&world, &[id]).await.unwrap();
}

#[tokio::test]
async fn undo_makes_a_new_snapshot_with_the_same_table() {
    let (world, all) = with_snapshots(2).await;
    let id = all[0].id;
    let tags = LabelChange::tags(TagChange::Set(vec!["kept".to_owned()]));
    change_labels(&world.repository, &[id], &tags).await.unwrap();
    forget_now(&world, &[id]).await.unwrap();
    let undone = undo(&world.repository, id, &options()).await.unwrap();
    assert!(undone.is_new && undone.snapshot != id);
    let again = undo(&world.repository, id, &options()).await.unwrap();
    assert_eq!((again.is_new, again.snapshot), (false, undone.snapshot));
    let list = world.repository.snapshots().await.unwrap().snapshots;
    let copy = list.iter().find(|snapshot| snapshot.id == undone.snapshot).unwrap();
    assert_eq!(copy.root, all[0].root);
    assert_eq!((copy.time, copy.started), (all[0].time, all[0].started));
    assert_eq!(copy.original, Some(Original { repository: world.repository.id(), snapshot: id }));
    assert_eq!(copy.tags, ["kept"]);
    assert_eq!(list.len(), 2);
    // the clock that made the commit is not held against it
    let survey = Survey::read(&world.repository).await.unwrap();
    let placed = survey.placed[&copy.id];
    assert_eq!((placed.time, placed.by), (all[0].time, PlacedBy::Snapshot));
    // nobody need wait for the session
    let session = layout::key(&MetaName::Session(undone.snapshot).to_string()).unwrap();
    assert!(!world.target.exists(&session).await.unwrap());
}

#[tokio::test]
async fn what_was_not_forgotten_is_not_brought_back() {
    let (world, all) = with_snapshots(1).await;
    for id in [all[0].id, SessionId([66; 16])] {
        let refused = undo(&world.repository, id, &options()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
    }
    assert_eq!(live(&world).await, [all[0].id]);
}

#[tokio::test]
async fn undo_is_refused_once_a_pack_is_gone() {
    let (world, all) = with_snapshots(1).await;
    forget_now(&world, &[all[0].id]).await.unwrap();
    let packs = layout::prefix(layout::PACKS).unwrap();
    let pack = world.target.list_all(&packs).await.unwrap().remove(0);
    world.target.delete(&pack.key).await.unwrap();
    let refused = undo(&world.repository, all[0].id, &options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(refused.to_string().contains(pack.key.as_str()), "{refused}");
    assert!(live(&world).await.is_empty());
}

/// A prune has condemned the packs, whether or not it gets round to deleting them.
#[tokio::test]
async fn undo_is_refused_once_a_pack_is_condemned() {
    let (world, all) = with_snapshots(1).await;
    let id = all[0].id;
    forget_now(&world, &[id]).await.unwrap();
    let packs = world.repository.load_commit(id).await.unwrap().references;
    let head =
        CollectorHead { number: 1, phase: CyclePhase::Condemned, packs, ..Default::default() };
    assert!(world.repository.publish_head(&head).await.unwrap());
    let refused = undo(&world.repository, id, &options()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(live(&world).await.is_empty());
}

#[tokio::test]
async fn a_tombstone_says_what_it_buries() {
    let (world, all) = with_snapshots(1).await;
    forget_now(&world, &[all[0].id]).await.unwrap();
    let name = MetaName::Tombstone(all[0].id).to_string();
    let key = layout::key(&name).unwrap();
    let sealed = world.target.get_full(&key).await.unwrap();
    let keys = world.repository.keys();
    let content = record::open(keys, ObjectType::Tombstone, &name, &sealed).unwrap();
    let tombstone = crate::format::tombstone::Tombstone::decode(&content).unwrap();
    assert_eq!(tombstone.session, all[0].id);
    assert_eq!(tombstone.commit, all[0].hash);
    assert_eq!(tombstone.host, "host");
    let taken = world.target.create(&key, vec![0]).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
}

#[tokio::test]
async fn the_last_of_a_group_is_named() {
    let (_, all) = with_snapshots(3).await;
    let ids: Vec<SessionId> = all.iter().map(|one| one.id).collect();
    expect_survivors(&all, &ids[..2], GroupBy::default()).unwrap();
    let refused = expect_survivors(&all, &ids, GroupBy::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains(&ids[2].to_string()), "{refused}");
    let mut other = all.clone();
    other[0].host = "elsewhere".to_owned();
    let refused = expect_survivors(&other, &ids[..1], GroupBy::default()).unwrap_err();
    assert!(refused.to_string().contains(&ids[0].to_string()), "{refused}");
    expect_survivors(&other, &ids[..1], GroupBy::NOTHING).unwrap();
}

#[tokio::test]
async fn commits_are_in_the_order_in_which_they_saw_one_another() {
    let (world, all) = with_snapshots(5).await;
    let survey = Survey::read(&world.repository).await.unwrap();
    let positions: Vec<u64> = all.iter().map(|one| survey.placed[&one.id].position).collect();
    assert_eq!(positions, [0, 1, 2, 3, 4]);
}
