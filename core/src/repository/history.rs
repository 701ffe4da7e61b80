//! What the sessions of a repository amount to: live snapshots, forgotten ones, labels, and where
//! rewritten packs went.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    MetaListing, Repository, Snapshot, SnapshotList,
    commits::{LoadedCommit, READS_AT_ONCE, snapshot_of},
    layout::MetaName,
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        commit::ObjectHash, forwarding::Forwarding, label::Label, object::ObjectType, record,
        tombstone::Tombstone,
    },
    id::SessionId,
    monitor::Problem,
    packset::PackSet,
    tasks,
};

/// All sessions that ended, as one listing shows them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Readable commits without a tombstone, in order of session id: snapshots, maintenance, and
    /// sessions that were given up.
    pub commits: Vec<LoadedCommit>,
    /// Sessions that were forgotten.
    pub tombstones: BTreeSet<SessionId>,
    /// The newest label of each snapshot that has one.
    pub labels: BTreeMap<SessionId, Label>,
    /// Where rewritten packs went.
    pub forwarding: Arc<Forwarding>,
    /// Packs of which something is known to be lost: nothing new refers to them.
    pub lost: PackSet,
    /// What could not be read.
    pub damaged: Vec<Problem>,
}

impl History {
    /// Commits of snapshots.
    pub fn snapshots(&self) -> impl Iterator<Item = &LoadedCommit> {
        self.commits.iter().filter(|loaded| loaded.commit.root.is_some())
    }

    /// Commits of maintenance sessions, oldest first.
    pub fn maintenance(&self) -> Vec<&LoadedCommit> {
        let all = self.commits.iter().filter(|loaded| loaded.commit.forwarding.is_some());
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|loaded| (loaded.commit.generation, loaded.commit.session));
        all
    }

    /// Every pack that some snapshot refers to, as its pages name them.
    pub fn references(&self) -> PackSet {
        let mut all = PackSet::default();
        self.snapshots().for_each(|loaded| all.union(&loaded.references));
        all
    }

    /// Commits that no other commit has seen.
    pub fn heads(&self) -> Vec<ObjectHash> {
        let commits = || self.commits.iter();
        let seen: BTreeSet<&ObjectHash> =
            commits().flat_map(|loaded| &loaded.commit.heads).collect();
        let all = commits().map(|loaded| loaded.hash);
        let mut heads: Vec<ObjectHash> = all.filter(|hash| !seen.contains(hash)).collect();
        heads.sort_unstable();
        heads
    }
}

impl Repository {
    /// Reads what the listing shows of sessions that ended; damaged objects are named, not fatal.
    /// Readers of this repository follow the forwarding from then on.
    pub(crate) async fn load_history(&self, listing: &MetaListing) -> Result<History> {
        let mut history = History::default();
        self.load_tombstones(listing, &mut history).await?;
        self.load_labels(listing, &mut history).await?;
        // a hold that comes too late revives nothing: a collector may have been there already
        let is_live = |session: &SessionId| !history.tombstones.contains(session);
        let sessions: Vec<SessionId> = listing.commits().filter(is_live).collect();
        let reads = sessions
            .into_iter()
            .map(|session| async move { (session, self.load_commit(session).await) });
        tasks::each(reads, READS_AT_ONCE, |(session, result)| {
            let name = MetaName::Commit(session);
            history.commits.extend(readable(name, result, &mut history.damaged)?);
            Ok::<_, Error>(())
        })
        .await?;
        let mut forwarding = Forwarding::default();
        for loaded in history.maintenance() {
            loaded.commit.forwarding.iter().for_each(|rows| forwarding.override_with(rows));
        }
        history.forwarding = Arc::new(forwarding);
        self.packs().follow(history.forwarding.clone(), listing.newest_head());
        history.lost = self.load_damage(listing).await?.packs().clone();
        self.check_pin(listing, &history).await?;
        Ok(history)
    }

