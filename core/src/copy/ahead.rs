//! Reads the segments of small files before their turn comes: many of them share one, and each
//! is one request.
//!
//! Driven by the readers, so that it never runs away from them: whoever opens a file starts the
//! reads of the next few segments that the walk has announced.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::source::Shared;
use crate::{entry::ChunkRef, repository::packs::PackReader, tasks::Task};

/// The place of a segment in the order in which the walk meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

/// The segments to come.
pub(super) struct Ahead {
    packs: Arc<PackReader>,
    /// Segments read ahead at most.
    count_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    last: Option<ChunkRef>,
    /// Announced and not begun.
    waiting: VecDeque<(Turn, ChunkRef)>,
    /// Begun; the oldest first.
    begun: VecDeque<(Turn, Task<()>)>,
}

impl Ahead {
    pub(super) fn new(packs: Arc<PackReader>, count_max: usize) -> Self {
        Self { packs, count_max, state: Mutex::default() }
    }

    /// A file that begins with `chunk` will be read after all that were announced before.
    pub(super) fn announce(&self, chunk: ChunkRef) -> Turn {
        let mut state = self.lock();
        let is_same = |last: &ChunkRef| (last.pack, last.segment) == (chunk.pack, chunk.segment);
        if !state.last.as_ref().is_some_and(is_same) {
            state.next += 1;
            state.last = Some(chunk);
            let turn = Turn(state.next);
            state.waiting.push_back((turn, chunk));
        }
        Turn(state.next)
    }

    /// A file of this turn is opened: the next segments are read now.
    pub(super) fn reached(&self, turn: Turn, shared: &Shared) {
        let mut state = self.lock();
        while state.waiting.front().is_some_and(|(waiting, _)| *waiting <= turn) {
            // its reader fetches this one itself
            state.waiting.pop_front();
        }
        let in_front = |begun: &VecDeque<(Turn, Task<()>)>| {
            begun.iter().filter(|(other, _)| *other > turn).count()
        };
        while in_front(&state.begun) < self.count_max {
            let Some((next, chunk)) = state.waiting.pop_front() else { break };
            let packs = self.packs.clone();
            let task = shared.start("reading ahead", async move {
                // whoever needs it hears of what is wrong with it
                if let Err(error) = packs.chunk(&chunk).await {
                    tracing::debug!(%error, "not read ahead");
                }
            });
            state.begun.push_back((next, task));
        }
        while state.begun.len() > 2 * self.count_max {
            state.begun.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
