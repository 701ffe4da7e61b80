//! Commits: reading all of them, sealing a new one.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Repository, Snapshot, SnapshotKind, SnapshotList,
    layout::{self, MetaName},
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        cbor,
        commit::{Commit, ObjectHash},
        object::ObjectType,
        record,
    },
    id::SessionId,
    monitor::Problem,
    packset::PackSet,
    runtime::Randomness,
    target::ObjectMeta,
};

/// Commits read at once.
const READS_AT_ONCE: usize = 16;

/// A commit as found.
#[derive(Debug, Clone)]
pub struct LoadedCommit {
    /// What it says.
    pub commit: Commit,
    /// BLAKE3 of the object.
    pub hash: ObjectHash,
    /// Every pack that the snapshot needs.
    pub references: PackSet,
}

/// The objects under `meta/`.
#[derive(Debug, Clone, Default)]
pub struct MetaListing {
    /// Objects that follow the layout, sorted by key.
    pub objects: Vec<(MetaName, ObjectMeta)>,
    /// Objects that do not.
    pub junk: Vec<ObjectMeta>,
}

impl MetaListing {
    /// Sessions that have a commit.
    pub fn commits(&self) -> impl Iterator<Item = SessionId> {
        self.objects.iter().filter_map(|(name, _)| match name {
            MetaName::Commit(session) => Some(*session),
            _ => None,
        })
    }
}

/// All commits, and what is wrong with those that could not be read.
#[derive(Debug, Clone, Default)]
pub struct CommitList {
    /// Readable commits in order of session id.
    pub commits: Vec<LoadedCommit>,
    /// The others.
    pub damaged: Vec<Problem>,
}

impl Repository {
    /// One listing of all sessions, commits, index segments and key slots.
    ///
    /// # Errors
    /// What the target reports; `Conflict` or `NoRepository` if the repository was opened with a
    /// remembered key slot that is no longer there.
    pub(crate) async fn list_meta(&self) -> Result<MetaListing> {
        let prefix = layout::prefix(layout::META)?;
        let mut all: Vec<ObjectMeta> = self.target().list(&prefix).try_collect().await?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        let mut listing = MetaListing::default();
        for object in all {
            match MetaName::of(&object.key) {
                Some(name) => listing.objects.push((name, object)),
                None => listing.junk.push(object),
            }
        }
        self.expect_remembered_slot(&listing).await?;
        Ok(listing)
    }

    /// Slots have random names: while the one that opened the repository is there, the
    /// repository is the one that was remembered, and the password still holds.
    async fn expect_remembered_slot(&self, listing: &MetaListing) -> Result<()> {
        let Some(slot) = self.0.remembered_slot else { return Ok(()) };
        if listing.objects.iter().any(|(name, _)| *name == slot) {
            return Ok(());
        }
        self.cache().keep(|_| false).await;
        if listing.objects.is_empty() {
            let message = "there is no repository here any more";
            return Err(Error::new(ErrorKind::NoRepository, message).on(self.target()));
        }
        let message = "the key that this machine remembers is not in the repository any more";
        Err(Error::new(ErrorKind::Conflict, message)
            .on(self.target())
            .hint("the repository was replaced or the password changed; run the command again"))
    }

