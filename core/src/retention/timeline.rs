//! Which time a snapshot is placed at: its own, unless the clock that gave it cannot be right.
//!
//! Every commit names the commits that it has seen, so their order is known whatever the clocks
//! say. A clock contradicts it if a commit is dated more than a day before one that it came
//! after. The fewest commits are then held to be wrong, and of two such choices those whose dates
//! the storage does not confirm. They are placed by the storage's own date, as far as that fits
//! between the commits around them, and else beside the one before. Times that a user gave on
//! purpose are nobody's clock and stay.
//!
//! Knows nothing of policies.

use std::collections::BTreeMap;

use crate::{id::SessionId, runtime::Timestamp};

/// How far clocks may disagree before anything is made of it.
const DAY_NANOSECONDS: i64 = 86_400_000_000_000;

/// What is known of when a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The snapshot.
    pub id: SessionId,
    /// Its place in the order of commits: after all that its commit has seen.
    pub position: u64,
    /// The time that it stands for.
    pub time: Timestamp,
    /// Whether a user gave that time; else it is from the client's clock.
    pub is_given: bool,
    /// When it was committed, by the client's clock.
    pub committed: Timestamp,
    /// When its commit was stored, by the storage's clock, if it says so.
    pub stored: Option<Timestamp>,
}

/// Where a snapshot's place in time is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacedBy {
    /// The snapshot itself.
    Snapshot,
    /// The storage: the client's clock contradicts the order of commits.
    Storage,
    /// The commits before and after: neither clock fits between them.
    Order,
}

/// A snapshot's place in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// When.
    pub time: Timestamp,
    /// Its place in the order of commits.
    pub position: u64,
    /// Who says so.
    pub by: PlacedBy,
}

/// Places every snapshot in time. `now` is the caller's clock: a snapshot dated more than a day
/// after it is not believed unless the storage agrees.
///
/// Takes time that grows with the square of the snapshots if clocks disagree, else almost none.
pub fn place(moments: &[Moment], now: Timestamp) -> BTreeMap<SessionId, Placed> {
    let mut ordered: Vec<&Moment> = moments.iter().collect();
    ordered.sort_by_key(|moment| (moment.position, moment.id));
    let clocks: Vec<&Moment> = ordered.iter().copied().filter(|moment| !moment.is_given).collect();
    let trusted = trusted(&clocks, now);
    let mut placed = BTreeMap::new();
    for moment in ordered.iter().filter(|moment| moment.is_given) {
        placed.insert(moment.id, as_stated(moment));
    }
    let next = next_trusted(&clocks, &trusted);
    let mut before = None;
    for ((moment, is_trusted), after) in clocks.iter().zip(&trusted).zip(next) {
        let place = if *is_trusted {
            before = before.max(Some(moment.committed));
            as_stated(moment)
        } else {
            corrected(moment, before, after)
        };
        placed.insert(moment.id, place);
    }
    placed
}

fn as_stated(moment: &Moment) -> Placed {
    Placed { time: moment.time, position: moment.position, by: PlacedBy::Snapshot }
}

/// A moment whose own clock is not believed, between those that are.
fn corrected(moment: &Moment, before: Option<Timestamp>, after: Option<Timestamp>) -> Placed {
    let fits = |stored: &Timestamp| {
        before.is_none_or(|before| stored.0.saturating_add(DAY_NANOSECONDS) >= before.0)
            && after.is_none_or(|after| stored.0 <= after.0.saturating_add(DAY_NANOSECONDS))
    };
    let position = moment.position;
    if let Some(time) = moment.stored.filter(fits) {
        return Placed { time, position, by: PlacedBy::Storage };
    }
    match before.or(after) {
        Some(time) => Placed { time, position, by: PlacedBy::Order },
        None => as_stated(moment),
    }
}

/// For each moment the earliest date among the trusted ones behind it.
fn next_trusted(clocks: &[&Moment], trusted: &[bool]) -> Vec<Option<Timestamp>> {
    let mut earliest: Option<Timestamp> = None;
    let mut next = vec![None; clocks.len()];
    for (at, moment) in clocks.iter().enumerate().rev() {
        next[at] = earliest;
        if trusted[at] {
            let date = moment.committed;
            earliest = Some(earliest.map_or(date, |known| known.min(date)));
        }
    }
    next
}

/// Which moments, in commit order, are to be believed.
fn trusted(clocks: &[&Moment], now: Timestamp) -> Vec<bool> {
    let possible: Vec<bool> = clocks
        .iter()
        .map(|moment| {
            is_confirmed(moment) || moment.committed.0 <= now.0.saturating_add(DAY_NANOSECONDS)
        })
        .collect();
    let dates: Vec<i64> = clocks.iter().map(|moment| moment.committed.0).collect();
    if is_in_order(&dates, &possible) {
        return possible;
    }
    let confirmed: Vec<bool> = clocks.iter().map(|moment| is_confirmed(moment)).collect();
    largest_consistent(&dates, &possible, &confirmed)
}