    /// A tombstone counts only if it opens: a storage cannot forget in our name.
    async fn load_tombstones(&self, listing: &MetaListing, history: &mut History) -> Result<()> {
        let reads = listing.tombstones().into_iter().map(|session| async move {
            (MetaName::Tombstone(session), self.load_tombstone(session).await)
        });
        tasks::each(reads, READS_AT_ONCE, |(name, result)| {
            let tombstone = readable(name, result, &mut history.damaged)?;
            history.tombstones.extend(tombstone.map(|tombstone| tombstone.session));
            Ok(())
        })
        .await
    }

    /// Reads one tombstone.
    pub(crate) async fn load_tombstone(&self, session: SessionId) -> Result<Tombstone> {
        let name = MetaName::Tombstone(session).to_string();
        let open = |bytes: &Bytes| {
            let content = record::open(self.keys(), ObjectType::Tombstone, &name, bytes)?;
            let tombstone = Tombstone::decode(&content)?;
            match tombstone.session == session {
                true => Ok(tombstone),
                false => Err(Error::damaged(&name, "is about another snapshot")),
            }
        };
        let read = self.cache().read(self.target(), &name, open).await;
        read.map_err(|error| if error.object().is_some() { error } else { error.on(&name) })
    }

    async fn load_labels(&self, listing: &MetaListing, history: &mut History) -> Result<()> {
        let mut newest: BTreeMap<SessionId, u32> = BTreeMap::new();
        for name in listing.names() {
            if let MetaName::Label(session, number) = name
                && !history.tombstones.contains(&session)
            {
                let known = newest.entry(session).or_default();
                *known = number.max(*known);
            }
        }
        let reads = newest.into_iter().map(|(session, number)| async move {
            (MetaName::Label(session, number), self.load_label(session, number).await)
        });
        tasks::each(reads, READS_AT_ONCE, |(name, result)| {
            let label = readable(name, result, &mut history.damaged)?;
            history.labels.extend(label.map(|label| (label.session, label)));
            Ok(())
        })
        .await
    }

    /// Reads one label.
    pub(crate) async fn load_label(&self, session: SessionId, number: u32) -> Result<Label> {
        let name = MetaName::Label(session, number).to_string();
        let open = |bytes: &Bytes| {
            let content = record::open(self.keys(), ObjectType::Label, &name, bytes)?;
            Ok(Label { session, ..Label::decode(&content)? })
        };
        let read = self.cache().read(self.target(), &name, open).await;
        read.map_err(|error| if error.object().is_some() { error } else { error.on(&name) })
    }

    /// All snapshots, oldest first, and what was wrong with those that could not be read.
    ///
    /// # Errors
    /// What the target reports. A damaged commit is not an error: the others stay usable.
    pub async fn snapshots(&self) -> Result<SnapshotList> {
        let listing = self.list_meta().await?;
        let history = self.load_history(&listing).await?;
        Ok(SnapshotList::new(&history))
    }
}

/// What was read; `None` if it is damaged, which is noted, or gone since it was listed.
fn readable<T>(name: MetaName, result: Result<T>, damaged: &mut Vec<Problem>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            let (item, message) = (name.to_string(), error.to_string());
            damaged.push(Problem { item, message, is_error: true });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl SnapshotList {
    /// The snapshots of `history`, oldest first, with the newest labels.
    pub(crate) fn new(history: &History) -> Self {
        let labelled = |loaded: &LoadedCommit| {
            let mut snapshot = snapshot_of(&loaded.commit)?;
            snapshot.hash = loaded.hash;
            if let Some(label) = history.labels.get(&snapshot.id) {
                snapshot.tags.clone_from(&label.tags);
                snapshot.is_held = label.is_held;
            }
            Some(snapshot)
        };
        let mut snapshots: Vec<Snapshot> = history.commits.iter().filter_map(labelled).collect();
        snapshots.sort_by_key(|snapshot| (snapshot.time, snapshot.committed, snapshot.id));
        Self { snapshots, damaged: history.damaged.clone() }
    }
}
