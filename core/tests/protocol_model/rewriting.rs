//! The steps by which a collector copies what is live of a partly used pack into a new one.
//!
//! The copy belongs to a maintenance session: it is announced and committed like that of a
//! writer, and can be fenced like one.

use crate::{
    collector::{Turn, maintenance_slots},
    scope::{Flaw, Scope},
    search::Steps,
    state::{
        Collector, CollectorAt, Commit, FIRST_REWRITE, Forwarding, PACKS, State, forward, has,
        members, only,
    },
    step::What,
};

/// A maintenance session that nobody began.
pub(crate) fn free_slot(state: &State, scope: &Scope) -> Option<usize> {
    let is_free = |slot: &usize| {
        state.commits[*slot] == Commit::None
            && !has(state.announced, *slot)
            && state.collectors.iter().all(|other| usize::from(other.slot) != *slot)
    };
    maintenance_slots(scope).find(is_free)
}

pub(crate) fn announce(turn: &Turn<'_>, out: &mut Steps) {
    let Some(slot) = free_slot(turn.state, turn.scope) else {
        // another collector took the last one: without it nothing is rewritten
        let me = *turn.me();
        let packs = me.packs & !only(me.source.into());
        let next = Collector {
            at: CollectorAt::PublishDead,
            packs,
            source: 0,
            content: 0,
            retired: 0,
            seen: 0,
            ..me
        };
        out.add(turn.step("does not rewrite after all", What::Nothing), turn.after(next));
        return;
    };
    let at = match turn.scope.has(Flaw::NoHeadCheck) {
        true => CollectorAt::PutCopy,
        false => CollectorAt::CheckHead,
    };
    let mut after = turn.after(Collector { at, slot: slot as u8, ..*turn.me() });
    after.announced |= only(slot);
    out.add(turn.step("announces maintenance session", What::Session(slot)), after);
}

/// Whoever took over before lists the session only if it was announced before: so it is over.
pub(crate) fn check_head(turn: &Turn<'_>, out: &mut Steps) {
    if turn.state.head == turn.me().head {
        let after = turn.after(Collector { at: CollectorAt::PutCopy, ..*turn.me() });
        out.add(turn.step("lists the heads: its own is the newest", What::Nothing), after);
    } else {
        turn.stop("lists the heads: another one took over", out);
    }
}

pub(crate) fn put_copy(turn: &Turn<'_>, out: &mut Steps) {
    let me = *turn.me();
    if !has(turn.state.stored, me.source.into()) {
        turn.stop("cannot read the pack any more", out);
        return;
    }
    let at = match turn.scope.flaw {
        Some(Flaw::DeadBeforeMaintenance) => CollectorAt::PublishDead,
        Some(Flaw::TombstoneBeforeMaintenance) => CollectorAt::TombstoneOld,
        _ => CollectorAt::CommitMaintenance,
    };
    let slot = usize::from(me.slot);
    let mut after = turn.after(Collector { at, ..me });
    after.stored |= only(slot);
    after.copied[slot - FIRST_REWRITE] = me.content;
    out.add(turn.step("puts the live content into", What::Pack(slot)), after);
}

pub(crate) fn commit(turn: &Turn<'_>, out: &mut Steps) {
    let me = *turn.me();
    let slot = usize::from(me.slot);
    if turn.state.commits[slot] != Commit::None {
        turn.stop("is refused: its maintenance session was fenced", out);
        return;
    }
    let at = match turn.scope.flaw {
        Some(Flaw::DeadBeforeMaintenance) => CollectorAt::Delete,
        Some(Flaw::TombstoneBeforeMaintenance) => CollectorAt::PublishDead,
        _ if me.seen == 0 => after_maintenance(turn.scope),
        _ => CollectorAt::TombstoneOld,
    };
    let mut after = turn.after(Collector { at, slot: 0, ..me });
    after.commits[slot] = Commit::Made;
    after.announced &= !only(slot);
    after.rows |= only(slot);
    after.forwardings[slot - FIRST_REWRITE] = composed(turn);
    after.generations[slot - FIRST_REWRITE] = me.head;
    out.add(turn.step("makes the maintenance commit", What::Session(slot)), after);
}

/// Where all packs went, as this collector saw it, and its own copy.
fn composed(turn: &Turn<'_>) -> Forwarding {
    let me = turn.me();
    let (source, slot) = (usize::from(me.source), usize::from(me.slot));
    let own = forward(0, source, slot);
    if turn.scope.has(Flaw::ForwardingNotComposed) {
        return own;
    }
    let is_kept = |pack: &usize| *pack != source && !has(me.retired, *pack);
    (0..PACKS).filter(is_kept).fold(own, |forwarding, pack| {
        match turn.state.resolve_by(pack, me.seen) {
            successor if successor == source => forward(forwarding, pack, slot),
            successor if successor == pack => forwarding,
            successor => forward(forwarding, pack, successor),
        }
    })
}

pub(crate) fn tombstone_old(turn: &Turn<'_>, out: &mut Steps) {
    let me = *turn.me();
    let at = match turn.scope.has(Flaw::TombstoneBeforeMaintenance) {
        true => CollectorAt::CommitMaintenance,
        false => after_maintenance(turn.scope),
    };
    let mut after = turn.after(Collector { at, ..me });
    members(me.seen).for_each(|slot| after.forgotten |= only(slot));
    out.add(turn.step("tombstones maintenance commits", What::Sessions(me.seen)), after);
}

fn after_maintenance(scope: &Scope) -> CollectorAt {
    match scope.has(Flaw::RewritesBeforeBarrier) {
        true => CollectorAt::ListSessions,
        false => CollectorAt::PublishDead,
    }
}
