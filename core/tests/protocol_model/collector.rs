//! The steps of a collector: mark, condemn, wait for sessions, mark again, delete.

use crate::{
    rewriting,
    scope::{Flaw, Scope},
    search::Steps,
    state::{
        Collector, CollectorAt, Commit, FIRST_REWRITE, PACKS, Phase, Set, State, has, members, only,
    },
    step::{Actor, Step, What},
};

/// One collector in one state.
pub(crate) struct Turn<'a> {
    pub(crate) state: &'a State,
    pub(crate) scope: &'a Scope,
    pub(crate) number: usize,
}

/// Adds what the collector `number` can do.
pub(crate) fn steps(state: &State, scope: &Scope, number: usize, out: &mut Steps) {
    let turn = Turn { state, scope, number };
    if turn.me().is_unsure {
        turn.list_heads(out);
        return;
    }
    match turn.me().at {
        CollectorAt::Begin => turn.begin(out),
        CollectorAt::PublishCondemned => turn.publish_condemned(out),
        CollectorAt::ListSessions => turn.list_sessions(out),
        CollectorAt::Barrier => turn.barrier(out),
        CollectorAt::Remark => turn.remark(out),
        CollectorAt::Announce => rewriting::announce(&turn, out),
        CollectorAt::CheckHead => rewriting::check_head(&turn, out),
        CollectorAt::PutCopy => rewriting::put_copy(&turn, out),
        CollectorAt::CommitMaintenance => rewriting::commit(&turn, out),
        CollectorAt::TombstoneOld => rewriting::tombstone_old(&turn, out),
        CollectorAt::PublishDead => turn.publish_dead(out),
        CollectorAt::Delete => turn.delete(out),
        CollectorAt::PublishIdle => turn.publish_idle(out),
        CollectorAt::DeleteHeads => turn.delete_heads(out),
        CollectorAt::DropRows => turn.drop_rows(out),
    }
}

/// What became of creating the next head.
enum Published {
    /// It is the newest.
    Newest,
    /// The key was free, because that head and the next idle one were deleted long ago.
    Stale,
    /// Another collector was faster.
    Refused,
}