/// True if the storage's date is within a day of the client's.
fn is_confirmed(moment: &Moment) -> bool {
    let apart = |stored: Timestamp| stored.0.abs_diff(moment.committed.0);
    moment.stored.is_some_and(|stored| apart(stored) <= DAY_NANOSECONDS.unsigned_abs())
}

/// True if none of the `possible` dates is more than a day before an earlier one.
fn is_in_order(dates: &[i64], possible: &[bool]) -> bool {
    let mut latest = i64::MIN;
    for (date, _) in dates.iter().zip(possible).filter(|(_, possible)| **possible) {
        if date.saturating_add(DAY_NANOSECONDS) < latest {
            return false;
        }
        latest = latest.max(*date);
    }
    true
}

/// A set of moments so far, known by its latest date.
#[derive(Debug, Clone, Copy)]
struct Chain {
    latest: i64,
    /// How many of them the storage confirms, and how many they are.
    weight: (usize, usize),
    /// The moment that brought the latest date.
    raised_by: usize,
    /// The chain that it was added to, by its place among all that ever were.
    grew_from: Option<usize>,
}

/// The largest set without contradictions (confirmed ones count first). One chain is kept for
/// each latest date that a set can have; a moment joins every chain that it does not contradict.
fn largest_consistent(dates: &[i64], possible: &[bool], confirmed: &[bool]) -> Vec<bool> {
    let mut history: Vec<Chain> = Vec::new();
    let mut current: BTreeMap<i64, usize> = BTreeMap::new();
    for at in (0..dates.len()).filter(|at| possible[*at]) {
        let date = dates[at];
        let gain = |weight: (usize, usize)| (weight.0 + usize::from(confirmed[at]), weight.1 + 1);
        for (_, chain) in current.range(date..=date.saturating_add(DAY_NANOSECONDS)) {
            history[*chain].weight = gain(history[*chain].weight);
        }
        let best = current.range(..date).map(|(_, chain)| *chain);
        let best = best.max_by_key(|chain| history[*chain].weight);
        let weight = gain(best.map_or((0, 0), |chain| history[chain].weight));
        if current.get(&date).is_none_or(|known| history[*known].weight < weight) {
            // the weight when it was left is that of the past: only links are read later
            history.push(Chain { latest: date, weight, raised_by: at, grew_from: best });
            current.insert(date, history.len() - 1);
        }
    }
    let best = current.values().max_by_key(|chain| history[**chain].weight).copied();
    let mut chosen = vec![false; dates.len()];
    let (mut link, mut end) = (best, dates.len());
    while let Some(chain) = link.map(|link| history[link]) {
        let joins = chain.latest.saturating_sub(DAY_NANOSECONDS)..=chain.latest;
        for at in (chain.raised_by..end).filter(|at| possible[*at]) {
            chosen[at] = joins.contains(&dates[at]);
        }
        (link, end) = (chain.grew_from, chain.raised_by);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = DAY_NANOSECONDS;

    fn id(number: usize) -> SessionId {
        SessionId((number as u128).to_be_bytes())
    }

    /// Moments in commit order: days of the client's clock and of the storage's.
    fn moments(days: &[(i64, Option<i64>)]) -> Vec<Moment> {
        let moment = |(at, (day, stored)): (usize, &(i64, Option<i64>))| Moment {
            id: id(at),
            position: at as u64,
            time: Timestamp(day * DAY),
            is_given: false,
            committed: Timestamp(day * DAY),
            stored: stored.map(|day| Timestamp(day * DAY)),
        };
        days.iter().enumerate().map(moment).collect()
    }

    fn places(days: &[(i64, Option<i64>)], now: i64) -> Vec<(i64, PlacedBy)> {
        let placed = place(&moments(days), Timestamp(now * DAY));
        placed.values().map(|placed| (placed.time.0 / DAY, placed.by)).collect()
    }

    #[test]
    fn clocks_that_agree_within_a_day_are_left_alone() {
        let days = [(10, None), (9, None), (10, Some(300)), (11, Some(11)), (10, None)];
        let kept: Vec<_> = days.iter().map(|(day, _)| (*day, PlacedBy::Snapshot)).collect();
        assert_eq!(places(&days, 12), kept);
    }

    #[test]
    fn one_clock_that_runs_ahead_is_placed_by_the_storage() {
        let days = [(10, Some(10)), (2000, Some(11)), (12, Some(12)), (13, Some(13))];
        let expected = [
            (10, PlacedBy::Snapshot),
            (11, PlacedBy::Storage),
            (12, PlacedBy::Snapshot),
            (13, PlacedBy::Snapshot),
        ];
        assert_eq!(places(&days, 14), expected);
        // the caller's own clock need not be right for that
        assert_eq!(places(&days, 5000), expected);
    }

    #[test]
    fn one_clock_that_runs_behind_is_placed_by_the_storage() {
        let days = [(10, Some(10)), (0, Some(11)), (12, Some(12))];
        assert_eq!(places(&days, 12)[1], (11, PlacedBy::Storage));
    }

    #[test]
    fn without_the_storage_the_order_of_commits_decides() {
        let days = [(10, None), (2000, None), (12, None), (13, None)];
        assert_eq!(places(&days, 14)[1], (10, PlacedBy::Order));
        let days = [(2000, None), (12, None), (13, None)];
        assert_eq!(places(&days, 14)[0], (12, PlacedBy::Order));
    }

    #[test]
    fn the_storage_counts_more_than_the_number_of_clocks() {
        let wrong = [(2000, Some(1)), (2001, Some(2)), (2002, Some(3))];
        let days = [&wrong[..], &[(4, Some(4)), (5, Some(5))]].concat();
        let expected = [1, 2, 3].map(|day| (day, PlacedBy::Storage));
        assert_eq!(places(&days, 5000)[..3], expected);
        assert_eq!(places(&days, 5000)[3..], [4, 5].map(|day| (day, PlacedBy::Snapshot)));
    }

    #[test]
    fn a_repository_that_was_copied_is_not_placed_by_the_day_of_the_copy() {
        // all were stored on day 900; only the clock of the second is wrong
        let days = [(10, 900), (700, 900), (12, 900), (13, 900)].map(|(a, b)| (a, Some(b)));
        let expected = [10, 10, 12, 13];
        let found = places(&days, 901);
        assert_eq!(found.iter().map(|(day, _)| *day).collect::<Vec<_>>(), expected);
        assert_eq!(found[1].1, PlacedBy::Order);
    }

    #[test]
    fn a_last_snapshot_from_the_future_is_not_believed_unless_the_storage_agrees() {
        let ahead = [(10, Some(10)), (11, Some(11)), (2000, Some(12))];
        assert_eq!(places(&ahead, 12)[2], (12, PlacedBy::Storage));
        let ours_is_behind = [(10, Some(10)), (2000, Some(2000))];
        assert_eq!(places(&ours_is_behind, 12)[1], (2000, PlacedBy::Snapshot));
        let alone = [(2000, None)];
        assert_eq!(places(&alone, 12)[0], (2000, PlacedBy::Snapshot));
    }

    #[test]
    fn given_times_stay_and_contradict_nobody() {
        let mut all = moments(&[(10, None), (2000, None), (12, None)]);
        all[1].is_given = true;
        let placed = place(&all, Timestamp(13 * DAY));
        assert!(placed.values().all(|placed| placed.by == PlacedBy::Snapshot));
    }

    /// The most that any subset without contradictions can have: all of them are tried.
    fn best_of_all_subsets(dates: &[i64], confirmed: &[bool]) -> (usize, usize) {
        let consistent = |set: &[usize]| {
            let pairs = set.iter().enumerate();
            pairs.into_iter().all(|(at, early)| {
                set[at + 1..].iter().all(|late| dates[*early] <= dates[*late] + DAY)
            })
        };
        let weigh = |set: &[usize]| (set.iter().filter(|at| confirmed[**at]).count(), set.len());
        (0u32..1 << dates.len())
            .map(|bits| (0..dates.len()).filter(|at| bits >> at & 1 == 1).collect::<Vec<_>>())
            .filter(|set| consistent(set))
            .map(|set| weigh(&set))
            .max()
            .unwrap()
    }

    proptest! {
        #[test]
        fn the_chosen_set_is_the_largest(
            marks in prop::collection::vec((0i64..12, any::<bool>()), 0..10),
        ) {
            let dates: Vec<i64> = marks.iter().map(|(half, _)| half * DAY / 2).collect();
            let confirmed: Vec<bool> = marks.iter().map(|(_, confirmed)| *confirmed).collect();
            let possible = vec![true; dates.len()];
            let chosen = largest_consistent(&dates, &possible, &confirmed);
            prop_assert!(is_in_order(&dates, &chosen));
            let weight = (
                (0..dates.len()).filter(|at| chosen[*at] && confirmed[*at]).count(),
                chosen.iter().filter(|chosen| **chosen).count(),
            );
            prop_assert_eq!(weight, best_of_all_subsets(&dates, &confirmed));
        }

        #[test]
        fn any_clocks_can_be_placed(
            days in prop::collection::vec((any::<i64>(), prop::option::of(any::<i64>())), 0..30),
            now in any::<i64>(),
        ) {
            let mut all = moments(&vec![(0, None); days.len()]);
            for (moment, (date, stored)) in all.iter_mut().zip(&days) {
                moment.committed = Timestamp(*date);
                moment.time = Timestamp(*date);
                moment.stored = stored.map(Timestamp);
            }
            let placed = place(&all, Timestamp(now));
            prop_assert_eq!(placed.len(), all.len());
            all.reverse();
            prop_assert_eq!(place(&all, Timestamp(now)), placed);
        }
    }
}
