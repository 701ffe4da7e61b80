//! Policies over histories, with exact expectations.

mod calendar;
mod properties;
mod table;

use jiff::{Timestamp as Instant, tz::TimeZone};

use super::{
    Candidate, Count, Decision, GroupBy, Placed, PlacedBy, Policy, RetentionOptions, plan,
};
use crate::{id::SessionId, runtime::Timestamp};

fn at(text: &str) -> Timestamp {
    let instant: Instant = text.parse().unwrap();
    Timestamp(i64::try_from(instant.as_nanosecond()).unwrap())
}

/// Snapshots of one host and path; each is committed after the one before it.
fn history(lines: &[(&str, &str)]) -> Vec<Candidate> {
    let candidate = |(number, (time, tags)): (usize, &(&str, &str))| Candidate {
        id: SessionId((1_000_000 - number as u128).to_be_bytes()),
        placed: Placed { time: at(time), position: number as u64, by: PlacedBy::Snapshot },
        host: "host".to_owned(),
        paths: vec!["/".to_owned()],
        tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        is_held: false,
    };
    lines.iter().enumerate().map(candidate).collect()
}

/// `daily=3 tags=a,b` as a policy.
fn policy(text: &str) -> Policy {
    let mut policy = Policy::default();
    for (name, value) in text.split(' ').map(|rule| rule.split_once('=').unwrap()) {
        let count = || value.parse::<Count>().unwrap();
        let span = || Some(value.parse().unwrap());
        match name {
            "last" => policy.last = count(),
            "hourly" => policy.hourly = count(),
            "daily" => policy.daily = count(),
            "weekly" => policy.weekly = count(),
            "monthly" => policy.monthly = count(),
            "yearly" => policy.yearly = count(),
            "within" => policy.within = span(),
            "within_hourly" => policy.within_hourly = span(),
            "within_daily" => policy.within_daily = span(),
            "within_weekly" => policy.within_weekly = span(),
            "within_monthly" => policy.within_monthly = span(),
            "within_yearly" => policy.within_yearly = span(),
            "tags" => policy.tags.push(value.split(',').map(str::to_owned).collect()),
            _ => panic!("no such rule: {name}"),
        }
    }
    policy
}

/// All snapshots in one group, seen from the end of 2199.
fn in_zone(zone: TimeZone) -> RetentionOptions {
    let now = at("2199-12-31T00:00:00Z");
    RetentionOptions { group_by: GroupBy::NOTHING, zone, now, may_empty_groups: true }
}

fn utc() -> RetentionOptions {
    in_zone(TimeZone::UTC)
}

/// Central Europe: summer time from 01:00 UTC of the last Sunday of March to that of October.
fn berlin() -> RetentionOptions {
    in_zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
}

fn decisions(
    candidates: &[Candidate],
    policy: &Policy,
    options: &RetentionOptions,
) -> Vec<Decision> {
    let groups = plan(candidates, policy, options).unwrap();
    groups.into_iter().flat_map(|group| group.decisions).collect()
}

/// Which of `candidates` are kept, by position, sorted.
fn kept(candidates: &[Candidate], policy: &Policy, options: &RetentionOptions) -> Vec<usize> {
    let kept = decisions(candidates, policy, options).into_iter().filter(Decision::is_kept);
    let mut kept: Vec<usize> = kept.map(|one| one.placed.position as usize).collect();
    kept.sort_unstable();
    kept
}

/// The reasons for the snapshot at `position`.
fn reasons(
    candidates: &[Candidate],
    policy: &Policy,
    options: &RetentionOptions,
    position: u64,
) -> Vec<String> {
    let all = decisions(candidates, policy, options);
    let decision = all.iter().find(|one| one.placed.position == position).unwrap();
    decision.reasons.iter().map(ToString::to_string).collect()
}