impl Turn<'_> {
    /// This collector.
    pub(crate) fn me(&self) -> &Collector {
        &self.state.collectors[self.number]
    }

    pub(crate) fn step(&self, deed: &'static str, what: What) -> Step {
        Step::new(Actor::Collector(self.number), deed, what)
    }

    /// The state after this collector has become `collector`.
    pub(crate) fn after(&self, collector: Collector) -> State {
        let mut after = *self.state;
        after.collectors[self.number] = collector;
        after
    }

    /// It gives the cycle up: another one took over.
    pub(crate) fn stop(&self, deed: &'static str, out: &mut Steps) {
        let after = self.after(Collector::resting(self.me().cycles_left));
        out.add(self.step(deed, What::Nothing), after);
    }

    fn begin(&self, out: &mut Steps) {
        let me = *self.me();
        if self.scope.withdrawals {
            self.fence_vanished(out);
        }
        if me.cycles_left == 0 {
            return;
        }
        let mut next = me;
        if !self.scope.is_endless {
            next.cycles_left -= 1;
        }
        if self.scope.has(Flaw::NoSessions) {
            let packs = self.garbage(self.state.live(self.scope));
            next = Collector { at: CollectorAt::Delete, packs, ..next };
            if packs != 0 {
                out.add(self.step("marks", What::Packs(packs)), self.after(next));
            }
            return;
        }
        match self.state.phase {
            Phase::Idle => self.mark(next, out),
            phase => self.take_over(phase, next, out),
        }
    }

    fn mark(&self, next: Collector, out: &mut Steps) {
        let at = match self.scope.has(Flaw::ListBeforePublish) {
            true => CollectorAt::ListSessions,
            false => CollectorAt::PublishCondemned,
        };
        for live in self.views() {
            let garbage = self.garbage(live);
            let partly_used = members(self.rewritable(live)).map(only);
            for packs in std::iter::once(0).chain(partly_used).map(|set| set | garbage) {
                if packs != 0 {
                    // rewritten packs stay readable while pages of parents may be reused
                    let packs = packs | self.state.unreferenced_rewritten();
                    let after = self.after(Collector { at, packs, head: self.state.head, ..next });
                    out.add(self.step("marks", What::Packs(packs)), after);
                }
            }
        }
    }

    /// What listing the snapshots may show to be live.
    fn views(&self) -> Vec<Set> {
        let live = self.state.live(self.scope);
        match self.scope.has(Flaw::EmptySnapshotList) && live != 0 {
            true => vec![live, 0],
            false => vec![live],
        }
    }

    /// Packs that no snapshot needs, and whose session ended.
    fn garbage(&self, live: Set) -> Set {
        let state = self.state;
        let there = state.stored | state.indexed() | state.loose_rows & !state.gone;
        let ended = |pack: &usize| {
            state.commits[*pack] != Commit::None
                || matches!(self.scope.flaw, Some(Flaw::NoSessions | Flaw::GracePeriod))
        };
        members(there & !live).filter(ended).fold(0, |set, pack| set | only(pack))
    }

    /// Packs that could be rewritten while there are maintenance sessions left.
    pub(crate) fn rewritable(&self, live: Set) -> Set {
        match rewriting::free_slot(self.state, self.scope) {
            Some(_) => live & self.state.stored,
            None => 0,
        }
    }

    /// Packs of a session that has neither announcement nor commit: it can only be over.
    fn fence_vanished(&self, out: &mut Steps) {
        for slot in members(self.state.stored & !self.state.announced) {
            if self.state.commits[slot] == Commit::None {
                let mut after = *self.state;
                after.commits[slot] = Commit::Aborted;
                out.add(self.step("fences the vanished session", What::Session(slot)), after);
            }
        }
    }

    fn take_over(&self, phase: Phase, next: Collector, out: &mut Steps) {
        let packs = self.state.condemned;
        let at = match phase {
            Phase::Dead => CollectorAt::Delete,
            _ => CollectorAt::ListSessions,
        };
        let mut after = *self.state;
        if !self.scope.has(Flaw::HeadsReplaced) {
            after.head += 1;
        }
        let is_unsure = self.scope.heads_are_deleted;
        let head = after.head;
        after.collectors[self.number] = Collector { at, packs, head, is_unsure, ..next };
        let deed = match phase {
            Phase::Dead => "takes over the dead",
            _ => "takes over the condemned",
        };
        out.add(self.step(deed, What::Packs(packs)), after);
    }

    fn publish(&self) -> Published {
        let head = self.me().head;
        if head == self.state.head || self.scope.has(Flaw::HeadsReplaced) {
            Published::Newest
        } else if self.scope.heads_are_deleted && head + 1 < self.state.oldest_head {
            Published::Stale
        } else {
            Published::Refused
        }
    }

    /// Creates the next head; `change` is what it says, `next` what this collector does then.
    fn publish_as(
        &self,
        step: Step,
        next: Collector,
        change: impl FnOnce(&mut State),
        out: &mut Steps,
    ) {
        let head = self.me().head + 1;
        let looks = self.scope.heads_are_deleted && !self.scope.has(Flaw::NoListAfterCreate);
        let next = Collector { head, is_unsure: looks, ..next };
        match self.publish() {
            Published::Refused => self.stop("finds that another one took over", out),
            Published::Stale => {
                let step = Step { deed: "creates a head that was deleted long ago, for", ..step };
                out.add(step, self.after(next));
            }
            Published::Newest => {
                let mut after = self.after(next);
                after.head += 1;
                after.collectors[self.number].head = after.head;
                change(&mut after);
                out.add(step, after);
            }
        }
    }

    /// Deleted heads can be created again: only a listing tells whether this one counts.
    fn list_heads(&self, out: &mut Steps) {
        let me = *self.me();
        if self.state.head == me.head {
            let after = self.after(Collector { is_unsure: false, ..me });
            out.add(self.step("lists the heads: its own is the newest", What::Nothing), after);
        } else {
            self.stop("lists the heads: another one took over", out);
        }
    }

    fn publish_condemned(&self, out: &mut Steps) {
        let me = *self.me();
        if self.scope.has(Flaw::HeadsReplaced) && self.state.phase != Phase::Idle {
            self.stop("finds that another one took over", out);
            return;
        }
        let next = match self.scope.flaw {
            Some(Flaw::ListBeforePublish | Flaw::GracePeriod) => CollectorAt::Barrier,
            Some(Flaw::RewritesBeforeBarrier) => CollectorAt::Remark,
            _ => CollectorAt::ListSessions,
        };
        let step = self.step("publishes as condemned", What::Packs(me.packs));
        let change = |after: &mut State| {
            after.phase = Phase::Condemned;
            after.condemned = me.packs;
        };
        self.publish_as(step, Collector { at: next, ..me }, change, out);
    }

    fn list_sessions(&self, out: &mut Steps) {
        let me = *self.me();
        let at = match self.scope.has(Flaw::ListBeforePublish) && self.state.phase == Phase::Idle {
            true => CollectorAt::PublishCondemned,
            false => CollectorAt::Barrier,
        };
        let mut sessions = vec![self.state.announced];
        if self.scope.has(Flaw::StaleSessionList) && self.state.announced != 0 {
            sessions.push(0);
        }
        for sessions in sessions {
            let after = self.after(Collector { at, sessions, ..me });
            out.add(self.step("lists the sessions", What::Sessions(sessions)), after);
        }
    }

    /// Waits until each session has a commit, and gives one to those that do not go on.
    fn barrier(&self, out: &mut Steps) {
        let me = *self.me();
        let by_deleting = self.scope.has(Flaw::FenceByDelete);
        let is_open = |slot: &usize| {
            self.state.commits[*slot] == Commit::None
                && (!by_deleting || has(self.state.announced, *slot))
        };
        let open: Vec<usize> = members(me.sessions).filter(is_open).collect();
        for slot in &open {
            let mut after = *self.state;
            after.announced &= !only(*slot);
            if by_deleting {
                out.add(self.step("deletes the announcement of", What::Session(*slot)), after);
            } else {
                after.commits[*slot] = Commit::Aborted;
                out.add(self.step("fences", What::Session(*slot)), after);
            }
        }
        if open.is_empty() {
            let at = match self.scope.has(Flaw::NoRemark) {
                true => CollectorAt::PublishDead,
                false => CollectorAt::Remark,
            };
            let after = self.after(Collector { at, sessions: 0, ..me });
            out.add(self.step("has waited for all of them", What::Nothing), after);
        }
    }

    /// What of the condemned packs is dead, and which partly used one is rewritten first.
    fn remark(&self, out: &mut Steps) {
        let me = *self.me();
        for live in self.views() {
            let dead = Collector { at: CollectorAt::PublishDead, packs: me.packs & !live, ..me };
            let is_early = self.scope.has(Flaw::RewritesBeforeBarrier);
            if is_early && me.content == 0 {
                let next = Collector { at: CollectorAt::ListSessions, ..me };
                out.add(self.step("rewrites nothing", What::Nothing), self.after(next));
            } else {
                let step = self.step("marks again; dead are", What::Packs(dead.packs));
                out.add(step, self.after(dead));
            }
            if is_early && me.content != 0 {
                continue;
            }
            for source in members(me.packs & self.rewritable(live)) {
                let next = Collector {
                    at: CollectorAt::Announce,
                    packs: if is_early { me.packs } else { dead.packs | only(source) },
                    source: source as u8,
                    content: self.state.live_content(source, self.scope),
                    seen: self.state.maintenance(),
                    retired: self.retired(),
                    ..me
                };
                let step = self.step("marks again; it rewrites", What::Pack(source));
                out.add(step, self.after(next));
            }
        }
    }

    /// Condemned packs that were rewritten and that nobody refers to.
    fn retired(&self) -> Set {
        let unreferenced = self.state.unreferenced_rewritten();
        match self.scope.has(Flaw::RetiresUncondemned) {
            true => unreferenced,
            false => unreferenced & self.me().packs,
        }
    }

    fn publish_dead(&self, out: &mut Steps) {
        let me = *self.me();
        let next = match self.scope.flaw {
            Some(Flaw::CycleEndsFirst) => CollectorAt::PublishIdle,
            Some(Flaw::DeadBeforeMaintenance) if me.content != 0 => CollectorAt::CommitMaintenance,
            _ => CollectorAt::Delete,
        };
        let keeps_rows =
            matches!(self.scope.flaw, Some(Flaw::CycleEndsFirst | Flaw::RowsDroppedAfterDeleting));
        let change = |after: &mut State| {
            after.phase = Phase::Dead;
            after.condemned = me.packs;
            if !keeps_rows {
                after.gone |= me.packs;
            }
        };
        let next = match next {
            CollectorAt::CommitMaintenance => Collector { at: next, ..me },
            _ => Collector { at: next, source: 0, content: 0, slot: 0, seen: 0, retired: 0, ..me },
        };
        self.publish_as(self.step("publishes as dead", What::Packs(me.packs)), next, change, out);
    }

    fn delete(&self, out: &mut Steps) {
        let me = *self.me();
        let next = match self.scope.flaw {
            Some(Flaw::NoSessions | Flaw::CycleEndsFirst) => Collector::resting(me.cycles_left),
            _ => Collector { at: CollectorAt::PublishIdle, ..me },
        };
        let mut after = self.after(next);
        after.stored &= !me.packs;
        out.add(self.step("deletes", What::Packs(me.packs)), after);
        if me.packs != 0 {
            after.late_deletes |= me.packs;
            let deed = "deletes (and the requests are still under way once more)";
            out.add(self.step(deed, What::Packs(me.packs)), after);
        }
    }

    fn publish_idle(&self, out: &mut Steps) {
        let me = *self.me();
        let rest = Collector::resting(me.cycles_left);
        let next = match self.scope.flaw {
            Some(Flaw::CycleEndsFirst | Flaw::RowsDroppedAfterDeleting) => {
                Collector { at: CollectorAt::DropRows, packs: me.packs, ..rest }
            }
            _ if self.scope.heads_are_deleted => Collector { at: CollectorAt::DeleteHeads, ..rest },
            _ => rest,
        };
        let close = |after: &mut State| {
            after.phase = Phase::Idle;
            after.condemned = 0;
            let collector = &mut after.collectors[self.number];
            if collector.at == CollectorAt::Begin {
                collector.head = 0;
            }
            if self.scope.has(Flaw::AbortedKeysFreed) {
                let aborted = after.commits.iter_mut().filter(|it| **it == Commit::Aborted);
                aborted.for_each(|commit| *commit = Commit::None);
            }
        };
        self.publish_as(self.step("closes the cycle", What::Nothing), next, close, out);
        if self.state.gone != 0 {
            let step = self.step("closes the cycle with a new base of the index", What::Nothing);
            let rebase = |after: &mut State| {
                close(after);
                self.rebase(after);
            };
            self.publish_as(step, next, rebase, out);
        }
    }

    /// A new base of the index leaves out the rows of packs that are gone, so that the head need
    /// not name them any more: except those that no row names, but that a client may adopt.
    fn rebase(&self, after: &mut State) {
        let state = self.state;
        let is_adoptable = |pack: &usize| state.commits[*pack] != Commit::Made;
        let kept = match self.scope.adoption && !self.scope.has(Flaw::GoneWithoutRowsForgotten) {
            true => members(state.gone).filter(is_adoptable).fold(0, |set, pack| set | only(pack)),
            false => 0,
        };
        after.rows &= !state.gone;
        after.loose_rows &= !state.gone;
        after.gone = kept;
    }

    fn delete_heads(&self, out: &mut Steps) {
        let mut after = self.after(Collector::resting(self.me().cycles_left));
        after.oldest_head = after.oldest_head.max(self.me().head);
        out.add(self.step("deletes older heads", What::Nothing), after);
    }

    fn drop_rows(&self, out: &mut Steps) {
        let me = *self.me();
        let next = match self.scope.has(Flaw::CycleEndsFirst) {
            true => Collector { at: CollectorAt::Delete, ..me },
            false => Collector::resting(me.cycles_left),
        };
        let mut after = self.after(next);
        after.gone |= me.packs;
        out.add(self.step("drops index rows of", What::Packs(me.packs)), after);
    }
}

/// Slots of maintenance sessions that this scope has.
pub(crate) fn maintenance_slots(scope: &Scope) -> std::ops::Range<usize> {
    FIRST_REWRITE..(FIRST_REWRITE + scope.rewrites).min(PACKS)
}
