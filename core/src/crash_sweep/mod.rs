//! A process dies at every call by which it changes a repository, and nobody repairs anything.
//!
//! For each verb: a repository is prepared, and the verb runs on copies of it, cut off from the
//! storage for good at its first, second, ... put and delete, just before the storage did it, or
//! just after. Then life goes on: sometimes the same verb once more, then a backup, a forget and
//! prunes; everything that anybody was told of must be there, byte for byte, and nothing else.
//!
//! All points: `cargo test -p strongroom-core crash_sweep -- --ignored --nocapture`

mod backup;
mod copy;
mod forget;
mod keys;
mod parity;
mod prune;
mod repair;

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;

use crate::{
    error::Result,
    repository::Repository,
    target::{
        Operation,
        layers::{FaultEffect, FaultLayer, FaultRule, When},
    },
    testing::stage::{Stage, Told},
};

/// How many of the points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// A share of them, different ones for each kind of point.
    Some,
    /// Each of them.
    All,
}

/// What the verb is to the repository that it ran on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// All is well without it, too.
    Wish,
    /// It mends what is damaged: all is well once it came to its end.
    Cure,
}

/// Of so many points one is tried where time is short.
const STRIDE: u64 = 3;

impl Extent {
    fn stride(self) -> u64 {
        match self {
            Self::Some => STRIDE,
            Self::All => 1,
        }
    }

    /// The first point to try.
    fn first(self, operation: Operation, when: When) -> u64 {
        let offset = 2 * u64::from(operation == Operation::Delete) + u64::from(when == When::After);
        1 + offset % self.stride()
    }
}

/// Cuts `verb` off at its writes, on copies of `prepared`; how many points that were.
async fn sweep(
    name: &str,
    extent: Extent,
    prepared: &Stage,
    verb: impl AsyncFn(&Repository, &mut Told) -> Result<()>,
) -> u64 {
    sweep_of(Need::Wish, name, extent, prepared, verb).await
}

/// As [`sweep`].
async fn sweep_of(
    need: Need,
    name: &str,
    extent: Extent,
    prepared: &Stage,
    verb: impl AsyncFn(&Repository, &mut Told) -> Result<()>,
) -> u64 {
    let mut points = 0;
    for operation in [Operation::Put, Operation::Delete] {
        for when in [When::Before, When::After] {
            let mut nth = extent.first(operation, when);
            loop {
                let what = format!("{name}, cut off at {operation} {nth} ({when:?})");
                let cut = FaultRule::new(operation, FaultEffect::CutOff(when)).nth(nth);
                let run = die_and_go_on(need, prepared, cut, nth, &verb);
                match AssertUnwindSafe(run).catch_unwind().await {
                    Ok(true) => points += 1,
                    Ok(false) => break,
                    Err(panic) => {
                        println!("{what}");
                        std::panic::resume_unwind(panic);
                    }
                }
                nth += extent.stride();
            }
        }
    }
    println!("{name}: {points} points");
    points
}

/// Runs `verb` until it is cut off, and what comes after; false if it came to its end.
async fn die_and_go_on(
    need: Need,
    prepared: &Stage,
    cut: FaultRule,
    nth: u64,
    verb: &impl AsyncFn(&Repository, &mut Told) -> Result<()>,
) -> bool {
    let mut stage = prepared.copy().await;
    let clock = prepared.runtime.clock.clone();
    let faults = Arc::new(FaultLayer::new(stage.target.clone(), clock));
    let repository = stage.open(faults.clone()).await;
    faults.add(cut);
    let mut told = Told::default();
    let result = verb(&repository, &mut told).await;
    drop(repository);
    let is_cut_off = faults.is_cut_off();
    if !is_cut_off {
        result.unwrap();
    }
    stage.learn(told);
    // the verb itself may come next, or not; or another one before it
    let is_next = (nth / 2).is_multiple_of(2);
    if is_cut_off && need == Need::Cure && !is_next {
        stage.back_up().await;
    }
    if is_cut_off && (is_next || need == Need::Cure) {
        let mut told = Told::default();
        verb(&stage.open(stage.target.clone()).await, &mut told).await.unwrap();
        stage.learn(told);
    }
    stage.go_on().await;
    is_cut_off
}

#[cfg(test)]
mod tests {
    use super::{Extent, backup, copy, forget, keys, parity, prune, repair};

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a minute or more; see the top of this file"]
    async fn every_point() {
        let counts = [
            ("backup", backup::sweeps(Extent::All).await),
            ("forget", forget::sweeps(Extent::All).await),
            ("prune", prune::sweeps(Extent::All).await),
            ("key", keys::sweeps(Extent::All).await),
            ("copy", copy::sweeps(Extent::All).await),
            ("repair parity", parity::sweeps(Extent::All).await),
            ("repair", repair::sweeps(Extent::All).await),
        ];
        let total: u64 = counts.iter().map(|(_, points)| points).sum();
        println!("{total} points: {counts:?}");
        assert!(total >= 500, "{total} points");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_backup_may_die_at_any_write() {
        assert!(backup::sweeps(Extent::Some).await > 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_forget_may_die_at_any_write() {
        assert!(forget::sweeps(Extent::Some).await > 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_prune_may_die_at_any_write() {
        assert!(prune::sweeps(Extent::Some).await > 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_of_keys_may_die_at_any_write() {
        assert!(keys::sweeps(Extent::Some).await > 20);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_copy_may_die_at_any_write() {
        assert!(copy::sweeps(Extent::Some).await > 10);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repair_of_parity_may_die_at_any_write() {
        assert!(parity::sweeps(Extent::Some).await > 5);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_repair_may_die_at_any_write() {
        assert!(repair::sweeps(Extent::Some).await > 5);
    }
}
