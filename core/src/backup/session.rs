//! A writer's session: announced before anything is written, ended by the commit.

use std::collections::BTreeSet;

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
    id::{ClientId, SessionId},
    packset::PackSet,
    repository::{
        CommitList, MetaListing, Repository, Snapshot, SnapshotKind, SnapshotList,
        layout::{self, MetaName},
        pack_of_copy,
    },
    runtime::{Timestamp, random},
    target::{ObjectKey, Payload, PutMode, TargetExt},
};

/// Batches of deletes at once.
const DELETES_AT_ONCE: usize = 4;

/// A running session.
pub(super) struct Session {
    id: SessionId,
    started: Timestamp,
    sequence: u64,
    heads: Vec<ObjectHash>,
    parent: Option<Snapshot>,
    index: IndexSource,
    /// Announcements of earlier runs of this client that are over.
    resolved: Vec<SessionId>,
    /// Copies worth keeping besides our own: commits and index segments that are there.
    live: BTreeSet<MetaName>,
    /// The packs of all commits.
    live_packs: PackSet,
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
        let mut listing = match repository.list_meta().await {
            Ok(listing) => listing,
            Err(error) => {
                // this may not even be our repository
                if !options.is_dry_run {
                    withdraw(repository, id).await;
                }
                return Err(error);
            }
        };
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
        let mut live_packs = PackSet::default();
        commits.commits.iter().for_each(|loaded| live_packs.union(&loaded.references));
        Ok(Self {
            id,
            started,
            sequence,
            heads: heads(&commits),
            parent,
            index,
            resolved: resolved(&listing, &commits, options.client),
            live: listing.objects.into_iter().map(|(name, _)| name).collect(),
            live_packs,
        })
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

    /// Makes the snapshot visible by one create, then removes the announcements of earlier runs
    /// that are over. Ours goes with the next run: a first backup need not wait for a request.
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
            // a run without a parent reads everything: it is a full one, whatever was asked for
            kind: kind_number(self.parent.as_ref().map_or(SnapshotKind::Full, |_| options.kind)),
            parent: self.parent.as_ref().map(|parent| parent.id),
            unreadable: outcome.problems.count,
            added_bytes: outcome.stored.bytes,
            original: None,
        };
        if let Some(copy_of) = &outcome.copy_of {
            copy_of.describe(&mut commit);
        }
        let packs = &outcome.table.packs;
        let sealed = repository.seal_commit(&mut commit, packs, &*runtime.randomness)?;
        let key = layout::key(&MetaName::Commit(self.id).to_string())?;
        let sealed = Bytes::from(sealed);
        let payload = Payload::from(sealed.clone());
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
        repository.cache().put(&MetaName::Commit(self.id).to_string(), sealed).await;
        self.tidy(repository, packs).await;
        Ok(())
    }

    /// Removes what is over, here and in the cache. The snapshot stands whatever fails.
    async fn tidy(&self, repository: &Repository, packs: &PackSet) {
        let names = self.resolved.iter().map(|session| MetaName::Session(*session).to_string());
        let keys: Vec<_> = names.filter_map(|name| layout::key(&name).ok()).collect();
        if !keys.is_empty()
            && let Err(error) = repository.target().delete_many(keys, DELETES_AT_ONCE).await
        {
            tracing::warn!(%error, "announcements of earlier runs stay");
        }
        let own = |key: &ObjectKey| key.segments().any(|part| part == self.id.to_string());
        let is_live = |key: &ObjectKey| match (MetaName::of(key), pack_of_copy(key)) {
            (Some(name), _) => self.live.contains(&name),
            (_, Some(pack)) => self.live_packs.contains(pack) || packs.contains(pack),
            (None, None) => key.as_str() == layout::DESCRIPTOR,
        };
        repository.cache().keep(|key| own(key) || is_live(key)).await;
    }
}

pub(super) fn kind_number(kind: SnapshotKind) -> u8 {
    match kind {
        SnapshotKind::Full => 0,
        SnapshotKind::Incremental => 1,
        SnapshotKind::Differential => 2,
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

/// Takes an announcement back that nothing came of.
async fn withdraw(repository: &Repository, session: SessionId) {
    let Ok(key) = layout::key(&MetaName::Session(session).to_string()) else { return };
    if let Err(error) = repository.target().delete(&key).await {
        tracing::warn!(%error, "the announcement of a run that did not begin stays");
    }
}

/// Sessions of `client` that have a commit.
fn resolved(listing: &MetaListing, commits: &CommitList, client: ClientId) -> Vec<SessionId> {
    let own = commits.commits.iter().map(|loaded| &loaded.commit);
    let own: BTreeSet<SessionId> =
        own.filter(|commit| commit.client == client).map(|commit| commit.session).collect();
    let announced = listing.objects.iter().filter_map(|(name, _)| match name {
        MetaName::Session(session) if own.contains(session) => Some(*session),
        _ => None,
    });
    announced.collect()
}

/// Commits that no other commit has seen.
fn heads(commits: &CommitList) -> Vec<ObjectHash> {
    let seen: BTreeSet<ObjectHash> =
        commits.commits.iter().flat_map(|loaded| loaded.commit.heads.iter().copied()).collect();
    let all = commits.commits.iter().map(|loaded| loaded.hash);
    let mut heads: Vec<ObjectHash> = all.filter(|hash| !seen.contains(hash)).collect();
    heads.sort_unstable();
    heads
}
