//! What there is to decide about: all snapshots with their labels and their places in time.
//!
//! Knows nothing of policies.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use crate::{
    error::Result,
    format::commit::ObjectHash,
    id::{ClientId, SessionId},
    monitor::Problem,
    repository::{
        History, LoadedCommit, MetaListing, Repository, Snapshot, SnapshotList, layout::MetaName,
    },
    retention::{Candidate, Moment, Placed, PlacedBy, place},
    runtime::Timestamp,
};

/// All snapshots of a repository, as they stood at one moment.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Live ones, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// When each of them was made.
    pub placed: BTreeMap<SessionId, Placed>,
    /// Those whose newest label cannot be read: they count as held.
    pub unlabelled: BTreeSet<SessionId>,
    /// Those that were forgotten.
    pub forgotten: BTreeSet<SessionId>,
    /// Snapshots whose commits cannot be read, and whether they are held: they can be forgotten
    /// by their ids.
    pub unreadable: BTreeMap<SessionId, bool>,
    /// What could not be read.
    pub damaged: Vec<Problem>,
}

impl Survey {
    /// Reads everything that there is to know of `repository`.
    ///
    /// # Errors
    /// What the target reports. Damaged commits and labels are named, not fatal.
    pub async fn read(repository: &Repository) -> Result<Self> {
        Self::from_listing(repository, &repository.list_meta().await?).await
    }

    /// Reads what `listing` shows.
    pub(super) async fn from_listing(
        repository: &Repository,
        listing: &MetaListing,
    ) -> Result<Self> {
        let history = repository.load_history(listing).await?;
        let list = SnapshotList::new(&history);
        let labelled = listing.names().filter_map(|name| match name {
            MetaName::Label(session, _) => Some(session),
            _ => None,
        });
        let live: BTreeSet<SessionId> = list.snapshots.iter().map(|one| one.id).collect();
        Ok(Self {
            placed: place(&moments(listing, &history), repository.runtime().clock.now()),
            unlabelled: labelled
                .filter(|id| live.contains(id) && !history.labels.contains_key(id))
                .collect(),
            unreadable: unreadable(listing, &history),
            forgotten: history.tombstones.clone(),
            snapshots: list.snapshots,
            damaged: list.damaged,
        })
    }

    /// The live snapshot `id`.
    pub fn snapshot(&self, id: SessionId) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }

    /// True if `snapshot` must not be forgotten.
    pub fn is_held(&self, snapshot: &Snapshot) -> bool {
        snapshot.is_held || self.unlabelled.contains(&snapshot.id)
    }

    /// `snapshot` as policies see it.
    pub fn candidate(&self, snapshot: &Snapshot) -> Candidate {
        let stated = Placed { time: snapshot.time, position: 0, by: PlacedBy::Snapshot };
        Candidate {
            id: snapshot.id,
            placed: self.placed.get(&snapshot.id).copied().unwrap_or(stated),
            host: snapshot.host.clone(),
            paths: snapshot.paths.clone(),
            tags: snapshot.tags.clone(),
            is_held: self.is_held(snapshot),
        }
    }
}

/// Sessions with a commit that cannot be read. What labels say of them counts.
fn unreadable(listing: &MetaListing, history: &History) -> BTreeMap<SessionId, bool> {
    let labels = listing.names().filter_map(|name| match name {
        MetaName::Label(session, _) => Some(session),
        _ => None,
    });
    let labelled: BTreeSet<SessionId> = labels.collect();
    let is_held = |id: &SessionId| match history.labels.get(id) {
        Some(label) => label.is_held,
        None => labelled.contains(id),
    };
    let damaged: BTreeSet<&str> =
        history.damaged.iter().map(|problem| problem.item.as_str()).collect();
    let is_damaged = |id: &SessionId| damaged.contains(MetaName::Commit(*id).to_string().as_str());
    listing.commits().filter(is_damaged).map(|id| (id, is_held(&id))).collect()
}

