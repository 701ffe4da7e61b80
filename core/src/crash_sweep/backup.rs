//! Backups: the first one, a later one, and one that takes over what an earlier one left.

use std::sync::Arc;

use super::{Extent, sweep};
use crate::{
    error::Result,
    repository::Repository,
    target::{
        Operation,
        layers::{FaultEffect, FaultLayer, FaultRule, When},
    },
    testing::{
        stage::{Stage, Told, back_up, tree},
        world::{World, noise},
    },
};

/// A version with a few megabytes, and so with several packs.
const LARGE: u64 = 40;

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        let back_up = async |repository: &Repository, told: &mut Told| -> Result<()> {
            told.made.push(back_up(repository, LARGE).await?);
            Ok(())
        };
        let empty = Stage::empty(has_parity).await;
        points += sweep(&format!("first backup {with}"), extent, &empty, back_up).await;
        let some = Stage::with(2, has_parity).await;
        points += sweep(&format!("backup {with}"), extent, &some, back_up).await;
        let left = interrupted(has_parity).await;
        points += sweep(&format!("backup after a killed one {with}"), extent, &left, back_up).await;
    }
    points
}

/// A repository with the packs of a backup that died before its commit.
async fn interrupted(has_parity: bool) -> Stage {
    let stage = Stage::with(1, has_parity).await;
    let faults = Arc::new(FaultLayer::new(stage.target.clone(), stage.runtime.clock.clone()));
    let repository = stage.open(faults.clone()).await;
    let nth = if has_parity { 6 } else { 4 };
    faults.add(FaultRule::new(Operation::Put, FaultEffect::CutOff(When::Before)).nth(nth));
    let source = tree(LARGE);
    source.put("more", noise(77, 3 << 20));
    let world = World { target: stage.target.clone(), repository };
    world.try_backup(&source).await.unwrap_err();
    stage
}
