//! A crash at every write of a prune: nothing is lost, and the next prune finishes the work.

use std::sync::Arc;

use super::{Years, names, run};
use crate::{
    runtime::Runtime,
    target::{
        Operation, SharedTarget,
        layers::{FaultEffect, FaultLayer, FaultRule, When},
    },
};

/// A target that is cut off at a chosen write.
pub(super) struct Crash {
    layer: Arc<FaultLayer>,
}

impl Crash {
    pub(super) fn of(target: &SharedTarget) -> Self {
        Self { layer: Arc::new(FaultLayer::new(target.clone(), Runtime::system().clock)) }
    }

    pub(super) fn target(&self) -> SharedTarget {
        self.layer.clone()
    }

    /// After so many puts nothing works any more.
    pub(super) fn after_writes(&self, writes: u64) {
        self.layer
            .add(FaultRule::new(Operation::Put, FaultEffect::CutOff(When::Before)).nth(writes + 1));
    }

    fn at(&self, operation: Operation, nth: u64, when: When) {
        self.layer.add(FaultRule::new(operation, FaultEffect::CutOff(when)).nth(nth));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_write_loses_nothing() {
    let mut points = 0;
    for operation in [Operation::Put, Operation::Delete] {
        for when in [When::Before, When::After] {
            for nth in 1.. {
                let mut years = Years::of(2).await;
                years.forget(0).await;
                let crash = Crash::of(&years.world.target);
                let world = years.world.reopen(crash.target()).await;
                crash.at(operation, nth, when);
                let outcome = run(&world.repository).await;
                if !crash.layer.is_cut_off() {
                    outcome.unwrap();
                    break;
                }
                points += 1;
                years.assert_all_there().await;
                // whoever comes next needs to do nothing special
                years.back_up().await;
                run(&years.world.repository).await.unwrap();
                run(&years.world.repository).await.unwrap();
                years.assert_all_there().await;
                let before = names(&years.world.target, "").await;
                run(&years.world.repository).await.unwrap();
                assert_eq!(names(&years.world.target, "").await, before, "{operation} {nth}");
            }
        }
    }
    assert!(points >= 20, "{points} points");
}
