//! The protocol of sessions, commits and collector heads, searched completely.
//!
//! Writers and collectors are reduced to the requests that matter, and every order of these
//! requests is tried, together with stops at every step, answers that get lost, requests that are
//! applied again later, and users who forget snapshots. The protocol must come through; each
//! simpler one must fail, and its shortest failure is printed.
//!
//! Knows nothing of the engine's code: it says what that code must do.
//!
//! The larger searches take minutes and up to 10 GB:
//! `cargo test --release -p strongroom-core --test protocol_model -- --ignored --nocapture`

#![allow(clippy::print_stdout, reason = "figures and traces, for `--nocapture`")]

mod collector;
mod network;
mod rewriting;
mod scope;
mod search;
mod state;
mod step;
mod writer;

use scope::{A, B, Flaw, Scope};
use search::{Outcome, search};

/// Two writers and two collectors, and heads that do not stay.
const HEADS: Scope = Scope { heads_are_deleted: true, ..Scope::base(2, 2) };

/// A client that is interrupted and runs again.
const ADOPTION: Scope = Scope { adoption: true, late_puts: true, withdrawals: true, ..HEADS };

/// A partly used pack that can be rewritten.
const REWRITING: Scope =
    Scope { writers: 1, wants: [B, A, B], rewrites: 1, has_two_contents: true, ..HEADS };

/// Two rewritten packs, and references that lead to them from before and from after.
const RETIRING: Scope = Scope {
    writers: 2,
    collectors: 1,
    cycles: 2,
    wants: [A; 3],
    rewrites: 2,
    has_two_contents: false,
    ..REWRITING
};

/// Everything at once.
const EVERYTHING: Scope =
    Scope { wants: [B, B, A], rewrites: 1, has_two_contents: true, ..ADOPTION };

fn described(name: &str, scope: &Scope, outcome: &Outcome) -> String {
    let mut text = format!(
        "{name}, {} writers, {} collectors: {} states, {} transitions",
        scope.writers, scope.collectors, outcome.states, outcome.transitions
    );
    if let Some((loss, trace)) = &outcome.loss {
        text += &format!("\n  {loss} after {} steps:", trace.len());
        trace.iter().for_each(|step| text += &format!("\n    {step}"));
    }
    text
}

/// Fails if `scope` allows a loss.
fn is_safe(name: &str, scope: &Scope) {
    let outcome = search(scope);
    let text = described(name, scope, &outcome);
    assert!(outcome.loss.is_none(), "{text}");
    println!("{text}");
}

/// Fails if the mistake stays without consequences, or if its shortest trace is another one than
/// it was: then the model has changed, and the trace should be looked at.
fn is_caught(scope: Scope, flaw: Flaw, steps: usize) {
    let scope = scope.with(flaw);
    let outcome = search(&scope);
    let text = described(&format!("{flaw:?}"), &scope, &outcome);
    let found = outcome.loss.map(|(_, trace)| trace.len());
    println!("{text}");
    assert_eq!(found, Some(steps), "{text}");
}

/// Fails if some state cannot reach one without garbage.
fn never_leaks(name: &str, scope: &Scope) {
    let scope = Scope { is_endless: true, heads_are_deleted: false, ..*scope };
    let outcome = search(&scope);
    let text = described(name, &scope, &outcome);
    assert!(outcome.loss.is_none(), "{text}");
    assert_eq!(outcome.stuck, 0, "{text}: some of them never get rid of garbage");
    println!("{text}, each leads to one without garbage");
}

#[test]
fn two_writers_and_two_collectors_are_safe() {
    is_safe("base", &Scope::base(2, 2));
}

#[test]
fn three_writers_and_one_collector_are_safe() {
    is_safe("base", &Scope::base(3, 1));
}

#[test]
fn deleted_heads_are_safe() {
    is_safe("deleted heads", &HEADS);
}

#[test]
fn adoption_is_safe() {
    is_safe("adoption", &Scope { collectors: 1, cycles: 2, ..ADOPTION });
    is_safe("adoption", &ADOPTION);
}

