//! A writer's session: announced before anything is written, ended by the commit.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use super::{BackupOptions, index::IndexSource, parent, pipeline::Outcome};
use crate::{
    error::Result,
    format::commit::{Commit, ObjectHash},
    id::{ClientId, SessionId},
    packset::PackSet,
    repository::{
        Announcement, History, MetaListing, Repository, Snapshot, SnapshotKind, SnapshotList,
        WriterView,
        layout::{self, MetaName},
        pack_of_copy,
    },
    runtime::Timestamp,
    target::{ObjectKey, TargetExt},
};

/// Batches of deletes at once.
const DELETES_AT_ONCE: usize = 4;

/// A running session.
pub(super) struct Session {
    announcement: Announcement,
    started: Timestamp,
    view: Arc<WriterView>,
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
        let started = repository.runtime().clock.now();
        let announcement = match options.is_dry_run {
            true => Announcement::unspoken(repository),
            false => Announcement::make(repository, options.client, &options.host).await?,
        };
        let id = announcement.session();
        let mut overview = match repository.overview().await {
            Ok(overview) => overview,
            Err(error) => {
                // this may not even be our repository
                announcement.withdraw().await;
                return Err(error);
            }
        };
        overview.listing.objects.retain(|(name, _)| *name != MetaName::Session(id));
        let history = &overview.history;
        for damaged in &history.damaged {
            tracing::warn!(object = damaged.item, "left out: {}", damaged.message);
        }
        let snapshots = SnapshotList::new(history).snapshots;
        let parent = parent::choose(&snapshots, roots, options)?.cloned();
        let index = IndexSource::find(repository, &overview, options.client).await?;
        let mut live_packs = history.references();
        live_packs.union(&history.forwarding.resolve(&live_packs));
        Ok(Self {
            announcement,
            started,
            sequence: next_sequence(history, options.client),
            heads: history.heads(),
            parent,
            index,
            resolved: resolved(&overview.listing, history, options.client),
            live_packs,
            view: Arc::new(overview.view),
            live: overview.listing.objects.into_iter().map(|(name, _)| name).collect(),
        })
    }

    pub(super) fn id(&self) -> SessionId {
        self.announcement.session()
    }

    /// What may be referred to.
    pub(super) fn view(&self) -> &Arc<WriterView> {
        &self.view
    }

    /// Shows from time to time that the run goes on. Never returns.
    pub(super) async fn keep_alive(&self) -> Infallible {
        self.announcement.keep_alive().await
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
    ) -> Result<ObjectHash> {
        let clock = &repository.runtime().clock;
        let mut commit = Commit {
            repository: repository.id(),
            session: self.id(),
            client: options.client,
            sequence: self.sequence,
            heads: self.heads.clone(),
            root: Some(outcome.table.root.clone()),
            indexes: outcome.stored.indexes.clone(),
            packs: outcome.stored.packs.values().copied().collect(),
            references: [0; 32],
            generation: self.view.generation(),
            time: options.time.unwrap_or(self.started),
            started: self.started,
            committed: clock.now(),
            host: options.host.clone(),
            user: options.user.clone(),
            paths: roots.to_vec(),
            tags: options.tags.clone(),
            // a run without a parent reads everything: it is a full one, whatever was asked for
            kind: kind_number(self.parent.as_ref().map_or(SnapshotKind::Full, |_| options.kind)),
            parent: self.parent.as_ref().map(|parent| parent.id),
            unreadable: outcome.problems.count,
            added_bytes: outcome.stored.bytes,
            forwarding: None,
            original: None,
            is_repair: false,
        };
        if let Some(copy_of) = &outcome.copy_of {
            copy_of.describe(&mut commit);
        }
        let packs = &outcome.table.packs;
        let hash = repository.create_commit(&mut commit, packs).await?;
        self.tidy(repository, packs).await;
        Ok(hash)
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
        let own = |key: &ObjectKey| key.segments().any(|part| part == self.id().to_string());
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

/// The how-many-eth snapshot of `client` the next one is.
fn next_sequence(history: &History, client: ClientId) -> u64 {
    let own = history.commits.iter().filter(|loaded| loaded.commit.client == client);
    own.map(|loaded| loaded.commit.sequence).max().unwrap_or(0) + 1
}

/// Sessions of `client` that have a commit.
fn resolved(listing: &MetaListing, history: &History, client: ClientId) -> Vec<SessionId> {
    let own = history.commits.iter().map(|loaded| &loaded.commit);
    let own: BTreeSet<SessionId> =
        own.filter(|commit| commit.client == client).map(|commit| commit.session).collect();
    listing.sessions().filter(|session| own.contains(session)).collect()
}
