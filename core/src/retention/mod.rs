//! Which snapshots to keep and which to forget, and why.
//!
//! [`place`] finds out when each snapshot was made although clocks may be wrong; [`plan`] applies
//! a [`Policy`] to each [`Group`]. The same snapshots, policy and zone always give the same plan,
//! in whatever order they come. Reads no clock and stores nothing.

mod calendar;
mod group;
mod policy;
mod span;
#[cfg(test)]
mod tests;
mod timeline;

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::{Timestamp as Instant, tz::TimeZone};

pub use self::{
    calendar::{Period, Slot},
    group::{Group, GroupBy, ParseGroupByError},
    policy::{Count, ParseCountError, Policy, Reason},
    span::{ParseSpanError, Span},
    timeline::{Moment, Placed, PlacedBy, place},
};
use crate::{
    error::{Error, ErrorKind, Result},
    id::SessionId,
    runtime::Timestamp,
};

/// How far after the caller's clock a snapshot may be dated and still count as the newest.
const DAY_NANOSECONDS: i64 = 86_400_000_000_000;

/// A snapshot to decide about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub id: SessionId,
    /// When it was made.
    pub placed: Placed,
    /// Its host.
    pub host: String,
    /// Its paths.
    pub paths: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether somebody holds it.
    pub is_held: bool,
}

/// How a policy is applied.
#[derive(Debug, Clone)]
pub struct RetentionOptions {
    /// What makes a group.
    pub group_by: GroupBy,
    /// Where the calendar is read.
    pub zone: TimeZone,
    /// The caller's clock. Spans reach back from the newest snapshot of a group, but not from
    /// one dated more than a day later than this.
    pub now: Timestamp,
    /// Whether a group may lose all of its snapshots.
    pub may_empty_groups: bool,
}

/// What is to become of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SessionId,
    /// When it was made.
    pub placed: Placed,
    /// Why it is kept; empty if it is to be forgotten.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// True if it is kept.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What is to become of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// What its snapshots have in common.
    pub group: Group,
    /// All of its snapshots, newest first.
    pub decisions: Vec<Decision>,
}

/// Decides about all `candidates`: one plan for each group, in order of host, paths and tags.
///
/// # Errors
/// `Invalid` if the policy keeps nothing.
pub fn plan(
    candidates: &[Candidate],
    policy: &Policy,
    options: &RetentionOptions,
) -> Result<Vec<GroupPlan>> {
    if policy.is_empty() {
        let message = "a policy that keeps nothing would forget every snapshot";
        return Err(Error::new(ErrorKind::Invalid, message)
            .hint("say what to keep, as in --keep-daily 7; or name the snapshots to forget"));
    }
    let mut groups: BTreeMap<Group, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let Candidate { host, paths, tags, .. } = candidate;
        groups.entry(options.group_by.group(host, paths, tags)).or_default().push(candidate);
    }
    let plans = groups.into_iter().map(|(group, mut members)| {
        // of snapshots of one time the later commit is the newer one
        members.sort_by_key(|one| Reverse((one.placed.time, one.placed.position, one.id)));
        GroupPlan { group, decisions: decide(&members, policy, options) }
    });
    Ok(plans.collect())
}

/// Decides about the snapshots of one group, newest first.
fn decide(members: &[&Candidate], policy: &Policy, options: &RetentionOptions) -> Vec<Decision> {
    let mut rules = Rules::new(members, policy, options);
    let last = members.len().saturating_sub(1);
    let decision = |(at, member): (usize, &&Candidate)| Decision {
        id: member.id,
        placed: member.placed,
        reasons: rules.reasons(member, at == last),
    };
    let mut decisions: Vec<Decision> = members.iter().enumerate().map(decision).collect();
    let is_empty = !decisions.iter().any(Decision::is_kept);
    if let Some(newest) = decisions.first_mut().filter(|_| is_empty && !options.may_empty_groups) {
        newest.reasons.push(Reason::LastOfGroup);
    }
    decisions
}

/// The rules of a policy while they walk from the newest to the oldest snapshot of a group.
struct Rules<'a> {
    policy: &'a Policy,
    zone: &'a TimeZone,
    last: Count,
    within: Option<(Span, Instant)>,
    periods: Vec<PeriodRule>,
}

/// One snapshot for each period, as long as there is a count left or the span reaches.
struct PeriodRule {
    unit: Period,
    left: Count,
    within: Option<(Span, Instant)>,
    slot: Option<Slot>,
}

impl<'a> Rules<'a> {
    fn new(members: &[&Candidate], policy: &'a Policy, options: &'a RetentionOptions) -> Self {
        let newest = newest(members, options.now);
        let since =
            |span: Option<Span>| span.map(|span| (span, span.before(newest, &options.zone)));
        let counted = policy.counts().into_iter().map(|(unit, left)| (unit, left, None));
        let spanned = policy.spans().into_iter().filter(|(_, span)| span.is_some());
        let spanned = spanned.map(|(unit, span)| (unit, Count::Unlimited, since(span)));
        let rule = |(unit, left, within)| PeriodRule { unit, left, within, slot: None };
        Self {
            policy,
            zone: &options.zone,
            last: policy.last,
            within: since(policy.within),
            periods: counted.chain(spanned).map(rule).collect(),
        }
    }

    fn reasons(&mut self, member: &Candidate, is_oldest: bool) -> Vec<Reason> {
        let time = member.placed.time;
        let mut reasons = Vec::new();
        if member.is_held {
            reasons.push(Reason::Held);
        }
        let has_all = |set: &&Vec<String>| set.iter().all(|tag| member.tags.contains(tag));
        reasons.extend(self.policy.tags.iter().filter(has_all).cloned().map(Reason::Tagged));
        if let Some((span, since)) = self.within
            && calendar::instant(time) > since
        {
            reasons.push(Reason::Within(span));
        }
        if self.last.is_left() {
            self.last = self.last.less_one();
            reasons.push(Reason::Last);
        }
        let zone = self.zone;
        reasons.extend(self.periods.iter_mut().filter_map(|rule| rule.take(time, zone, is_oldest)));
        reasons
    }
}

impl PeriodRule {
    /// The reason to keep the snapshot of `time`, which is not newer than the one before.
    fn take(&mut self, time: Timestamp, zone: &TimeZone, is_oldest: bool) -> Option<Reason> {
        let reaches = self.within.is_none_or(|(_, since)| calendar::instant(time) > since);
        if !self.left.is_left() || !reaches {
            return None;
        }
        let slot = self.unit.of(time, zone);
        let is_new = self.slot != Some(slot);
        if !is_new && !is_oldest {
            return None;
        }
        self.slot = Some(slot);
        self.left = self.left.less_one();
        let within = self.within.map(|(span, _)| span);
        Some(Reason::Period { unit: self.unit, slot, within, is_oldest: !is_new })
    }
}

/// The newest time among `members` (newest first) that is not in the future; the oldest if all
/// of them are, so that nothing is dropped for a wrong clock.
fn newest(members: &[&Candidate], now: Timestamp) -> Timestamp {
    let latest = now.0.saturating_add(DAY_NANOSECONDS);
    let mut times = members.iter().map(|member| member.placed.time);
    let present = times.clone().find(|time| time.0 <= latest);
    present.or_else(|| times.next_back()).unwrap_or(now)
}
