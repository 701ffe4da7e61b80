//! A monitor that passes every problem on once, however many lanes report it.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use crate::monitor::{Monitor, Phase, Problem, Progress};

/// Problems remembered at most: a tree of which nothing can be read must not fill the memory.
const PROBLEMS_MAX: usize = 100_000;

/// In front of the caller's monitor when there are several lanes.
pub(super) struct Once {
    inner: Arc<dyn Monitor>,
    hasher: RandomState,
    told: Mutex<HashSet<u64>>,
}

impl Once {
    pub(super) fn new(inner: Arc<dyn Monitor>) -> Self {
        Self { inner, hasher: RandomState::new(), told: Mutex::default() }
    }
}

impl Monitor for Once {
    fn phase(&self, phase: Phase) {
        self.inner.phase(phase);
    }

    fn advance(&self, delta: Progress) {
        self.inner.advance(delta);
    }

    fn problem(&self, problem: &Problem) {
        let hash = self.hasher.hash_one((&problem.item, &problem.message));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= PROBLEMS_MAX {
            told.clear();
        }
        let is_new = told.insert(hash);
        drop(told);
        if is_new {
            self.inner.problem(problem);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.inner.is_cancelled()
    }
}
