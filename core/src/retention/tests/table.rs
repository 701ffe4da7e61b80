//! A history of two years under many policies, each with the exact set that it keeps.
//!
//! The shape of the history is that of well-known tools' tests: months with one snapshot, days
//! with many, snapshots of the same moment, of the next tenth of a second, on both sides of
//! midnight and of new year, with and without tags.

use super::{at, history, kept, policy, utc};

/// The history, oldest first, with tags; snapshots of one moment are in order of commits.
const HISTORY: [(&str, &str); 39] = [
    ("2022-02-28T23:59:59Z", ""),
    ("2022-08-08T10:20:30Z", ""),
    ("2022-08-31T10:20:30Z", ""),
    ("2022-12-31T22:00:00Z", ""),
    ("2023-01-01T02:00:00Z", ""),
    ("2023-01-02T02:00:00Z", ""),
    ("2023-05-10T08:00:00Z", ""),
    ("2023-06-30T23:30:00Z", ""),
    ("2023-07-01T00:30:00Z", ""),
    ("2023-07-04T06:00:00Z", "nightly"),
    ("2023-07-04T06:00:00.1Z", "nightly"),
    ("2023-07-04T18:00:00Z", "nightly,manual"),
    ("2023-07-09T23:59:59Z", "nightly"),
    ("2023-07-10T00:00:00Z", "nightly"),
    ("2023-07-16T04:00:00Z", "manual"),
    ("2023-07-20T04:00:00Z", ""),
    ("2023-10-29T01:10:00Z", ""),
    ("2023-10-29T01:50:00Z", ""),
    ("2023-12-30T05:00:00Z", ""),
    ("2023-12-31T05:00:00Z", "manual,nightly"),
    ("2024-01-01T01:02:03Z", ""),
    ("2024-01-01T01:03:03Z", ""),
    ("2024-01-01T07:08:03Z", ""),
    ("2024-01-03T07:02:03Z", ""),
    ("2024-02-27T10:23:03Z", ""),
    ("2024-02-28T11:23:03Z", ""),
    ("2024-02-29T12:23:03Z", ""),
    ("2024-02-29T12:24:03Z", ""),
    ("2024-02-29T12:24:03Z", ""),
    ("2024-02-29T12:24:03Z", "manual"),
    ("2024-02-29T16:23:03Z", ""),
    ("2024-03-01T00:00:00Z", ""),
    ("2024-03-02T08:02:03Z", ""),
    ("2024-03-03T20:02:03Z", ""),
    ("2024-03-04T20:02:03Z", ""),
    ("2024-03-08T21:02:03Z", ""),
    ("2024-03-12T21:02:03Z", ""),
    ("2024-03-12T21:08:03Z", ""),
    ("2024-03-18T12:02:03Z", ""),
];

/// Policies, and which snapshots of [`HISTORY`] they keep, counted from 0.
const CASES: &[(&str, &str)] = &[
    ("last=10", "29-38"),
    ("last=15", "24-38"),
    ("last=38", "1-38"),
    ("last=200", "0-38"),
    ("last=unlimited", "0-38"),
    ("hourly=20", "13-15 17-19 21-25 29-35 37-38"),
    ("hourly=unlimited", "0-8 10-15 17-19 21-25 29-35 37-38"),
    ("daily=3", "35 37-38"),
    ("daily=10", "24-25 30-35 37-38"),
    ("daily=30", "0-8 11-15 17-19 22-25 30-35 37-38"),
    ("daily=unlimited", "0-8 11-15 17-19 22-25 30-35 37-38"),
    ("last=5 daily=5", "33-38"),
    ("last=2 daily=10", "24-25 30-35 37-38"),
    ("weekly=2", "37-38"),
    ("weekly=4", "33 35 37-38"),
    ("weekly=unlimited", "0-2 4-6 8 12 14-15 17 19 23 33 35 37-38"),
    ("daily=3 weekly=4", "33 35 37-38"),
    ("monthly=6", "15 17 19 23 30 38"),
    ("monthly=unlimited", "0 2-3 5-7 15 17 19 23 30 38"),
    ("daily=2 weekly=2 monthly=6", "15 17 19 23 30 37-38"),
    ("yearly=10", "0 3 19 38"),
    ("yearly=2", "19 38"),
    ("daily=7 weekly=2 monthly=3 yearly=10", "0 3 19 23 30-35 37-38"),
    ("tags=nightly", "9-13 19"),
    ("tags=nightly,manual", "11 19"),
    ("tags=nightly tags=manual", "9-14 19 29"),
    ("tags=none last=1", "38"),
    ("within=1h", "38"),
    ("within=1d", "38"),
    ("within=2d", "38"),
    ("within=7d", "36-38"),
    ("within=1m", "24-38"),
    ("within=1m14d", "24-38"),
    ("within=1y1d1m", "6-38"),
    ("within=13d23h", "34-38"),
    ("within=3y", "0-38"),
    ("within_hourly=1y1m1d", "6-8 10-15 17-19 21-25 29-35 37-38"),
    ("within_daily=1y1m1d", "6-8 11-15 17-19 22-25 30-35 37-38"),
    ("within_weekly=1y1m1d", "6 8 12 14-15 17 19 23 33 35 37-38"),
    ("within_monthly=1y1m1d", "6-7 15 17 19 23 30 38"),
    ("within_yearly=1y1m1d", "19 38"),
    ("within_yearly=3y", "0 3 19 38"),
    (
        "within_hourly=20d within_daily=2m within_weekly=9m within_monthly=1y6m within_yearly=10y",
        "0 3 5-8 12 14-15 17 19 23-25 29-35 37-38",
    ),
    ("last=1 within_daily=6d tags=manual weekly=1", "11 14 19 29 37-38"),
    ("hourly=3 within=19d", "26-38"),
];

/// `0 3-5` as numbers.
fn numbers(text: &str) -> Vec<usize> {
    let number = |text: &str| text.parse::<usize>().unwrap();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    text.split(' ').flat_map(range).collect()
}

#[test]
fn every_policy_keeps_exactly_these() {
    let history = history(&HISTORY);
    for (text, expected) in CASES {
        assert_eq!(kept(&history, &policy(text), &utc()), numbers(expected), "{text}");
    }
}

#[test]
fn the_history_is_in_order() {
    assert!(HISTORY.is_sorted_by_key(|(time, _)| at(time)));
}