    /// Reads the commits of `sessions`; damaged ones are named, not fatal.
    pub(crate) async fn load_commits(
        &self,
        sessions: impl Iterator<Item = SessionId>,
    ) -> Result<CommitList> {
        let mut list = CommitList::default();
        let mut reads = stream::iter(sessions)
            .map(|session| async move { (session, self.load_commit(session).await) })
            .buffered(READS_AT_ONCE);
        while let Some((session, result)) = reads.next().await {
            match result {
                Ok(commit) => list.commits.push(commit),
                // forgotten between listing and reading
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::Damaged => list.damaged.push(Problem {
                    item: MetaName::Commit(session).to_string(),
                    message: error.to_string(),
                    is_error: true,
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    /// Reads one commit.
    pub(crate) async fn load_commit(&self, session: SessionId) -> Result<LoadedCommit> {
        let name = MetaName::Commit(session).to_string();
        let open = |bytes: &Bytes| self.open_commit(session, bytes);
        let read = self.cache().read(self.target(), &name, open).await;
        read.map_err(|error| if error.object().is_some() { error } else { error.on(name) })
    }

    /// Opens a commit as stored.
    pub(crate) fn open_commit(&self, session: SessionId, bytes: &[u8]) -> Result<LoadedCommit> {
        let name = MetaName::Commit(session).to_string();
        let damaged = |why: &str| Error::damaged(&name, why);
        let (sealed, main_len) = split_commit(bytes).ok_or_else(|| damaged("is truncated"))?;
        let (main, references) = sealed.split_at(main_len);
        let commit = Commit::decode(&record::open(self.keys(), ObjectType::Commit, &name, main)?)?;
        if commit.session != session || commit.repository != self.id() {
            return Err(damaged("belongs to another session or repository"));
        }
        if *blake3::hash(references).as_bytes() != commit.references {
            return Err(damaged("has the reference list of another commit"));
        }
        let references = record::open(self.keys(), ObjectType::ReferenceList, &name, references)?;
        let references = cbor::decode_with(&references, "reference list", PackSet::decode)?;
        Ok(LoadedCommit { commit, hash: *blake3::hash(bytes).as_bytes(), references })
    }

    /// Seals a commit with its reference list; `commit.references` is set here.
    pub(crate) fn seal_commit(
        &self,
        commit: &mut Commit,
        references: &PackSet,
        randomness: &dyn Randomness,
    ) -> Result<Vec<u8>> {
        let name = MetaName::Commit(commit.session).to_string();
        let list = cbor::encode_with(|out| references.encode(out));
        let list = record::seal(self.keys(), ObjectType::ReferenceList, &name, &list, randomness)?;
        commit.references = *blake3::hash(&list).as_bytes();
        let main = commit.encode();
        let mut bytes = record::seal(self.keys(), ObjectType::Commit, &name, &main, randomness)?;
        bytes.extend_from_slice(&list);
        bytes.extend_from_slice(&(list.len() as u32).to_le_bytes());
        Ok(bytes)
    }

    /// All snapshots, oldest first, and what was wrong with those that could not be read.
    ///
    /// # Errors
    /// What the target reports. A damaged commit is not an error: the others stay usable.
    pub async fn snapshots(&self) -> Result<SnapshotList> {
        let listing = self.list_meta().await?;
        let list = self.load_commits(listing.commits()).await?;
        Ok(SnapshotList::new(&list))
    }
}

impl SnapshotList {
    /// The snapshots among `list`: given-up sessions left out, oldest first.
    pub(crate) fn new(list: &CommitList) -> Self {
        let mut snapshots: Vec<Snapshot> =
            list.commits.iter().filter_map(|loaded| snapshot_of(&loaded.commit)).collect();
        snapshots.sort_by_key(|snapshot| (snapshot.time, snapshot.committed, snapshot.id));
        Self { snapshots, damaged: list.damaged.clone() }
    }
}

/// The sealed parts (without the trailing length) and where the first of them ends.
fn split_commit(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (sealed, length) = bytes.split_last_chunk::<4>()?;
    let list_len = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    Some((sealed, sealed.len().checked_sub(list_len)?))
}

fn snapshot_of(commit: &Commit) -> Option<Snapshot> {
    Some(Snapshot {
        id: commit.session,
        time: commit.time,
        started: commit.started,
        committed: commit.committed,
        host: commit.host.clone(),
        user: commit.user.clone(),
        paths: commit.paths.clone(),
        tags: commit.tags.clone(),
        parent: commit.parent,
        kind: match commit.kind {
            0 => SnapshotKind::Full,
            2 => SnapshotKind::Differential,
            _ => SnapshotKind::Incremental,
        },
        client: commit.client,
        sequence: commit.sequence,
        unreadable: commit.unreadable,
        added_bytes: commit.added_bytes,
        original: commit.original,
        root: commit.root.clone()?,
    })
}