#[test]
fn rewriting_is_safe() {
    is_safe("rewriting", &REWRITING);
    is_safe("rewriting", &Scope { writers: 2, collectors: 1, ..REWRITING });
    is_safe("rewriting twice", &Scope { collectors: 1, cycles: 2, rewrites: 2, ..REWRITING });
}

#[test]
fn everything_at_once_is_safe() {
    is_safe("everything", &Scope { collectors: 1, ..EVERYTHING });
    is_safe("everything", &Scope { writers: 1, ..EVERYTHING });
}

#[test]
fn garbage_can_always_be_removed() {
    never_leaks("base", &Scope::base(2, 1));
    never_leaks("base", &Scope::base(1, 2));
    never_leaks("adoption", &Scope { collectors: 1, ..ADOPTION });
    never_leaks("rewriting", &Scope { collectors: 1, rewrites: 2, ..REWRITING });
}

#[test]
#[ignore = "minutes; see the top of this file"]
fn larger_scopes_are_safe() {
    is_safe("base", &Scope::base(3, 2));
    is_safe("base, two cycles each", &Scope { cycles: 2, ..Scope::base(2, 2) });
    is_safe("adoption", &ADOPTION);
    is_safe("rewriting twice", &Scope { rewrites: 2, ..REWRITING });
    is_safe("rewriting", &Scope { writers: 2, ..REWRITING });
    is_safe("retiring", &RETIRING);
    is_safe("everything, two cycles", &Scope { collectors: 1, cycles: 2, ..EVERYTHING });
}

#[test]
fn simpler_protocols_lose_data() {
    let base = |flaw, steps| is_caught(Scope::base(2, 2), flaw, steps);
    base(Flaw::NoSessions, 8);
    base(Flaw::GracePeriod, 11);
    base(Flaw::CommitBeforePack, 8);
    base(Flaw::IndexBeforeSession, 14);
    base(Flaw::IndexBeforeHead, 14);
    base(Flaw::ListBeforePublish, 12);
    base(Flaw::NoRemark, 11);
    base(Flaw::FenceByDelete, 13);
    base(Flaw::WithdrawsWhileSending, 13);
    base(Flaw::AbortedKeysFreed, 15);
    base(Flaw::ForgetFreesKey, 14);
    base(Flaw::ContentNames, 12);
    base(Flaw::HeadsReplaced, 23);
    base(Flaw::CycleEndsFirst, 14);
    base(Flaw::RowsDroppedAfterDeleting, 14);
    base(Flaw::RowsWithoutCommit, 28);
    base(Flaw::StaleSessionList, 12);
    base(Flaw::EmptySnapshotList, 6);
    base(Flaw::HoldRevives, 8);
}

#[test]
fn not_looking_for_newer_heads_loses_data() {
    is_caught(HEADS, Flaw::NoListAfterCreate, 28);
}

#[test]
fn careless_adoption_loses_data() {
    let adoption = Scope { collectors: 1, cycles: 2, ..ADOPTION };
    is_caught(adoption, Flaw::AdoptsCondemned, 30);
    is_caught(adoption, Flaw::AdoptsGone, 34);
    is_caught(adoption, Flaw::GoneWithoutRowsForgotten, 35);
}

#[test]
fn careless_rewriting_loses_data() {
    let caught = |flaw, steps| is_caught(REWRITING, flaw, steps);
    caught(Flaw::RewritesBeforeBarrier, 14);
    caught(Flaw::DeadBeforeMaintenance, 10);
    caught(Flaw::NoHeadCheck, 21);
    caught(Flaw::ReusesCondemnedPages, 14);
    caught(Flaw::LiveIgnoresForwarding, 21);
}

#[test]
fn careless_replacing_of_maintenance_loses_data() {
    let twice = Scope { collectors: 1, cycles: 2, rewrites: 2, ..REWRITING };
    is_caught(twice, Flaw::ForwardingNotComposed, 27);
    is_caught(twice, Flaw::TombstoneBeforeMaintenance, 27);
    is_caught(RETIRING, Flaw::RetiresUncondemned, 38);
}
