//! Loads the index for a backup: what commits name, and what an interrupted run of the same
//! client left.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;

use super::known::Known;
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        index::{self, IndexedPack},
        object::ObjectType,
        record,
        session::SessionRecord,
    },
    id::{ClientId, PackId, SessionId},
    packset::PackSet,
    repository::{
        Overview, Repository, WriterView,
        layout::{self, MetaName},
        packs::PackDirectory,
    },
    target::ObjectMeta,
    tasks,
};

/// Objects read at once.
const READS_AT_ONCE: usize = 8;

/// Where the index of a backup comes from.
pub(super) struct IndexSource {
    repository: Repository,
    /// Index segments that count.
    committed: Vec<(SessionId, u32)>,
    /// Interrupted sessions of this client, with their index segments.
    interrupted: Vec<(SessionId, Vec<u32>)>,
    view: WriterView,
}

impl IndexSource {
    /// Finds out what there is to load; reads only session records.
    pub(super) async fn find(
        repository: &Repository,
        overview: &Overview,
        client: ClientId,
    ) -> Result<Self> {
        let committed = repository.counting_indexes(overview).await?;
        let mut interrupted = Vec::new();
        for session in unfinished(overview) {
            if is_ours(repository, session, client).await? {
                let segments = overview.listing.indexes().filter(|(owner, _)| *owner == session);
                interrupted.push((session, segments.map(|(_, counter)| counter).collect()));
            }
        }
        let view = overview.view.clone();
        Ok(Self { repository: repository.clone(), committed, interrupted, view })
    }

    /// Loads everything into `known`; returns the packs of interrupted runs.
    ///
    /// An index segment that is missing or damaged is left out: its chunks are stored again.
    pub(super) async fn load(&self, known: &Known) -> Result<Vec<IndexedPack>> {
        let segments = self.committed.iter().copied();
        let reads = segments.map(|(session, counter)| self.read_segment(session, counter));
        tasks::each(reads, READS_AT_ONCE, |rows| {
            for row in rows?.iter().filter(|row| self.view.is_reusable(row.pack.id)) {
                known.add_directory(row.pack, &row.directory);
            }
            Ok::<_, Error>(())
        })
        .await?;
        let mut adopted = Vec::new();
        for (session, counters) in &self.interrupted {
            adopted.extend(self.packs_of(*session, counters).await?);
        }
        adopted.retain(|row| self.view.is_reusable(row.pack.id));
        for row in &adopted {
            known.add_directory(row.pack, &row.directory);
        }
        Ok(adopted)
    }

    async fn read_segment(&self, session: SessionId, counter: u32) -> Result<Vec<IndexedPack>> {
        let name = MetaName::Index(session, counter).to_string();
        let open = |bytes: &Bytes| {
            let keys = self.repository.keys();
            index::decode(&record::open(keys, ObjectType::IndexSegment, &name, bytes)?)
        };
        match self.repository.cache().read(self.repository.target(), &name, open).await {
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => {
                tracing::warn!(%error, object = name, "index segment left out");
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// The packs that an interrupted session stored: from its index segments, the others from
    /// their directories.
    async fn packs_of(&self, session: SessionId, counters: &[u32]) -> Result<Vec<IndexedPack>> {
        let prefix = layout::prefix(&format!("{}/{session}", layout::PACKS))?;
        let stored: Vec<ObjectMeta> = self.repository.target().list(&prefix).try_collect().await?;
        let mut rows = Vec::new();
        for counter in counters {
            rows.extend(self.read_segment(session, *counter).await?);
        }
        let sizes: BTreeMap<PackId, u64> = stored
            .iter()
            .filter_map(|object| Some((layout::pack_of(&object.key)?, object.size_bytes)))
            .collect();
        rows.retain(|row| sizes.get(&row.pack.id) == Some(&row.size_bytes));
        let indexed: PackSet = rows.iter().map(|row| row.pack.id).collect();
        let others: Vec<(PackId, u64)> =
            sizes.into_iter().filter(|(pack, _)| !indexed.contains(*pack)).collect();
        let reads = others
            .into_iter()
            .map(|(pack, size)| async move { (size, self.read_directory(pack).await) });
        tasks::each(reads, READS_AT_ONCE, |(size_bytes, directory)| {
            rows.extend(directory?.and_then(|directory| adopt(&directory, size_bytes)));
            Ok::<_, Error>(())
        })
        .await?;
        Ok(rows)
    }

    async fn read_directory(&self, pack: PackId) -> Result<Option<PackDirectory>> {
        match self.repository.packs().read_directory(pack, None).await {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::warn!(%error, "pack of an interrupted run left out");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A pack of the stated size with this directory, or `None` if it is not complete.
fn adopt(directory: &PackDirectory, size_bytes: u64) -> Option<IndexedPack> {
    (directory.end() == size_bytes).then(|| IndexedPack {
        pack: *directory.pack(),
        size_bytes,
        hash: None,
        directory: directory.directory().clone(),
    })
}

/// Announced sessions without a commit, and those that were given up.
fn unfinished(overview: &Overview) -> Vec<SessionId> {
    let committed: BTreeSet<SessionId> = overview.listing.commits().collect();
    let given_up = overview.history.commits.iter().filter(|loaded| !loaded.is_made());
    let given_up: BTreeSet<SessionId> = given_up.map(|loaded| loaded.commit.session).collect();
    let sessions = overview.listing.sessions();
    sessions.filter(|id| !committed.contains(id) || given_up.contains(id)).collect()
}

/// True if this client began the session. A record that is gone or damaged is nobody's.
async fn is_ours(repository: &Repository, session: SessionId, client: ClientId) -> Result<bool> {
    let name = MetaName::Session(session).to_string();
    let open = |bytes: &Bytes| {
        let content = record::open(repository.keys(), ObjectType::Session, &name, bytes)?;
        SessionRecord::decode(&content)
    };
    match repository.cache().read(repository.target(), &name, open).await {
        Ok(record) => Ok(record.client == client && record.session == session),
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}
