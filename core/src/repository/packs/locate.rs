//! Where chunks lie now: in the packs that they were written to, in those that took their place
//! when a prune rewrote them, or, if they were lost, where the same content was stored again.

use std::sync::{Arc, PoisonError, Weak, atomic::Ordering};

use super::PackReader;
use crate::{
    entry::ChunkRef,
    error::{Error, ErrorKind, Result},
    format::{damage::Damage, forwarding::Forwarding},
    id::{PackId, SessionId},
    packset::PackSet,
    repository::{
        Inner, Repository,
        damage::{IndexDoor, KnownDamage},
    },
};

impl PackReader {
    /// Looks for the content of rewritten packs where `forwarding` says from now on: what was
    /// true at the collector's `generation`.
    pub(crate) fn follow(&self, forwarding: Arc<Forwarding>, generation: u64) {
        *self.forwarding.write().unwrap_or_else(PoisonError::into_inner) = forwarding;
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// Knows where packs went as `other` does.
    pub(in crate::repository) fn follow_as(&self, other: &Self) {
        self.follow(other.forwarding(), other.generation.load(Ordering::Relaxed));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = other.known_damage();
        self.suspect(&other.suspects.read().unwrap_or_else(PoisonError::into_inner));
    }

    /// Asks `owner` where packs went that are not there any more.
    pub(in crate::repository) fn ask(&self, owner: &Arc<Inner>) {
        // a reader has one owner for all of its life
        let _ = self.owner.set(Arc::downgrade(owner));
    }

    /// Where rewritten packs went, as far as this reader knows.
    pub(crate) fn forwarding(&self) -> Arc<Forwarding> {
        self.forwarding.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Avoids what is lost from now on, and what is suspected to be; `indexes` are the index
    /// segments that may tell where its content is now.
    pub(crate) fn avoid(
        &self,
        mut damage: Damage,
        indexes: Vec<(SessionId, u32)>,
    ) -> Arc<KnownDamage> {
        damage.union(&self.suspects.read().unwrap_or_else(PoisonError::into_inner));
        let known = Arc::new(KnownDamage::new(damage, indexes));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.clone();
        known
    }

    /// Takes more for lost, from when it is next told what there is.
    pub(in crate::repository) fn suspect(&self, damage: &Damage) {
        self.suspects.write().unwrap_or_else(PoisonError::into_inner).union(damage);
    }

    /// What is known to be lost, as far as this reader was told.
    pub(crate) fn known_damage(&self) -> Arc<KnownDamage> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packs that hold again what was lost of those in `references`.
    pub(in crate::repository) async fn substitutes(&self, references: &PackSet) -> Result<PackSet> {
        self.known_damage().substitutes(references, &self.index_door()).await
    }

    /// True if some of these packs were rewritten, or lost something.
    pub(crate) fn has_moved(&self, packs: &PackSet) -> bool {
        let (forwarding, known) = (self.forwarding(), self.known_damage());
        let is_forwarded =
            || !forwarding.is_empty() && packs.iter().any(|pack| forwarding.of(pack).is_some());
        packs.intersects(known.packs()) || is_forwarded()
    }

    /// True if a prune has rewritten the pack, be it since this reader was made: packs may go
    /// while they are read. Costs a listing of the collector heads where that is not known yet.
    /// An error if the keys were rotated: packs went where this reader cannot follow.
    pub(crate) async fn was_moved(&self, pack: PackId) -> Result<bool> {
        if self.forwarding().of(pack).is_some() {
            return Ok(true);
        }
        match self.catch_up().await {
            Ok(()) => Ok(self.forwarding().of(pack).is_some()),
            Err(error) if error.kind() == ErrorKind::Conflict => Err(error),
            Err(error) => {
                tracing::warn!(%error, "where packs went cannot be found out");
                Ok(false)
            }
        }
    }

    /// Learns what prunes did since.
    async fn catch_up(&self) -> Result<()> {
        let Some(owner) = self.owner.get().and_then(Weak::upgrade) else { return Ok(()) };
        let repository = Repository(owner);
        if repository.newest_head_number().await? == self.generation.load(Ordering::Relaxed) {
            return Ok(());
        }
        let listing = repository.list_meta().await?;
        let history = repository.load_history(&listing).await?;
        self.follow(history.forwarding, listing.newest_head());
        Ok(())
    }

    /// Where the chunk lies now: elsewhere than referred to if its pack was rewritten, or if it
    /// was lost and stored again.
    ///
    /// # Errors
    /// `Damaged` if no pack that took the place of its own has it.
    pub async fn locate(&self, chunk: &ChunkRef) -> Result<ChunkRef> {
        let found = self.forwarded(chunk).await;
        let known = self.known_damage();
        let is_lost = !known.is_empty()
            && match &found {
                Ok(found) => known.damage().covers(found.pack.id, found.segment),
                Err(error) => error.kind() == ErrorKind::Damaged,
            };
        if is_lost && let Some(again) = self.stored_again(&known, chunk).await? {
            return Ok(again);
        }
        found
    }

    /// Where a chunk that was lost is stored again.
    async fn stored_again(
        &self,
        known: &KnownDamage,
        chunk: &ChunkRef,
    ) -> Result<Option<ChunkRef>> {
        let forwarding = self.forwarding();
        for pack in known.places_of(&chunk.id, &self.index_door()).await? {
            if forwarding.of(pack.id).is_some() {
                // what was needed of it has a row of its own
                continue;
            }
            match self.successor(pack.id).await {
                Ok(directory) if directory.pack == pack => {
                    if let Some(segment) = directory.segment_of(&chunk.id) {
                        return Ok(Some(ChunkRef { pack, segment, ..*chunk }));
                    }
                }
                Ok(_) => {}
                // removed or lost since: there may be others
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn index_door(&self) -> IndexDoor<'_> {
        IndexDoor { target: &self.target, keys: &self.keys, cache: &self.cache }
    }

    /// Where the chunk lies now if its pack was rewritten.
    async fn forwarded(&self, chunk: &ChunkRef) -> Result<ChunkRef> {
        loop {
            let forwarding = self.forwarding();
            let Some(successors) = forwarding.of(chunk.pack.id) else { return Ok(*chunk) };
            match self.locate_in(successors, chunk).await {
                // a prune may have rewritten the successors, too
                Err((pack, error)) if error.kind() == ErrorKind::Damaged => {
                    let is_elsewhere = match pack {
                        Some(pack) => self.was_moved(pack).await?,
                        None => false,
                    };
                    if !is_elsewhere || Arc::ptr_eq(&forwarding, &self.forwarding()) {
                        return Err(error);
                    }
                }
                outcome => return outcome.map_err(|(_, error)| error),
            }
        }
    }

    /// Looks for the chunk in `successors`; an error names the one that could not be read.
    async fn locate_in(
        &self,
        successors: &PackSet,
        chunk: &ChunkRef,
    ) -> std::result::Result<ChunkRef, (Option<PackId>, Error)> {
        for pack in successors.iter() {
            let directory = self.successor(pack).await.map_err(|error| (Some(pack), error))?;
            if let Some(segment) = directory.segment_of(&chunk.id) {
                return Ok(ChunkRef { pack: directory.pack, segment, ..*chunk });
            }
        }
        let why = format!("was rewritten, and chunk {} did not come along", chunk.id);
        Err((None, Error::damaged(format!("packs/{}", chunk.pack.id), why)))
    }
}