/// What is known of when each snapshot was made.
fn moments(listing: &MetaListing, history: &History) -> Vec<Moment> {
    let stored: BTreeMap<SessionId, Timestamp> = listing
        .objects
        .iter()
        .filter_map(|(name, object)| match name {
            MetaName::Commit(session) => {
                let nanoseconds = object.modified_ms?.checked_mul(1_000_000)?;
                Some((*session, Timestamp(nanoseconds)))
            }
            _ => None,
        })
        .collect();
    let commits: Vec<&LoadedCommit> = history.snapshots().collect();
    let ordered = in_commit_order(&commits, &stored);
    let moment = |(position, loaded): (usize, &LoadedCommit)| Moment {
        id: loaded.commit.session,
        position: position as u64,
        time: loaded.commit.time,
        // copies keep the times of what they are copies of
        is_given: loaded.commit.time != loaded.commit.started || loaded.commit.original.is_some(),
        committed: loaded.commit.committed,
        stored: stored.get(&loaded.commit.session).copied(),
    };
    ordered.into_iter().enumerate().map(moment).collect()
}

/// The commits, each behind those that it had seen and behind the earlier ones of its client;
/// where neither says anything, by the storage's clock, else by the clients'.
fn in_commit_order<'a>(
    commits: &[&'a LoadedCommit],
    stored: &BTreeMap<SessionId, Timestamp>,
) -> Vec<&'a LoadedCommit> {
    let (followers, mut waits_for) = edges(commits);
    let key = |at: usize| {
        let commit = &commits[at].commit;
        let time = stored.get(&commit.session).copied().unwrap_or(commit.committed);
        Reverse((time, commit.session, at))
    };
    let free = (0..commits.len()).filter(|at| waits_for[*at] == 0);
    let mut ready: BinaryHeap<_> = free.map(key).collect();
    let mut ordered = Vec::with_capacity(commits.len());
    while let Some(Reverse((_, _, at))) = ready.pop() {
        ordered.push(commits[at]);
        for follower in &followers[at] {
            waits_for[*follower] -= 1;
            if waits_for[*follower] == 0 {
                ready.push(key(*follower));
            }
        }
    }
    // Only who has the keys can make commits that wait for one another; they come last.
    let mut rest: Vec<_> = (0..commits.len()).filter(|at| waits_for[*at] > 0).map(key).collect();
    rest.sort_unstable_by_key(|key| Reverse(*key));
    ordered.extend(rest.into_iter().map(|Reverse((_, _, at))| commits[at]));
    ordered
}

