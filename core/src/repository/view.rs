//! What a writer may build on: decided once, from the collector head that it read before it
//! looked at anything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{History, LoadedCommit, MetaListing, Repository, commits::READS_AT_ONCE};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{collector::CollectorHead, forwarding::Forwarding},
    id::{PackId, SessionId},
    packset::PackSet,
    tasks,
};

/// What a writer may refer to. Packs that a collector has condemned since are no concern of it:
/// that collector waits for this writer.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriterView {
    head: CollectorHead,
    forwarding: Arc<Forwarding>,
    lost: PackSet,
}

impl WriterView {
    /// The collector generation.
    pub(crate) fn generation(&self) -> u64 {
        self.head.number
    }

    /// The head itself.
    pub(crate) fn head(&self) -> &CollectorHead {
        &self.head
    }

    /// True if new references to this pack are safe: it is neither condemned nor gone.
    pub(crate) fn is_usable(&self, pack: PackId) -> bool {
        !self.head.packs.contains(pack) && !self.head.gone.contains(pack)
    }

    /// True if something of this pack is known to be lost.
    pub(crate) fn is_damaged(&self, pack: PackId) -> bool {
        self.lost.contains(pack)
    }

    /// True if a writer should refer to what the pack holds rather than store it again: that is
    /// safe, and nothing of the pack is known to be lost.
    pub(crate) fn is_reusable(&self, pack: PackId) -> bool {
        self.is_usable(pack) && !self.is_damaged(pack)
    }

    /// As [`Self::may_refer_to`], and nothing of the packs is known to be lost.
    pub(crate) fn may_reuse(&self, packs: &PackSet) -> bool {
        let is_whole = self.lost.is_empty()
            || !packs.intersects(&self.lost)
                && !self.forwarding.resolve(packs).intersects(&self.lost);
        is_whole && self.may_refer_to(packs)
    }

    /// True if what refers to these packs, and was stored earlier, may be taken over as it is:
    /// none is condemned, and where they were rewritten neither are their successors.
    pub(crate) fn may_refer_to(&self, packs: &PackSet) -> bool {
        if packs.intersects(&self.head.packs) {
            return false;
        }
        let stored = self.forwarding.resolve(packs);
        !stored.intersects(&self.head.packs) && !stored.intersects(&self.head.gone)
    }

    /// True if the index segments of the session with this commit count.
    pub(crate) fn counts_index_of(&self, loaded: &LoadedCommit) -> bool {
        let commit = &loaded.commit;
        let is_base = self.head.base == Some(commit.session);
        loaded.is_made() && (is_base || commit.generation >= self.head.base_generation)
    }
}

/// A listing, what it shows, and what may be referred to: all a writer or collector begins with.
#[derive(Debug)]
pub(crate) struct Overview {
    pub(crate) listing: MetaListing,
    pub(crate) history: History,
    pub(crate) view: WriterView,
}

impl Repository {
    /// Reads the newest collector head, and only then what there is.
    ///
    /// # Errors
    /// What the target reports; `Damaged` if the head cannot be read: what is condemned is not
    /// to be guessed.
    pub(crate) async fn overview(&self) -> Result<Overview> {
        loop {
            let listing = self.list_meta_after_head().await?;
            let head = match self.load_head(listing.newest_head()).await {
                Ok(head) => head,
                // a newer one took its place
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let history = self.load_history(&listing).await?;
            let (forwarding, lost) = (history.forwarding.clone(), history.lost.clone());
            let view = WriterView { head, forwarding, lost };
            return Ok(Overview { listing, history, view });
        }
    }

    /// The index segments that count, of snapshots that were forgotten too: their packs are
    /// stored until a collector has condemned them.
    pub(crate) async fn counting_indexes(
        &self,
        overview: &Overview,
    ) -> Result<Vec<(SessionId, u32)>> {
        let live = overview.history.commits.iter();
        let mut counts: BTreeMap<SessionId, bool> = live
            .map(|loaded| (loaded.commit.session, overview.view.counts_index_of(loaded)))
            .collect();
        let forgotten: BTreeSet<SessionId> = overview
            .listing
            .indexes()
            .map(|(session, _)| session)
            .filter(|session| overview.history.tombstones.contains(session))
            .collect();
        let reads = forgotten.into_iter().map(|session| async move {
            Ok::<_, Error>((session, self.forgotten_counts(overview, session).await?))
        });
        tasks::each(reads, READS_AT_ONCE, |read| {
            let (session, does_count) = read?;
            counts.insert(session, does_count);
            Ok::<_, Error>(())
        })
        .await?;
        let indexes = overview.listing.indexes();
        Ok(indexes.filter(|(session, _)| counts.get(session) == Some(&true)).collect())
    }

    async fn forgotten_counts(&self, overview: &Overview, session: SessionId) -> Result<bool> {
        match self.load_commit(session).await {
            Ok(loaded) => Ok(overview.view.counts_index_of(&loaded)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Damaged) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
