//! Repair of the index, of packs and of snapshots.

use std::sync::Arc;

use super::{Extent, Need, sweep_of};
use crate::{
    error::Result,
    id::ClientId,
    monitor::SilentMonitor,
    repair::{self, RepairOptions},
    repository::Repository,
    target::ObjectKey,
    testing::{
        MemorySource,
        stage::{Promise, Stage, Told, objects},
        world::noise,
    },
    verify::ReadData,
};

/// Versions from this one on are those of so many less, without what is lost.
const WITHOUT_LOST: u64 = 1 << 32;
/// The snapshot whose files are lost.
const LOST: u64 = 2;

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        points += indexes(&format!("repair index {with}"), extent, has_parity).await;
    }
    points + packs(extent).await + snapshots(extent).await
}

/// Every version has a file more than the one before: each backup brings back what was lost.
fn growing(version: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 1..=version % WITHOUT_LOST {
        if version < WITHOUT_LOST || file != LOST {
            source.put(&format!("data/{file}"), noise(file, 40_000));
        }
    }
    Arc::new(source)
}

fn options() -> RepairOptions {
    RepairOptions {
        read_data: ReadData::All,
        client: ClientId([6; 16]),
        host: "repairer".to_owned(),
        ..RepairOptions::default()
    }
}

async fn indexes(name: &str, extent: Extent, has_parity: bool) -> u64 {
    let stage = Stage::with(5, has_parity).await;
    let stored = objects(&stage.target).await;
    let indexes = stored.keys().filter(|key| key.as_str().starts_with("meta/index/"));
    for key in indexes.step_by(2) {
        stage.target.delete(key).await.unwrap();
        if has_parity {
            for copy in 1..=2 {
                let copy = ObjectKey::parse(&format!("copies/{copy}/{key}")).unwrap();
                stage.target.delete(&copy).await.unwrap();
            }
        }
    }
    let verb = async |repository: &Repository, _: &mut Told| -> Result<()> {
        repair::index(repository, &options(), Arc::new(SilentMonitor)).await.map(drop)
    };
    sweep_of(Need::Cure, name, extent, &stage, verb).await
}

async fn packs(extent: Extent) -> u64 {
    let stage = damaged().await;
    let verb = async |repository: &Repository, _: &mut Told| -> Result<()> {
        repair::packs(repository, &options(), Arc::new(SilentMonitor)).await.map(drop)
    };
    sweep_of(Need::Cure, "repair packs", extent, &stage, verb).await
}

async fn snapshots(extent: Extent) -> u64 {
    let stage = damaged().await;
    let promises = stage.promises.clone();
    let verb = async |repository: &Repository, told: &mut Told| -> Result<()> {
        let done = repair::snapshots(repository, &options(), Arc::new(SilentMonitor)).await?;
        for repaired in done.snapshots {
            let damaged = promises.iter().find(|promise| promise.id == repaired.snapshot);
            let version = damaged.unwrap().version + WITHOUT_LOST;
            told.made.push(Promise { id: repaired.became.unwrap(), version });
        }
        Ok(())
    };
    sweep_of(Need::Cure, "repair snapshots", extent, &stage, verb).await
}

/// The content of one file is damaged, which all snapshots but the oldest need.
async fn damaged() -> Stage {
    let mut stage = Stage::of(growing, false).await;
    for _ in 0..4 {
        stage.back_up().await;
    }
    let session = stage.promises[LOST as usize - 1].id.to_string();
    let stored = objects(&stage.target).await;
    let is_of_session = |key: &&ObjectKey| {
        key.as_str().starts_with("packs/") && key.as_str().contains(session.as_str())
    };
    let pack = stored.keys().find(is_of_session).expect("a pack of the snapshot");
    // files are read before the table is made, so that their content lies in front
    stage.flip(pack, |_| 1_000).await;
    let (repository, dry) = (stage.reopen().await, RepairOptions { is_dry_run: true, ..options() });
    let report = repair::packs(&repository, &dry, Arc::new(SilentMonitor)).await.unwrap();
    assert_eq!((report.packs_lost, report.damage[0].snapshots.len()), (1, 3), "{report:?}");
    stage
}
