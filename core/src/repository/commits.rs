//! Commits: reading one, sealing a new one.

use bytes::Bytes;

use super::{
    Repository, Snapshot, SnapshotKind,
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
    packset::PackSet,
    runtime::Randomness,
    target::{Payload, PutMode, TargetErrorKind},
};

/// Commits read at once.
pub(super) const READS_AT_ONCE: usize = 16;

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

impl LoadedCommit {
    /// True for snapshots, maintenance and repair, false for sessions that were given up.
    pub fn is_made(&self) -> bool {
        self.commit.is_made()
    }
}

impl Repository {
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

    /// Ends the session of `commit` by one create.
    ///
    /// # Errors
    /// `Conflict` if the session was given up by a collector meanwhile, or the target's.
    pub(crate) async fn create_commit(
        &self,
        commit: &mut Commit,
        references: &PackSet,
    ) -> Result<ObjectHash> {
        let sealed = self.seal_commit(commit, references, &*self.runtime().randomness)?;
        let sealed = Bytes::from(sealed);
        let name = MetaName::Commit(commit.session).to_string();
        let key = layout::key(&name)?;
        match self.target().put(&key, Payload::from(sealed.clone()), PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {
                let message = "this run was given up by a prune that saw no sign of it";
                return Err(Error::new(ErrorKind::Conflict, message)
                    .on(key)
                    .hint("run it again: what was stored is not sent twice"));
            }
            Err(error) => return Err(error.into()),
        }
        let hash = *blake3::hash(&sealed).as_bytes();
        self.cache().put(&name, sealed).await;
        if commit.root.is_some() || commit.forwarding.is_some() {
            self.pin_commit(commit.session, hash).await?;
        }
        Ok(hash)
    }

    /// Ends a session without a snapshot; `None` if it ended by itself meanwhile.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn give_up(&self, session: SessionId) -> Result<Option<SessionId>> {
        let now = self.runtime().clock.now();
        let mut commit = Commit {
            repository: self.id(),
            session,
            time: now,
            started: now,
            committed: now,
            ..Commit::blank()
        };
        match self.create_commit(&mut commit, &PackSet::default()).await {
            Ok(_) => Ok(Some(session)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
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
}

/// The sealed parts (without the trailing length) and where the first of them ends.
fn split_commit(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (sealed, length) = bytes.split_last_chunk::<4>()?;
    let list_len = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    Some((sealed, sealed.len().checked_sub(list_len)?))
}

/// The snapshot that `commit` made, if it made one.
pub(super) fn snapshot_of(commit: &Commit) -> Option<Snapshot> {
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
        hash: [0; 32],
        is_held: false,
        original: commit.original,
        generation: commit.generation,
        root: commit.root.clone()?,
    })
}
