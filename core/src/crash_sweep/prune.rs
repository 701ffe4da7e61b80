//! Prunes: dropping packs, rewriting them, writing the index anew, taking another one over.

use std::sync::Arc;

use super::{Extent, sweep};
use crate::{
    format::collector::CyclePhase,
    repository::Repository,
    target::{
        Operation,
        layers::{FaultEffect, FaultLayer, FaultRule, When},
    },
    testing::stage::{Stage, Told, prune_once},
};

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let prune = async |repository: &Repository, _: &mut Told| prune_once(repository).await;
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        let wasteful = wasteful(has_parity).await;
        points += sweep(&format!("prune {with}"), extent, &wasteful, prune).await;
        for phase in [CyclePhase::Condemned, CyclePhase::Dead] {
            let left = left_at(&wasteful, phase).await;
            let name = format!("prune that takes over at {phase:?} {with}");
            points += sweep(&name, extent, &left, prune).await;
        }
        let name = format!("prune that writes the index anew {with}");
        let stage = with_many_void_rows(has_parity).await;
        let undisturbed = stage.copy().await.reopen().await;
        prune_once(&undisturbed).await.unwrap();
        let overview = undisturbed.overview().await.unwrap();
        assert!(overview.view.head().base.is_some(), "it writes no index");
        points += sweep(&name, extent, &stage, prune).await;
    }
    points
}

/// A repository with packs that nobody needs, and packs that are needed in part.
async fn wasteful(has_parity: bool) -> Stage {
    let mut stage = Stage::with(8, has_parity).await;
    stage.forget(6).await;
    stage
}

/// The same, with a prune that died once it had published a head of this phase.
async fn left_at(stage: &Stage, phase: CyclePhase) -> Stage {
    for nth in 1.. {
        let stage = stage.copy().await;
        let faults = Arc::new(FaultLayer::new(stage.target.clone(), stage.runtime.clock.clone()));
        let repository = stage.open(faults.clone()).await;
        faults.add(FaultRule::new(Operation::Put, FaultEffect::CutOff(When::After)).nth(nth));
        prune_once(&repository).await.unwrap_err();
        let overview = stage.reopen().await.overview().await.unwrap();
        if overview.view.head().phase == phase {
            return stage;
        }
    }
    unreachable!("some head is the last one")
}

/// A repository whose index tells mostly of packs that are gone.
async fn with_many_void_rows(has_parity: bool) -> Stage {
    let mut stage = Stage::with(14, has_parity).await;
    stage.forget(12).await;
    prune_once(&stage.reopen().await).await.unwrap();
    stage
}
