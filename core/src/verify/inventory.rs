//! All objects of a repository, from one listing, by what the layout says they are.

use std::collections::BTreeMap;

use futures::StreamExt;

use crate::{
    error::Result,
    id::{PackId, SessionId},
    repository::layout::{self, MetaName},
    target::{BackupTarget, KeyPrefix, ObjectKey, ObjectMeta},
};

/// Names listed of objects that are none of ours; more are counted.
const JUNK_LISTED_MAX: usize = 100;

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// The descriptor, if it is there.
    pub(super) descriptor: Option<ObjectMeta>,
    /// Key slots, by key.
    pub(super) slots: BTreeMap<ObjectKey, ObjectMeta>,
    /// Announcements of sessions.
    pub(super) sessions: BTreeMap<SessionId, ObjectMeta>,
    /// Commits.
    pub(super) commits: BTreeMap<SessionId, ObjectMeta>,
    /// Tombstones, labels, collector heads and key epochs.
    pub(super) others: BTreeMap<MetaName, ObjectMeta>,
    /// Index segments.
    pub(super) indexes: BTreeMap<(SessionId, u32), ObjectMeta>,
    /// Sizes of packs, in bytes.
    pub(super) packs: BTreeMap<PackId, u64>,
    /// Some of the objects whose names do not follow the layout.
    pub(super) junk: Vec<ObjectKey>,
    /// How many of those there are.
    pub(super) junk_count: u64,
}

impl Inventory {
    /// Lists the whole target.
    pub(super) async fn list(target: &dyn BackupTarget) -> Result<Self> {
        let mut inventory = Self::default();
        let mut objects = target.list(&KeyPrefix::all());
        while let Some(object) = objects.next().await {
            inventory.add(object?);
        }
        inventory.junk.sort();
        Ok(inventory)
    }

    fn add(&mut self, object: ObjectMeta) {
        if let Some(pack) = layout::pack_of(&object.key) {
            self.packs.insert(pack, object.size_bytes);
            return;
        }
        match MetaName::of(&object.key) {
            Some(MetaName::Session(id)) => drop(self.sessions.insert(id, object)),
            Some(MetaName::Commit(id)) => drop(self.commits.insert(id, object)),
            Some(MetaName::Index(id, n)) => drop(self.indexes.insert((id, n), object)),
            Some(MetaName::Slot(_)) => drop(self.slots.insert(object.key.clone(), object)),
            Some(name) => drop(self.others.insert(name, object)),
            None if object.key.as_str() == layout::DESCRIPTOR => self.descriptor = Some(object),
            None => {
                self.junk_count += 1;
                if self.junk.len() < JUNK_LISTED_MAX {
                    self.junk.push(object.key);
                }
            }
        }
    }

    /// The newest key epoch that came into force; 0 if none is listed.
    pub(super) fn newest_epoch(&self) -> u32 {
        let epochs = self.others.keys().filter_map(|name| match name {
            MetaName::Epoch(epoch) => Some(*epoch),
            _ => None,
        });
        epochs.max().unwrap_or_default()
    }

    /// Sessions that have packs or index segments.
    pub(super) fn writers(&self) -> impl Iterator<Item = SessionId> {
        let packs = self.packs.keys().map(|pack| pack.session);
        packs.chain(self.indexes.keys().map(|(session, _)| *session))
    }
}
