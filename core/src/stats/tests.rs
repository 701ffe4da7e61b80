//! Figures of repositories whose content is known.

use std::sync::Arc;

use super::{StatsReport, stats};
use crate::{
    error::ErrorKind,
    id::SessionId,
    monitor::SilentMonitor,
    testing::{
        MemorySource,
        world::{World, noise},
    },
};

async fn measured(world: &World, ids: &[SessionId]) -> StatsReport {
    stats(&world.repository, ids, Arc::new(SilentMonitor)).await.unwrap()
}

#[tokio::test]
async fn an_empty_repository_has_no_size() {
    let world = World::new().await;
    let report = measured(&world, &[]).await;
    let repository = report.repository.unwrap();
    assert_eq!((report.snapshots, report.size_bytes, report.unique_bytes), (0, 0, 0));
    assert_eq!((report.dedup_ratio, report.compression_ratio), (1.0, 1.0));
    assert_eq!((repository.packs, repository.unused_bytes), (0, 0));
    assert!(repository.small_objects > 0);
}

#[tokio::test]
async fn what_is_stored_once_counts_once() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    source.put("a", noise(1, 100_000));
    source.put("folder/same", noise(1, 100_000));
    source.put("zeros", vec![7; 200_000]);
    let first = world.backup(&source).await;
    source.put("b", noise(2, 50_000));
    let second = world.backup(&source).await;

    let all = measured(&world, &[]).await;
    assert_eq!((all.snapshots, all.files, all.dirs), (2, 7, 2));
    assert_eq!(all.size_bytes, 2 * 400_000 + 50_000);
    // equal chunks within the file of equal bytes are one, too
    assert!((150_000..200_000).contains(&all.unique_bytes), "{}", all.unique_bytes);
    assert!(all.dedup_ratio > 4.0);
    let repository = all.repository.unwrap();
    assert!(repository.pack_bytes >= all.stored_bytes);
    assert!(repository.unused_bytes < repository.pack_bytes / 10);

    let one = measured(&world, &[first.id]).await;
    assert_eq!((one.snapshots, one.size_bytes, one.repository), (1, 400_000, None));
    assert_eq!(all.unique_bytes - one.unique_bytes, 50_000);
    let both = measured(&world, &[second.id, first.id]).await;
    assert_eq!(StatsReport { repository: None, ..all }, both);
}

#[tokio::test]
async fn what_was_forgotten_is_unused() {
    let world = World::new().await;
    let source = Arc::new(MemorySource::default());
    source.put("large", noise(1, 500_000));
    let first = world.backup(&source).await;
    source.remove("large");
    source.put("small", noise(2, 1_000));
    world.backup(&source).await;
    let survey = crate::forget::Survey::read(&world.repository).await.unwrap();
    crate::forget::forget(&world.repository, &survey, &[first.id], "host").await.unwrap();
    let report = measured(&world, &[]).await;
    assert_eq!((report.snapshots, report.unique_bytes), (1, 1_000));
    assert!(report.repository.unwrap().unused_bytes > 500_000);
    let missing = stats(&world.repository, &[first.id], Arc::new(SilentMonitor)).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}
