//! A set of packs: for each session, the runs of pack numbers. The reference list of a commit.
//!
//! Packs of one session are numbered from 0 without gaps, so that a set of hundreds of thousands
//! of packs is a few runs.

use std::collections::BTreeMap;

use minicbor::{Decoder, Encoder, decode, encode::Write};

use crate::id::{PackId, SessionId};

/// Runs of one session: start to one past the end; disjoint, not touching.
type Runs = BTreeMap<u32, u32>;

/// A set of packs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackSet {
    sessions: BTreeMap<SessionId, Runs>,
}

impl PackSet {
    /// Adds one pack.
    pub fn insert(&mut self, pack: PackId) {
        let end = pack.counter.saturating_add(1);
        insert_run(self.sessions.entry(pack.session).or_default(), pack.counter, end);
    }

    /// Adds all packs of `other`.
    pub fn union(&mut self, other: &Self) {
        for (session, runs) in &other.sessions {
            let own = self.sessions.entry(*session).or_default();
            for (start, end) in runs {
                insert_run(own, *start, *end);
            }
        }
    }

    /// Takes one pack out.
    pub fn remove(&mut self, pack: PackId) {
        let Some(runs) = self.sessions.get_mut(&pack.session) else { return };
        let covering = runs.range(..=pack.counter).next_back().map(|(start, end)| (*start, *end));
        if let Some((start, end)) = covering
            && pack.counter < end
        {
            runs.remove(&start);
            if start < pack.counter {
                runs.insert(start, pack.counter);
            }
            if pack.counter + 1 < end {
                runs.insert(pack.counter + 1, end);
            }
        }
        if runs.is_empty() {
            self.sessions.remove(&pack.session);
        }
    }

    /// True if some pack is in both sets. Compares runs, not packs.
    pub fn intersects(&self, other: &Self) -> bool {
        self.sessions.iter().any(|(session, runs)| {
            other.sessions.get(session).is_some_and(|theirs| {
                runs.iter().any(|(start, end)| {
                    let before = theirs.range(..*end).next_back();
                    before.is_some_and(|(_, their_end)| their_end > start)
                })
            })
        })
    }

    /// The sessions that have packs in the set.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// True if `pack` is in the set.
    pub fn contains(&self, pack: PackId) -> bool {
        self.sessions
            .get(&pack.session)
            .and_then(|runs| runs.range(..=pack.counter).next_back())
            .is_some_and(|(_, end)| pack.counter < *end)
    }

    /// The first pack of this set that `other` lacks, if there is one. Compares runs, so that a
    /// set of billions (a hostile one) costs no more than a small one.
    pub fn first_missing_in(&self, other: &Self) -> Option<PackId> {
        self.sessions.iter().find_map(|(session, runs)| {
            let theirs = other.sessions.get(session);
            let counter = runs.iter().find_map(|(start, end)| first_gap(theirs, *start, *end))?;
            Some(PackId { session: *session, counter })
        })
    }

    /// All packs, in order.
    pub fn iter(&self) -> impl Iterator<Item = PackId> {
        self.sessions.iter().flat_map(|(session, runs)| {
            runs.iter().flat_map(move |(start, end)| {
                (*start..*end).map(move |counter| PackId { session: *session, counter })
            })
        })
    }

