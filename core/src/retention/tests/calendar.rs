//! Daylight saving, leap days, ends of years, zones, ties, groups, wrong clocks.

use jiff::tz::{TimeZone, offset};

use super::{
    super::{GroupBy, PlacedBy, RetentionOptions, plan},
    at, berlin, history, in_zone, kept, policy, reasons, utc,
};

/// Times without tags.
fn times(times: &[&str]) -> Vec<super::Candidate> {
    history(&times.iter().map(|time| (*time, "")).collect::<Vec<_>>())
}

#[test]
fn a_day_with_25_hours_has_25_hourly_snapshots_and_is_one_day() {
    // 2026-10-25 in Berlin, from midnight to midnight
    let mut hours = vec!["2026-10-24T22:10:00Z".to_owned(), "2026-10-24T23:10:00Z".to_owned()];
    hours.extend((0..23).map(|hour| format!("2026-10-25T{hour:02}:10:00Z")));
    let history = times(&hours.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(kept(&history, &policy("hourly=unlimited"), &berlin()).len(), 25);
    assert_eq!(kept(&history, &policy("daily=unlimited"), &berlin()), [0, 24]);
    assert_eq!(kept(&history, &policy("daily=1"), &berlin()), [24]);
    // the oldest stays while there is a day left to keep
    assert_eq!(kept(&history, &policy("daily=2"), &berlin()), [0, 24]);
    let why = reasons(&history, &policy("daily=2"), &berlin(), 0);
    assert_eq!(why, ["oldest daily snapshot of 2026-10-25"]);
}

#[test]
fn a_day_with_23_hours_ends_when_the_clocks_say_so() {
    let history = times(&[
        "2026-03-28T22:30:00Z", // 23:30 of the day before
        "2026-03-28T23:30:00Z", // 00:30
        "2026-03-29T00:59:59Z", // 01:59:59, the next second is 03:00
        "2026-03-29T01:00:00Z", // 03:00
        "2026-03-29T21:30:00Z", // 23:30
        "2026-03-29T22:30:00Z", // 00:30 of the day after
    ]);
    assert_eq!(kept(&history, &policy("daily=2"), &berlin()), [4, 5]);
    assert_eq!(kept(&history, &policy("daily=9"), &berlin()), [0, 4, 5]);
    assert_eq!(kept(&history, &policy("daily=2"), &utc()), [1, 5]);
    assert_eq!(kept(&history, &policy("hourly=5"), &berlin()), [1, 2, 3, 4, 5]);
}

#[test]
fn an_hour_shown_twice_holds_two_hourly_snapshots() {
    let history = times(&["2026-10-25T00:05:00Z", "2026-10-25T00:55:00Z", "2026-10-25T01:05:00Z"]);
    assert_eq!(kept(&history, &policy("hourly=1"), &berlin()), [2]);
    assert_eq!(kept(&history, &policy("hourly=2"), &berlin()), [1, 2]);
    let why = reasons(&history, &policy("hourly=2"), &berlin(), 1);
    assert_eq!(why, ["hourly snapshot of 2026-10-25 02:00 +02:00"]);
}

#[test]
fn spans_of_days_follow_the_clocks_and_spans_of_hours_do_not() {
    // one at 12:00 each day over the change to summer time
    let history = times(&["2026-03-28T11:00:00Z", "2026-03-29T10:00:00Z", "2026-03-30T10:00:00Z"]);
    assert_eq!(kept(&history, &policy("within=2d"), &berlin()), [1, 2]);
    assert_eq!(kept(&history, &policy("within=2d"), &utc()), [0, 1, 2]);
    assert_eq!(kept(&history, &policy("within=47h"), &berlin()), [1, 2]);
    assert_eq!(kept(&history, &policy("within=48h"), &berlin()), [0, 1, 2]);
}

#[test]
fn leap_days_are_days() {
    let history = times(&[
        "2024-02-28T12:00:00Z",
        "2024-02-29T11:00:00Z",
        "2024-02-29T12:00:00Z",
        "2024-03-01T12:00:00Z",
        "2025-02-28T12:00:00Z",
        "2028-02-29T12:00:00Z",
    ]);
    assert_eq!(kept(&history, &policy("daily=4"), &utc()), [2, 3, 4, 5]);
    assert_eq!(kept(&history, &policy("monthly=4"), &utc()), [2, 3, 4, 5]);
    assert_eq!(kept(&history, &policy("yearly=3"), &utc()), [3, 4, 5]);
    // four years before a leap day is the one before it; a span does not hold its own end
    assert_eq!(kept(&history, &policy("within=4y"), &utc()), [3, 4, 5]);
    // three years before it is the last day of a shorter February
    assert_eq!(kept(&history, &policy("within=3y"), &utc()), [5]);
    assert_eq!(kept(&history, &policy("within=3y1h"), &utc()), [4, 5]);
}

#[test]
fn weeks_at_the_end_of_a_year_are_iso_weeks() {
    let history = times(&[
        "2020-12-27T12:00:00Z", // Sunday of 2020-W52
        "2020-12-28T12:00:00Z", // Monday of 2020-W53
        "2020-12-31T12:00:00Z",
        "2021-01-01T12:00:00Z",
        "2021-01-03T12:00:00Z", // Sunday of 2020-W53
        "2021-01-04T12:00:00Z", // Monday of 2021-W01
    ]);
    assert_eq!(kept(&history, &policy("weekly=2"), &utc()), [4, 5]);
    assert_eq!(kept(&history, &policy("weekly=9"), &utc()), [0, 4, 5]);
    assert_eq!(kept(&history, &policy("yearly=9"), &utc()), [0, 2, 5]);
    let why = reasons(&history, &policy("weekly=9"), &utc(), 4);
    assert_eq!(why, ["weekly snapshot of 2020-W53"]);
    let history = times(&["2018-12-30T12:00:00Z", "2018-12-31T12:00:00Z", "2019-01-01T12:00:00Z"]);
    let why = reasons(&history, &policy("weekly=9"), &utc(), 2);
    assert_eq!(why, ["weekly snapshot of 2019-W01"]);
    assert_eq!(kept(&history, &policy("weekly=2"), &utc()), [0, 2]);
}

#[test]
fn zones_in_the_east_and_west_see_other_days() {
    let history = times(&[
        "2026-01-01T09:30:00Z",
        "2026-01-01T10:30:00Z",
        "2026-01-01T23:59:59Z",
        "2026-01-02T00:00:00Z",
    ]);
    let zone = |hours| in_zone(TimeZone::fixed(offset(hours)));
    assert_eq!(kept(&history, &policy("daily=9"), &utc()), [0, 2, 3]);
    assert_eq!(kept(&history, &policy("daily=9"), &zone(14)), [0, 3]);
    assert_eq!(kept(&history, &policy("daily=9"), &zone(-10)), [0, 3]);
    assert_eq!(kept(&history, &policy("daily=2"), &zone(-10)), [0, 3]);
    assert_eq!(kept(&history, &policy("yearly=9"), &zone(-10)), [0, 3]);
    let why = reasons(&history, &policy("yearly=9"), &zone(-10), 0);
    assert_eq!(why, ["yearly snapshot of 2025"]);
}

#[test]
fn of_snapshots_of_one_moment_the_later_commit_stands_for_the_day() {
    let moment = "2026-01-05T12:00:00Z";
    let mut history = times(&[moment, moment, moment]);
    assert_eq!(kept(&history, &policy("last=1"), &utc()), [2]);
    assert_eq!(kept(&history, &policy("daily=1"), &utc()), [2]);
    history.rotate_left(1);
    assert_eq!(kept(&history, &policy("daily=1"), &utc()), [2]);
    // without any order, ids decide; they are the other way round here
    history.iter_mut().for_each(|one| one.placed.position = 0);
    let first = decisions_of(&history, "last=1");
    history.reverse();
    assert_eq!(decisions_of(&history, "last=1"), first);
}

fn decisions_of(history: &[super::Candidate], text: &str) -> Vec<super::Decision> {
    super::decisions(history, &policy(text), &utc())
}

#[test]
fn snapshots_from_the_future_do_not_push_the_others_out() {
    let history = times(&["2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z", "2031-01-01T00:00:00Z"]);
    let seen_from = |now| RetentionOptions { now: at(now), ..utc() };
    let today = seen_from("2026-01-05T12:00:00Z");
    assert_eq!(kept(&history, &policy("within=2d"), &today), [1, 2]);
    let later = seen_from("2031-01-01T00:00:00Z");
    assert_eq!(kept(&history, &policy("within=2d"), &later), [2]);
    let before_all = seen_from("2020-01-01T00:00:00Z");
    assert_eq!(kept(&history, &policy("within=2d"), &before_all), [0, 1, 2]);
}

#[test]
fn each_group_is_for_itself() {
    let mut history = times(&[
        "2026-01-01T00:00:00Z",
        "2026-01-02T00:00:00Z",
        "2026-01-03T00:00:00Z",
        "2026-01-04T00:00:00Z",
    ]);
    history[0].host = "other".to_owned();
    history[1].paths = vec!["/a".to_owned(), "/b".to_owned()];
    history[2].paths = vec!["/b".to_owned(), "/a".to_owned()];
    history[3].tags = vec!["x".to_owned()];
    let by = |text: &str| RetentionOptions { group_by: text.parse().unwrap(), ..utc() };
    assert_eq!(kept(&history, &policy("last=1"), &by("host,paths")), [0, 2, 3]);
    assert_eq!(kept(&history, &policy("last=1"), &by("host")), [0, 3]);
    assert_eq!(kept(&history, &policy("last=1"), &by("paths")), [2, 3]);
    assert_eq!(kept(&history, &policy("last=1"), &by("host,paths,tags")), [0, 2, 3]);
    assert_eq!(kept(&history, &policy("last=1"), &by("tags")), [2, 3]);
    let groups = plan(&history, &policy("last=1"), &by("host,paths")).unwrap();
    let hosts: Vec<_> = groups.iter().map(|plan| plan.group.host.as_deref().unwrap()).collect();
    assert_eq!(hosts, ["host", "host", "other"]);
}

#[test]
fn the_last_of_a_group_and_held_ones_stay() {
    let mut history = times(&["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]);
    let careful =
        RetentionOptions { group_by: GroupBy::default(), may_empty_groups: false, ..utc() };
    assert_eq!(reasons(&history, &policy("tags=x"), &careful, 1), ["last of its group"]);
    assert_eq!(kept(&history, &policy("tags=x"), &careful), [1]);
    assert!(kept(&history, &policy("tags=x"), &utc()).is_empty());
    history[0].is_held = true;
    assert_eq!(kept(&history, &policy("tags=x"), &utc()), [0]);
    assert_eq!(kept(&history, &policy("tags=x"), &careful), [0]);
    // what is held does not use up what the policy allows
    assert_eq!(kept(&history, &policy("last=1"), &utc()), [0, 1]);
}

#[test]
fn every_reason_is_given() {
    let mut history = history(&[("2026-01-05T10:00:00Z", ""), ("2026-01-05T12:30:00Z", "a,b")]);
    history[1].is_held = true;
    let all = "last=1 hourly=1 daily=1 weekly=1 monthly=1 yearly=1 within=3d within_daily=7d \
               tags=a,b tags=a tags=c";
    let expected = [
        "held",
        "tagged a,b",
        "tagged a",
        "within 3d",
        "last snapshot",
        "hourly snapshot of 2026-01-05 12:00 +00:00",
        "daily snapshot of 2026-01-05",
        "weekly snapshot of 2026-W02",
        "monthly snapshot of 2026-01",
        "yearly snapshot of 2026",
        "daily snapshot of 2026-01-05 within 7d",
    ];
    assert_eq!(reasons(&history, &policy(all), &utc(), 1), expected);
}

#[test]
fn an_empty_policy_is_refused() {
    let history = times(&["2026-01-01T00:00:00Z"]);
    for text in ["last=0", "daily=0 yearly=0"] {
        let error = plan(&history, &policy(text), &utc()).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid, "{text}");
        assert!(error.hint_text().is_some());
    }
}

#[test]
fn a_snapshot_with_a_wrong_clock_counts_where_it_was_stored() {
    use super::super::{Moment, place};
    let mut history = times(&[
        "2026-01-01T12:00:00Z",
        "2031-06-01T12:00:00Z", // stored on 2026-01-02
        "2026-01-03T12:00:00Z",
    ]);
    assert_eq!(kept(&history, &policy("last=1"), &utc()), [1]);
    let moments: Vec<Moment> = history
        .iter()
        .zip(["2026-01-01T12:00:05Z", "2026-01-02T12:00:05Z", "2026-01-03T12:00:05Z"])
        .map(|(one, stored)| Moment {
            id: one.id,
            position: one.placed.position,
            time: one.placed.time,
            is_given: false,
            committed: one.placed.time,
            stored: Some(at(stored)),
        })
        .collect();
    let placed = place(&moments, at("2026-01-04T00:00:00Z"));
    history.iter_mut().for_each(|one| one.placed = placed[&one.id]);
    assert_eq!(history[1].placed.by, PlacedBy::Storage);
    assert_eq!(kept(&history, &policy("last=1"), &utc()), [2]);
    assert_eq!(kept(&history, &policy("within=2d"), &utc()), [1, 2]);
    let why = reasons(&history, &policy("daily=2"), &utc(), 1);
    assert_eq!(why, ["daily snapshot of 2026-01-02"]);
}
