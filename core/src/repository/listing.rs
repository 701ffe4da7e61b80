//! What one listing of everything small shows.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::TryStreamExt;

use super::{
    Repository,
    layout::{self, MetaName},
    pins::Pin,
    unlock::{highest, rotated},
};
use crate::{
    error::{Error, ErrorKind, Result},
    id::{SessionId, SlotId},
    target::{ObjectMeta, SharedTarget},
};

/// The objects under `meta/`.
#[derive(Debug, Clone, Default)]
pub struct MetaListing {
    /// Objects that follow the layout, sorted by key.
    pub objects: Vec<(MetaName, ObjectMeta)>,
    /// Objects that do not.
    pub junk: Vec<ObjectMeta>,
    /// What this machine remembered before the listing began.
    pub(crate) remembered: Option<Pin>,
}

impl MetaListing {
    /// The objects below `folder`.
    pub(super) async fn of(target: &SharedTarget, folder: &str) -> Result<Self> {
        let prefix = layout::prefix(folder)?;
        let mut all: Vec<ObjectMeta> = target.list(&prefix).try_collect().await?;
        all.sort_by(|a, b| a.key.cmp(&b.key));
        let mut listing = Self::default();
        for object in all {
            match MetaName::of(&object.key) {
                Some(name) => listing.objects.push((name, object)),
                None => listing.junk.push(object),
            }
        }
        Ok(listing)
    }

    /// Sessions that have a commit.
    pub fn commits(&self) -> impl Iterator<Item = SessionId> {
        self.names().filter_map(|name| match name {
            MetaName::Commit(session) => Some(session),
            _ => None,
        })
    }

    /// Sessions that were announced.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.names().filter_map(|name| match name {
            MetaName::Session(session) => Some(session),
            _ => None,
        })
    }

    /// Sessions that were forgotten, whatever became of their commits.
    pub fn tombstones(&self) -> BTreeSet<SessionId> {
        let tombstones = self.names().filter_map(|name| match name {
            MetaName::Tombstone(session) => Some(session),
            _ => None,
        });
        tombstones.collect()
    }

    /// Index segments.
    pub fn indexes(&self) -> impl Iterator<Item = (SessionId, u32)> {
        self.names().filter_map(|name| match name {
            MetaName::Index(session, counter) => Some((session, counter)),
            _ => None,
        })
    }

    /// Numbers of collector heads.
    pub fn heads(&self) -> impl Iterator<Item = u64> {
        self.names().filter_map(|name| match name {
            MetaName::Collector(number) => Some(number),
            _ => None,
        })
    }

    /// The number of the newest collector head; 0 if there never was one.
    pub fn newest_head(&self) -> u64 {
        self.heads().max().unwrap_or(0)
    }

    /// Numbers of key epochs in force, the first apart.
    pub fn epochs(&self) -> impl Iterator<Item = u32> {
        self.names().filter_map(|name| match name {
            MetaName::Epoch(number) => Some(number),
            _ => None,
        })
    }

    /// The newest key epoch in force that the listing shows; 0 if the keys never were rotated.
    pub fn newest_epoch(&self) -> u32 {
        self.epochs().max().unwrap_or(0)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = MetaName> {
        self.objects.iter().map(|(name, _)| *name)
    }
}

/// The key slot that opened the repository from a copy, until a listing has shown that it is
/// still there: a run that is under way is not told of every new password.
#[derive(Debug, Clone, Default)]
pub(super) struct RememberedSlot {
    slot: Option<SlotId>,
    was_seen: Arc<AtomicBool>,
}

impl RememberedSlot {
    /// `slot`, if only its copy was looked at.
    pub(super) fn new(slot: Option<SlotId>) -> Self {
        Self { slot, was_seen: Arc::default() }
    }

    /// True if `listing` shows it, or an earlier one did, or it need not be looked for.
    fn is_in(&self, listing: &MetaListing) -> bool {
        let Some(slot) = self.slot else { return true };
        if listing.names().any(|name| name == MetaName::Slot(slot.0)) {
            self.was_seen.store(true, Ordering::Relaxed);
        }
        self.was_seen.load(Ordering::Relaxed)
    }
}

impl Repository {
    /// One listing of everything small.
    ///
    /// # Errors
    /// What the target reports; `Conflict` or `NoRepository` if the repository was opened with a
    /// remembered key slot that is no longer there, `Conflict` if the keys were rotated since.
    pub(crate) async fn list_meta(&self) -> Result<MetaListing> {
        // what other processes of this machine come to know meanwhile need not be listed
        let remembered = self.remembered().await?;
        Ok(MetaListing { remembered, ..self.list_below(layout::META).await? })
    }

    /// As [`Self::list_meta`], of key slots and epochs alone.
    pub(crate) async fn list_slots(&self) -> Result<MetaListing> {
        self.list_below(layout::SLOTS).await
    }

    async fn list_below(&self, folder: &str) -> Result<MetaListing> {
        let listing = MetaListing::of(self.target(), folder).await?;
        self.expect_remembered_slot(&listing).await?;
        self.expect_known_epoch(listing.newest_epoch()).await?;
        Ok(listing)
    }

    /// Who opened the repository before the keys were rotated cannot read all that follows.
    ///
    /// # Errors
    /// `Conflict` if `newest`, an epoch that was listed, is newer than all of its keys.
    pub(crate) async fn expect_known_epoch(&self, newest: u32) -> Result<()> {
        if newest <= highest(self.keys().masters()) {
            return Ok(());
        }
        self.cache().keep(|_| false).await;
        Err(rotated(ErrorKind::Conflict).on(self.target()).hint("run the command again"))
    }

    /// A listing whose newest collector head was known before the listing began, as writers and
    /// collectors need it: they must know what is condemned before they look at what there is.
    /// A listing tells nothing of the order in which its objects appeared, so that a head that
    /// is new in it calls for another listing. One request in most cases.
    ///
    /// # Errors
    /// As [`Self::list_meta`].
    pub(crate) async fn list_meta_after_head(&self) -> Result<MetaListing> {
        let mut known = self.remembered_head().await;
        loop {
            let listing = self.list_meta().await?;
            let newest = listing.newest_head();
            if newest == known {
                return Ok(listing);
            }
            known = newest;
        }
    }

    /// The newest collector head that was seen here.
    async fn remembered_head(&self) -> u64 {
        let Ok(prefix) = layout::prefix(layout::COLLECTOR) else { return 0 };
        let names = self.cache().names(&prefix).await;
        let numbers = names.iter().filter_map(|key| match MetaName::of(key) {
            Some(MetaName::Collector(number)) => Some(number),
            _ => None,
        });
        numbers.max().unwrap_or(0)
    }

    /// Slots have random names: where the one that opened the repository is there, the
    /// repository is the one that was remembered, and the password still held when this run began.
    async fn expect_remembered_slot(&self, listing: &MetaListing) -> Result<()> {
        if self.0.remembered_slot.is_in(listing) {
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
}
