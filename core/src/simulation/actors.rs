//! Who works on a simulated repository: clients that back up, people who forget snapshots,
//! collectors.

use std::{sync::Arc, time::Duration};

use super::{
    dice::Dice,
    world::{ProcessId, Tree, World},
};
use crate::{
    backup::{BackupOptions, Parent, backup_in_stages},
    entry::EntryKind,
    id::ClientId,
    monitor::SilentMonitor,
    prune::{PruneOptions, UnusedMax, prune},
    repository::SnapshotKind,
    target::MemoryTarget,
    testing::{MemorySource, world::noise},
};

/// Contents that all clients draw their files from, so that they share chunks.
const CONTENTS: u64 = 24;

/// Backs up a tree that changes, again and again.
pub(super) async fn write(world: Arc<World>, lane: u64) {
    let dice = Dice::new(&[world.seed, lane, u64::MAX]);
    let source = Arc::new(MemorySource::default());
    let cache = dice.happens(500).then(|| Arc::new(MemoryTarget::new()));
    let options = options(lane);
    for number in 0..3 + dice.below(6) {
        world.pause(lane, dice.wait(world.pause_max)).await;
        change(&source, &dice);
        let tree = tree_of(&source);
        let process = ProcessId { lane, number };
        let run = world.process(process, cache.clone(), async |repository| {
            backup_in_stages(&repository, source.clone(), &options).await
        });
        if let Some(Ok(snapshot)) = run.await {
            world.promise(snapshot, tree);
        }
    }
}

fn options(lane: u64) -> BackupOptions {
    BackupOptions {
        host: format!("host{lane}"),
        user: "user".to_owned(),
        tags: Vec::new(),
        time: None,
        kind: SnapshotKind::Incremental,
        parent: Parent::Automatic,
        client: ClientId([lane as u8 + 1; 16]),
        is_dry_run: false,
        workers: 1,
        compression: None,
    }
}

/// Some files come, change and go; sometimes nothing happens.
fn change(source: &MemorySource, dice: &Dice) {
    let is_first = source.see().is_empty();
    for _ in 0..dice.below(4) + u64::from(is_first) {
        let path = format!("d{}/f{}", dice.below(2), dice.below(4));
        let is_there = source.see().contains_key(&crate::testing::world::path(&path));
        if is_there && dice.happens(300) {
            source.remove(&path);
        } else {
            let content = dice.below(CONTENTS);
            source.put(&path, noise(content, 300 + 700 * content as usize));
        }
    }
}

fn tree_of(source: &MemorySource) -> Tree {
    let nodes = source.see().into_iter();
    let files = nodes.filter(|(_, node)| node.stat.kind == EntryKind::File);
    files.map(|(path, node)| (path, node.content)).collect()
}

/// Forgets snapshots.
pub(super) async fn forget(world: Arc<World>, lane: u64) {
    let dice = Dice::new(&[world.seed, lane, u64::MAX]);
    for number in 0..4 + dice.below(12) {
        world.pause(lane, dice.wait(world.pause_max)).await;
        let Some(snapshot) = world.doom(&dice) else { continue };
        let run = world.process(ProcessId { lane, number }, None, async |repository| {
            let hash = repository.load_commit(snapshot).await?.hash;
            repository.put_tombstone(snapshot, hash, "host").await
        });
        // one that fails or dies may have forgotten it or not
        drop(run.await);
    }
}

/// Prunes.
pub(super) async fn collect(world: Arc<World>, lane: u64) {
    let dice = Dice::new(&[world.seed, lane, u64::MAX]);
    let cache = dice.happens(500).then(|| Arc::new(MemoryTarget::new()));
    for number in 0..3 + dice.below(8) {
        world.pause(lane, dice.wait(world.pause_max)).await;
        let unused_max = match dice.below(3) {
            0 => UnusedMax::Unlimited,
            1 => UnusedMax::Percent(10.0),
            _ => UnusedMax::Bytes(0),
        };
        let options = PruneOptions {
            unused_max,
            fence_after: Duration::from_secs(90 + dice.below(900)),
            client: ClientId([lane as u8 + 1; 16]),
            ..PruneOptions::default()
        };
        let process = ProcessId { lane, number };
        let run = world.process(process, cache.clone(), async |repository| {
            prune(&repository, &options, Arc::new(SilentMonitor)).await
        });
        if let Some(Ok(report)) = run.await {
            world.count(|tally| {
                tally.prunes += 1;
                tally.taken_over += u64::from(report.took_over);
                tally.packs_removed += report.packs_removed;
                tally.packs_rewritten += report.packs_rewritten;
            });
        }
    }
}
