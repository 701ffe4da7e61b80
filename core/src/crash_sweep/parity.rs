//! Repair of parity and copies, over every kind of damage that it heals.

use super::{Extent, sweep};
use crate::{
    error::Result,
    monitor::SilentMonitor,
    repository::Repository,
    target::{ObjectKey, TargetExt, layers::ScrubOptions},
    testing::stage::{Stage, Told, objects},
};

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let stage = damaged().await;
    let options = ScrubOptions { removes_orphans: true, ..ScrubOptions::default() };
    let repair = async |repository: &Repository, _: &mut Told| -> Result<()> {
        let parity = repository.parity().unwrap();
        Ok(parity.scrub(options, &SilentMonitor).await.map(drop)?)
    };
    sweep("repair parity", extent, &stage, repair).await
}

/// Whatever lies below these folders is damaged or lost in turn: primaries, copies, parity.
async fn damaged() -> Stage {
    let middle = |length: usize| length / 2;
    let mut stage = Stage::with(4, true).await;
    stage.forget(1).await;
    let stored = objects(&stage.target).await;
    let primaries: Vec<&ObjectKey> = stored
        .keys()
        .filter(|key| !key.as_str().starts_with("copies/") && !key.as_str().starts_with("parity/"))
        .filter(|key| !key.as_str().starts_with("meta/sessions/"))
        .collect();
    for (number, key) in primaries.iter().enumerate() {
        let is_pack = key.as_str().starts_with("packs/");
        let beside = match key.as_str().strip_prefix("packs/") {
            Some(rest) => format!("parity/{rest}"),
            None => format!("copies/{}/{key}", 1 + number / 4 % 2),
        };
        let beside = ObjectKey::parse(&beside).unwrap();
        match number % 4 {
            0 => stage.flip(key, middle).await,
            1 if is_pack => stage.flip(&beside, middle).await,
            1 => stage.target.delete(key).await.unwrap(),
            2 => stage.target.delete(&beside).await.unwrap(),
            _ => {
                stage.flip(&beside, middle).await;
                if !is_pack {
                    stage.flip(key, middle).await;
                }
            }
        }
    }
    let (parity, content) =
        stored.iter().find(|(key, _)| key.as_str().starts_with("parity/")).unwrap();
    let (session, _) = parity.as_str().rsplit_once('/').unwrap();
    let orphan = format!("{session}/99");
    stage.target.create(&ObjectKey::parse(&orphan).unwrap(), content.clone()).await.unwrap();
    stage.orphans.insert(orphan);
    stage
}
