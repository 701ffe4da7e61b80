//! What two writers stored at the same time, and nobody wanted twice.

use std::sync::Arc;

use super::{Years, content_of, names, options, run};
use crate::{
    monitor::SilentMonitor,
    prune::{PruneOptions, prune},
    target::{KeyPrefix, MemoryTarget, SharedTarget, TargetExt},
    testing::{MemorySource, world::noise},
};

/// The objects of `from` that `to` has not.
async fn bring_over(from: &SharedTarget, to: &SharedTarget) {
    for object in from.list_all(&KeyPrefix::all()).await.unwrap() {
        if !to.exists(&object.key).await.unwrap() {
            let content = from.get_full(&object.key).await.unwrap();
            to.create(&object.key, content).await.unwrap();
        }
    }
}

fn source(number: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    source.put("same", noise(5, 300_000));
    source.put(&format!("own-{number}"), noise(100 + number, 50_000));
    source.put("gone", noise(200 + number, 100_000));
    Arc::new(source)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_prune_leaves_nothing_to_the_next() {
    let mut years = Years::of(0).await;
    let elsewhere: SharedTarget = Arc::new(MemoryTarget::new());
    bring_over(&years.world.target, &elsewhere).await;
    let other = years.world.reopen(elsewhere.clone()).await;
    let mut forgotten = Vec::new();
    for (world, number) in [(&years.world, 1), (&other, 2)] {
        let source = source(number);
        forgotten.push(world.backup(&source).await);
        source.remove("gone");
        let snapshot = world.backup(&source).await;
        let content = content_of(&world.repository, &snapshot).await;
        years.made.push((snapshot, content));
    }
    bring_over(&elsewhere, &years.world.target).await;
    for snapshot in &forgotten {
        super::forget(&years.world.repository, snapshot).await;
    }
    let report = run(&years.world.repository).await.unwrap();
    assert!(report.packs_rewritten >= 2, "{report:?}");
    assert!(report.moved_bytes < 500_000, "the same content moves once: {report:?}");
    years.assert_all_there().await;
    let dry = PruneOptions { is_dry_run: true, ..options() };
    let plan = prune(&years.world.repository, &dry, Arc::new(SilentMonitor)).await.unwrap();
    assert_eq!((plan.packs_rewritten, plan.packs_removed), (0, 0), "{plan:?}");
    let before = names(&years.world.target, "").await;
    run(&years.world.repository).await.unwrap();
    assert_eq!(names(&years.world.target, "").await, before);
}
