//! A writer's session: announced before anything is written, ended by the commit.

use bytes::Bytes;

use super::{BackupOptions, index::IndexSource, parent, pipeline::Outcome};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        commit::{Commit, ObjectHash},
        object::ObjectType,
        record,
        session::SessionRecord,
    },
    id::SessionId,
    repository::{
        CommitList, Repository, Snapshot, SnapshotKind, SnapshotList,
        layout::{self, MetaName},
    },
    runtime::{Timestamp, random},
    target::{Payload, PutMode},
};

/// A running session.
pub(super) struct Session {
    id: SessionId,
    started: Timestamp,
    sequence: u64,
    heads: Vec<ObjectHash>,
    parent: Option<Snapshot>,
    index: IndexSource,
}

impl Session {
    /// Announces the session, then reads what there is: the order matters to collectors.
    pub(super) async fn begin(
        repository: &Repository,
        roots: &[String],
        options: &BackupOptions,
    ) -> Result<Self> {
        let runtime = repository.runtime();
        let id = SessionId(random(&*runtime.randomness));
        let started = runtime.clock.now();
        if !options.is_dry_run {
            announce(repository, id, started, options).await?;
        }
        let mut listing = repository.list_meta().await?;
        listing.objects.retain(|(name, _)| *name != MetaName::Session(id));
        let commits = repository.load_commits(listing.commits()).await?;
        for damaged in &commits.damaged {
            tracing::warn!(object = damaged.item, "commit left out: {}", damaged.message);
        }
        let snapshots = SnapshotList::new(&commits).snapshots;
        let parent = parent::choose(&snapshots, roots, options)?.cloned();
        let own = commits.commits.iter().filter(|loaded| loaded.commit.client == options.client);
        let sequence = own.map(|loaded| loaded.commit.sequence).max().unwrap_or(0) + 1;
        let index = IndexSource::find(repository, &listing, &commits, options.client).await?;
        Ok(Self { id, started, sequence, heads: heads(&commits), parent, index })
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// The snapshot whose unchanged entries are reused.
    pub(super) fn parent(&self) -> Option<&Snapshot> {
        self.parent.as_ref()
    }

    /// Where the index comes from.
    pub(super) fn index(&self) -> &IndexSource {
        &self.index
    }

    /// Makes the snapshot visible by one create, then removes the session's announcement.
    pub(super) async fn commit(
        &self,
        repository: &Repository,
        roots: &[String],
        options: &BackupOptions,
        outcome: &Outcome,
    ) -> Result<()> {
        let runtime = repository.runtime();
        let mut commit = Commit {
            repository: repository.id(),
            session: self.id,
            client: options.client,
            sequence: self.sequence,
            heads: self.heads.clone(),
            root: Some(outcome.table.root.clone()),
            indexes: outcome.stored.indexes.clone(),
            packs: outcome.stored.packs.values().copied().collect(),
            references: [0; 32],
            generation: 0,
            time: options.time.unwrap_or(self.started),
            started: self.started,
            committed: runtime.clock.now(),
            host: options.host.clone(),
            user: options.user.clone(),
            paths: roots.to_vec(),
            tags: options.tags.clone(),
            kind: self.kind_number(options.kind),
            parent: self.parent.as_ref().map(|parent| parent.id),
            unreadable: outcome.problems.count,
            added_bytes: outcome.stored.bytes,
        };
        let packs = &outcome.table.packs;
        let sealed = repository.seal_commit(&mut commit, packs, &*runtime.randomness)?;
        let key = layout::key(&MetaName::Commit(self.id).to_string())?;
        let payload = Payload::from(Bytes::from(sealed));
        match repository.target().put(&key, payload, PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == crate::target::TargetErrorKind::AlreadyExists => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "this run was given up by another one",
                )
                .on(key)
                .hint("run the backup again: what was stored is not sent twice"));
            }
            Err(error) => return Err(error.into()),
        }
        let announcement = layout::key(&MetaName::Session(self.id).to_string())?;
        if let Err(error) = repository.target().delete(&announcement).await {
            // the snapshot stands; the next collector removes resolved sessions
            tracing::warn!(%error, "the session's announcement stays");
        }
        Ok(())
    }

    /// A run without a parent reads everything: it is a full one, whatever was asked for.
    fn kind_number(&self, asked: SnapshotKind) -> u8 {
        match (self.parent.is_some(), asked) {
            (false, _) | (true, SnapshotKind::Full) => 0,
            (true, SnapshotKind::Incremental) => 1,
            (true, SnapshotKind::Differential) => 2,
        }
    }
}

async fn announce(
    repository: &Repository,
    session: SessionId,
    started: Timestamp,
    options: &BackupOptions,
) -> Result<()> {
    let name = MetaName::Session(session).to_string();
    let record =
        SessionRecord { session, client: options.client, started, host: options.host.clone() };
    let randomness = &*repository.runtime().randomness;
    let content = record.encode();
    let keys = repository.keys();
    let sealed = record::seal(keys, ObjectType::Session, &name, &content, randomness)?;
    let payload = Payload::from(Bytes::from(sealed));
    repository.target().put(&layout::key(&name)?, payload, PutMode::Create).await?;
    Ok(())
}

/// Commits that no other commit has seen.
fn heads(commits: &CommitList) -> Vec<ObjectHash> {
    let seen: std::collections::BTreeSet<ObjectHash> =
        commits.commits.iter().flat_map(|loaded| loaded.commit.heads.iter().copied()).collect();
    let all = commits.commits.iter().map(|loaded| loaded.hash);
    let mut heads: Vec<ObjectHash> = all.filter(|hash| !seen.contains(hash)).collect();
    heads.sort_unstable();
    heads
}
