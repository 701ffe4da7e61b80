//! What holds for any history and policy.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{
    super::{Candidate, Count, GroupBy, Placed, PlacedBy, Policy, Reason, RetentionOptions, Span},
    decisions, in_zone,
};
use crate::{id::SessionId, runtime::Timestamp};

const HOUR: i64 = 3_600_000_000_000;

prop_compose! {
    fn candidate()(
        hour in 450_000i64..470_000,
        host in 0u8..2,
        tags in prop::collection::btree_set("[ab]", 0..3),
        is_held in prop::bool::weighted(0.1),
    ) -> Candidate {
        Candidate {
            id: SessionId([0; 16]),
            placed: Placed { time: Timestamp(hour * HOUR), position: 0, by: PlacedBy::Snapshot },
            host: host.to_string(),
            paths: Vec::new(),
            tags: tags.into_iter().collect(),
            is_held,
        }
    }
}

fn history() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(candidate(), 1..40).prop_map(|mut all| {
        for (at, one) in all.iter_mut().enumerate() {
            one.placed.position = at as u64;
            one.id = SessionId((at as u128).to_be_bytes());
        }
        all
    })
}

fn count() -> impl Strategy<Value = Count> {
    prop_oneof![3 => (0u32..6).prop_map(Count::AtMost), 1 => Just(Count::Unlimited)]
}

fn span() -> impl Strategy<Value = Option<Span>> {
    let some = (0u32..3, 0u32..14, 0u32..40, 0u32..30)
        .prop_map(|(years, months, days, hours)| Span { years, months, days, hours });
    prop::option::weighted(0.3, some)
}

prop_compose! {
    fn policy()(
        counts in prop::array::uniform6(count()),
        spans in prop::array::uniform6(span()),
        tags in prop::collection::vec(prop::collection::vec("[ab]", 1..3), 0..2),
    ) -> Policy {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let [within, within_hourly, within_daily, within_weekly, within_monthly, within_yearly] =
            spans;
        Policy {
            last, hourly, daily, weekly, monthly, yearly,
            within, within_hourly, within_daily, within_weekly, within_monthly, within_yearly,
            tags,
        }
    }
}

fn options(hours_east: i8, may_empty_groups: bool) -> RetentionOptions {
    let zone = TimeZone::fixed(jiff::tz::offset(hours_east));
    RetentionOptions { group_by: GroupBy::default(), may_empty_groups, ..in_zone(zone) }
}

fn kept(all: &[Candidate], policy: &Policy, options: &RetentionOptions) -> BTreeSet<SessionId> {
    let kept = decisions(all, policy, options).into_iter().filter(super::Decision::is_kept);
    kept.map(|decision| decision.id).collect()
}

/// At least as much of everything.
fn more(policy: &Policy, by: u32) -> Policy {
    let count = |count| match count {
        Count::AtMost(count) => Count::AtMost(count + by),
        Count::Unlimited => Count::Unlimited,
    };
    let span = |span: Option<Span>| span.map(|span| Span { days: span.days + by, ..span });
    Policy {
        last: count(policy.last),
        hourly: count(policy.hourly),
        daily: count(policy.daily),
        weekly: count(policy.weekly),
        monthly: count(policy.monthly),
        yearly: count(policy.yearly),
        within: span(policy.within),
        within_hourly: span(policy.within_hourly),
        within_daily: span(policy.within_daily),
        within_weekly: span(policy.within_weekly),
        within_monthly: span(policy.within_monthly),
        within_yearly: span(policy.within_yearly),
        tags: [&policy.tags[..], &[vec!["a".to_owned()]]].concat(),
    }
}

proptest! {
    #[test]
    fn who_asks_for_more_keeps_more(all in history(), policy in policy(), by in 0u32..4) {
        let options = options(2, true);
        prop_assume!(!policy.is_empty());
        let less = kept(&all, &policy, &options);
        prop_assert!(less.is_subset(&kept(&all, &more(&policy, by), &options)));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        (all, shuffled) in history()
            .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        policy in policy(),
        zone in -12i8..=14,
    ) {
        prop_assume!(!policy.is_empty());
        let options = options(zone, false);
        let first = decisions(&all, &policy, &options);
        prop_assert_eq!(first, decisions(&shuffled, &policy, &options));
    }

    #[test]
    fn the_last_n_are_n(all in history(), count in 1usize..50) {
        let options = RetentionOptions { group_by: GroupBy::NOTHING, ..options(0, true) };
        let last = Count::AtMost(u32::try_from(count).unwrap());
        let decided = decisions(&all, &Policy { last, ..Policy::default() }, &options);
        let last = decided.iter().filter(|one| one.reasons.contains(&Reason::Last)).count();
        prop_assert_eq!(last, count.min(all.len()));
        let newest = decided.iter().take(count);
        prop_assert!(newest.into_iter().all(super::Decision::is_kept));
    }

    #[test]
    fn no_group_is_emptied_and_nothing_held_is_lost(all in history(), policy in policy()) {
        prop_assume!(!policy.is_empty());
        let kept = kept(&all, &policy, &options(0, false));
        for host in all.iter().map(|one| &one.host).collect::<BTreeSet<_>>() {
            prop_assert!(all.iter().any(|one| one.host == *host && kept.contains(&one.id)));
        }
        prop_assert!(all.iter().filter(|one| one.is_held).all(|one| kept.contains(&one.id)));
    }

    #[test]
    fn what_is_kept_stays_kept_when_the_policy_is_applied_again(
        all in history(),
        policy in policy(),
    ) {
        prop_assume!(!policy.is_empty());
        let options = options(-5, false);
        let first = kept(&all, &policy, &options);
        let left: Vec<Candidate> =
            all.into_iter().filter(|one| first.contains(&one.id)).collect();
        prop_assert_eq!(kept(&left, &policy, &options), first);
    }
}