    /// How many packs.
    pub fn len(&self) -> u64 {
        let runs = self.sessions.values().flatten();
        runs.map(|(start, end)| u64::from(end - start)).sum()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Encodes as an array of `[session, [gap, length, gap, length ...]]`, sessions ascending;
    /// a gap counts from the end of the run before.
    pub fn encode<W: Write>(
        &self,
        out: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        out.array(self.sessions.len() as u64)?;
        for (session, runs) in &self.sessions {
            out.array(2)?.bytes(session.as_bytes())?.array(runs.len() as u64 * 2)?;
            let mut last = 0;
            for (start, end) in runs {
                out.u32(start - last)?.u32(end - start)?;
                last = *end;
            }
        }
        Ok(())
    }

    /// Decodes what [`Self::encode`] wrote; refuses everything else.
    pub fn decode(input: &mut Decoder<'_>) -> Result<Self, decode::Error> {
        let mut set = Self::default();
        for _ in 0..array(input)? {
            if array(input)? != 2 {
                return Err(decode::Error::message("pack set: session row"));
            }
            let session = SessionId::from_slice(input.bytes()?)
                .ok_or_else(|| decode::Error::message("pack set: session id"))?;
            let runs = decode_runs(input)?;
            if runs.is_empty() || set.sessions.insert(session, runs).is_some() {
                return Err(decode::Error::message("pack set: empty or repeated session"));
            }
        }
        Ok(set)
    }
}

/// The first number in `start..end` that `runs` lack. Runs do not touch, so that one of them
/// holds all of it or there is a gap.
fn first_gap(runs: Option<&Runs>, start: u32, end: u32) -> Option<u32> {
    let covering = runs.and_then(|runs| runs.range(..=start).next_back());
    match covering.map(|(_, covered)| *covered) {
        Some(covered) if covered >= end => None,
        Some(covered) if covered > start => Some(covered),
        _ => Some(start),
    }
}

fn decode_runs(input: &mut Decoder<'_>) -> Result<Runs, decode::Error> {
    let wrong = || decode::Error::message("pack set: runs");
    let count = array(input)?;
    if count % 2 != 0 {
        return Err(wrong());
    }
    let (mut runs, mut last) = (Runs::new(), 0u32);
    for index in 0..count / 2 {
        let gap = input.u32()?;
        let length = input.u32()?;
        let start = last.checked_add(gap).ok_or_else(wrong)?;
        let end = start.checked_add(length).ok_or_else(wrong)?;
        if length == 0 || (index > 0 && gap == 0) {
            return Err(wrong());
        }
        runs.insert(start, end);
        last = end;
    }
    Ok(runs)
}

fn array(input: &mut Decoder<'_>) -> Result<u64, decode::Error> {
    input.array()?.ok_or_else(|| decode::Error::message("an array without a length"))
}

fn insert_run(runs: &mut Runs, mut start: u32, mut end: u32) {
    if let Some((before, before_end)) = runs.range(..=start).next_back().map(|(a, b)| (*a, *b))
        && before_end >= start
    {
        if before_end >= end {
            return;
        }
        start = before;
    }
    while let Some((next, next_end)) = runs.range(start..=end).next().map(|(a, b)| (*a, *b)) {
        end = end.max(next_end);
        runs.remove(&next);
    }
    runs.insert(start, end);
}

impl FromIterator<PackId> for PackSet {
    fn from_iter<I: IntoIterator<Item = PackId>>(packs: I) -> Self {
        let mut set = Self::default();
        packs.into_iter().for_each(|pack| set.insert(pack));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pack(session: u8, counter: u32) -> PackId {
        PackId { session: SessionId([session; 16]), counter }
    }

    proptest! {
        #[test]
        fn behaves_as_a_set_and_round_trips(
            left in prop::collection::vec((0u8..3, 0u32..40), 0..60),
            right in prop::collection::vec((0u8..3, 0u32..40), 0..60),
        ) {
            let model = |rows: &[(u8, u32)]| -> BTreeSet<PackId> {
                rows.iter().map(|(session, counter)| pack(*session, *counter)).collect()
            };
            let (a, b) = (model(&left), model(&right));
            let mut set: PackSet = left.iter().map(|(s, c)| pack(*s, *c)).collect();
            set.union(&right.iter().map(|(s, c)| pack(*s, *c)).collect());
            let all: BTreeSet<PackId> = a.union(&b).copied().collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), all.clone());
            prop_assert_eq!(set.len(), all.len() as u64);
            for session in 0..3 {
                for counter in 0..41 {
                    let id = pack(session, counter);
                    prop_assert_eq!(set.contains(id), all.contains(&id));
                }
            }
            let overlap = model(&left).intersection(&model(&right)).next().is_some();
            let of = |rows: &[(u8, u32)]| -> PackSet {
                rows.iter().map(|(session, counter)| pack(*session, *counter)).collect()
            };
            prop_assert_eq!(of(&left).intersects(&of(&right)), overlap);
            let mut rest = of(&left);
            right.iter().for_each(|(session, counter)| rest.remove(pack(*session, *counter)));
            let difference: BTreeSet<PackId> = a.difference(&b).copied().collect();
            prop_assert_eq!(rest, difference.iter().copied().collect::<PackSet>());
            for (smaller, larger) in [(&a, &b), (&b, &a), (&a, &all), (&all, &b)] {
                let missing = smaller.difference(larger).next().copied();
                let set = |packs: &BTreeSet<PackId>| -> PackSet { packs.iter().copied().collect() };
                prop_assert_eq!(set(smaller).first_missing_in(&set(larger)), missing);
            }
            let mut bytes = Vec::new();
            set.encode(&mut Encoder::new(&mut bytes)).unwrap();
            prop_assert_eq!(PackSet::decode(&mut Decoder::new(&bytes)).unwrap(), set);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PackSet::decode(&mut Decoder::new(&bytes));
        }
    }
}
