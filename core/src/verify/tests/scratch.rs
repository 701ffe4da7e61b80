//! Test restores: what comes back is compared, and nothing is left behind.

use super::*;
use crate::testing::sink::{MemorySink, SinkFaults};

async fn restore_with(
    world: &World,
    sink: &MemorySink,
    snapshots: &[SessionId],
) -> Result<VerifyReport> {
    let options = VerifyOptions {
        snapshots: snapshots.to_vec(),
        restore_into: Some(Arc::new(sink.clone())),
        ..VerifyOptions::default()
    };
    verify(&world.repository, &options, Arc::new(SilentMonitor)).await
}

async fn ids(world: &World) -> Vec<SessionId> {
    let snapshots = world.repository.snapshots().await.unwrap().snapshots;
    snapshots.iter().map(|snapshot| snapshot.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_snapshot_is_restored_compared_and_removed_again() {
    let (world, source) = large_world().await;
    source.put("only/in/the/newest", noise(5, 5_000));
    world.backup(&source).await;
    let sink = MemorySink::new();
    let report = restore_with(&world, &sink, &[]).await.unwrap();
    assert_eq!(report.damage, []);
    let restore = report.restore.unwrap();
    assert_eq!((restore.files_restored, restore.files_verified), (61, 61));
    assert_eq!(restore.problems, []);
    assert!(sink.see().is_empty());
    assert!(sink.written_bytes() > 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_snapshots_are_restored_one_after_the_other() {
    let (world, _) = large_world().await;
    let sink = MemorySink::new();
    let report = restore_with(&world, &sink, &ids(&world).await).await.unwrap();
    let restore = report.restore.unwrap();
    assert_eq!((restore.files_restored, restore.files_verified), (120, 120));
    assert!(sink.see().is_empty());
    let error = restore_with(&world, &sink, &[SessionId([1; 16])]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let empty = World::new().await;
    let report = restore_with(&empty, &sink, &[]).await.unwrap();
    assert_eq!(report.restore.unwrap().files_restored, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_is_not_empty_is_left_alone() {
    let (world, _) = large_world().await;
    let sink = MemorySink::new();
    sink.put("precious", b"do not remove");
    let error = restore_with(&world, &sink, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(sink.at("precious").unwrap().content(), b"do not remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_back_is_told_and_the_place_is_emptied() {
    let (world, _) = large_world().await;
    let sink = MemorySink::new();
    sink.fail(SinkFaults { flips_reads: true, ..SinkFaults::default() });
    let restore = restore_with(&world, &sink, &[]).await.unwrap().restore.unwrap();
    assert!(restore.problem_count >= 60, "every file that was read back: {restore:?}");
    assert!(sink.see().is_empty());

    sink.fail(SinkFaults {
        room_bytes: Some(sink.written_bytes() + 100_000),
        ..SinkFaults::default()
    });
    assert!(restore_with(&world, &sink, &[]).await.is_err());
    assert!(sink.see().is_empty());
    sink.fail(SinkFaults::default());

    for (key, content) in objects(&world).await {
        if key.starts_with("packs/") {
            put(&world, &key, flipped(&content, content.len() * 4)).await;
        }
    }
    let report = restore_with(&world, &sink, &[]).await.unwrap();
    let lost = report.restore.map_or(0, |restore| restore.problem_count);
    assert!(lost > 0 || !report.damage.is_empty());
    assert!(sink.see().is_empty());
}