/// For each commit those that come after it, and how many it comes after.
fn edges(commits: &[&LoadedCommit]) -> (Vec<Vec<usize>>, Vec<usize>) {
    let by_hash: BTreeMap<ObjectHash, usize> =
        commits.iter().enumerate().map(|(at, loaded)| (loaded.hash, at)).collect();
    let mut by_client: BTreeMap<(ClientId, u64), usize> = BTreeMap::new();
    for (at, loaded) in commits.iter().enumerate() {
        by_client.insert((loaded.commit.client, loaded.commit.sequence), at);
    }
    let seen = commits.iter().enumerate().flat_map(|(at, loaded)| {
        let by_hash = &by_hash;
        loaded.commit.heads.iter().filter_map(move |head| Some((*by_hash.get(head)?, at)))
    });
    let own: Vec<(ClientId, usize)> =
        by_client.into_iter().map(|((client, _), at)| (client, at)).collect();
    let own =
        own.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1));
    let mut followers = vec![Vec::new(); commits.len()];
    let mut waits_for = vec![0; commits.len()];
    for (before, after) in seen.chain(own).filter(|(before, after)| before != after) {
        followers[before].push(after);
        waits_for[after] += 1;
    }
    (followers, waits_for)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        format::{
            commit::{Commit, Original},
            page::TableRoot,
        },
        packset::PackSet,
        target::{ObjectKey, ObjectMeta},
    };

    const DAY: i64 = 86_400_000_000_000;

    /// A commit of `client` on a day of its own clock, that has seen `seen`.
    fn commit(number: u8, client: u8, sequence: u64, day: i64, seen: &[u8]) -> LoadedCommit {
        let root = Some(TableRoot { level: 0, chunk: None, counts: Default::default() });
        let time = Timestamp(day * DAY);
        let commit = Commit {
            session: SessionId([number; 16]),
            client: ClientId([client; 16]),
            sequence,
            heads: seen.iter().map(|number| [*number; 32]).collect(),
            root,
            time,
            started: time,
            committed: time,
            ..Commit::blank()
        };
        LoadedCommit { commit, hash: [number; 32], references: PackSet::default() }
    }

    fn order(commits: &[LoadedCommit], stored: &[(u8, i64)]) -> Vec<u8> {
        let commits: Vec<&LoadedCommit> = commits.iter().collect();
        let stored = stored.iter().map(|(id, day)| (SessionId([*id; 16]), Timestamp(day * DAY)));
        let ordered = in_commit_order(&commits, &stored.collect());
        ordered.iter().map(|loaded| loaded.commit.session.0[0]).collect()
    }

    #[test]
    fn who_has_seen_another_comes_after_it_whatever_the_clocks_say() {
        let all = [commit(1, 1, 1, 50, &[]), commit(2, 2, 1, 10, &[1]), commit(3, 3, 1, 5, &[2])];
        assert_eq!(order(&all, &[]), [1, 2, 3]);
        // and after the earlier ones of its own client, even where what was seen is forgotten
        let all = [commit(1, 1, 1, 50, &[]), commit(2, 1, 2, 10, &[9]), commit(3, 1, 3, 5, &[9])];
        assert_eq!(order(&all, &[]), [1, 2, 3]);
    }

    #[test]
    fn of_those_that_know_nothing_of_one_another_the_storage_says_who_was_first() {
        let all = [commit(1, 1, 1, 50, &[]), commit(2, 2, 1, 10, &[]), commit(3, 3, 1, 20, &[])];
        assert_eq!(order(&all, &[]), [2, 3, 1]);
        assert_eq!(order(&all, &[(1, 1), (2, 3), (3, 2)]), [1, 3, 2]);
    }

    #[test]
    fn commits_that_wait_for_one_another_come_last_and_are_not_lost() {
        let all = [commit(1, 1, 1, 1, &[2]), commit(2, 2, 1, 2, &[1]), commit(3, 3, 1, 9, &[])];
        assert_eq!(order(&all, &[]), [3, 1, 2]);
    }

    #[test]
    fn a_client_whose_clock_runs_ahead_is_placed_by_the_storage() {
        let history = History {
            commits: vec![
                commit(1, 1, 1, 10, &[]),
                commit(2, 2, 1, 900, &[1]),
                commit(3, 1, 2, 12, &[2]),
            ],
            ..History::default()
        };
        let object = |(number, day): (u8, i64)| {
            let name = MetaName::Commit(SessionId([number; 16]));
            let key = ObjectKey::parse(&name.to_string()).unwrap();
            let modified_ms = Some(day * DAY / 1_000_000);
            (name, ObjectMeta { key, size_bytes: 1, modified_ms })
        };
        let objects = [(1, 10), (2, 11), (3, 12)].map(object).to_vec();
        let listing = MetaListing { objects, ..MetaListing::default() };
        let placed = place(&moments(&listing, &history), Timestamp(12 * DAY));
        let found = placed[&SessionId([2; 16])];
        assert_eq!((found.time, found.by), (Timestamp(11 * DAY), PlacedBy::Storage));
        // a copy keeps the time of what it is a copy of
        let mut copied = history;
        let repository = copied.commits[1].commit.repository;
        copied.commits[1].commit.original =
            Some(Original { repository, snapshot: SessionId([8; 16]) });
        let placed = place(&moments(&listing, &copied), Timestamp(12 * DAY));
        assert_eq!(placed[&SessionId([2; 16])].time, Timestamp(900 * DAY));
    }
}
