//! What happens by itself: snapshots are forgotten, requests are applied once more.

use crate::{
    scope::{Flaw, Scope},
    search::Steps,
    state::{Commit, FIRST_REWRITE, SECOND_OLD, State, members, only},
    step::{Actor, Step, What},
};

/// Adds what users and the network can do.
pub(crate) fn steps(state: &State, scope: &Scope, out: &mut Steps) {
    for slot in state.snapshots() {
        out.add(by_itself("forget", What::Session(slot)), forgotten(state, scope, slot));
    }
    for pack in members(state.late_deletes) {
        let mut after = *state;
        after.late_deletes &= !only(pack);
        after.stored &= !only(pack);
        out.add(by_itself("a late DELETE arrives:", What::Pack(pack)), after);
    }
    for pack in members(state.late_puts) {
        let mut after = *state;
        after.late_puts &= !only(pack);
        after.stored |= only(pack);
        out.add(by_itself("a late PUT arrives:", What::Pack(pack)), after);
    }
    if scope.has(Flaw::HoldRevives) {
        for slot in (0..FIRST_REWRITE).chain([SECOND_OLD]) {
            if state.forgotten & only(slot) != 0 {
                let after = State { forgotten: state.forgotten & !only(slot), ..*state };
                out.add(by_itself("hold", What::Session(slot)), after);
            }
        }
    }
}

fn by_itself(deed: &'static str, what: What) -> Step {
    Step::new(Actor::Someone, deed, what)
}

fn forgotten(state: &State, scope: &Scope, slot: usize) -> State {
    let mut after = *state;
    if scope.has(Flaw::ForgetFreesKey) && slot > 0 {
        after.commits[slot] = Commit::None;
        after.acknowledged &= !only(slot);
    } else {
        after.forgotten |= only(slot);
    }
    after
}
