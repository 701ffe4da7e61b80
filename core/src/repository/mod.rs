//! A repository: organised, encrypted, deduplicated data in one target.
//!
//! Opening and creating; the list of snapshots; reading what snapshots hold. Knows nothing of
//! what operations do with it, and of no backend.

pub mod keys;
pub mod layout;
pub mod packs;

mod agent;
mod announce;
mod cache;
mod commits;
mod credential;
mod damage;
mod heads;
mod history;
mod listing;
mod open;
mod pack_writer;
mod pins;
mod protection;
mod reserve;
mod selector;
mod snapshot;
mod table;
mod unlock;
mod view;

use std::{fmt, sync::Arc};

pub use self::{
    agent::{AGENT_PREFIX, KeyAgent, agent_prefix},
    credential::Credential,
    open::InitOptions,
    pins::Pins,
    protection::{is_protected, protect},
    selector::Selector,
    snapshot::{Original, Snapshot, SnapshotKind, SnapshotList},
    table::{LoadedPage, Table, pieces_in, pieces_of},
    unlock::Unlock,
};
pub(crate) use self::{
    announce::Announcement,
    cache::{Cache, directory_name, pack_of_copy, segment_name},
    commits::LoadedCommit,
    heads::overtaken,
    history::History,
    listing::MetaListing,
    pack_writer::PackWriter,
    pins::{Pin, Seen},
    protection::heal,
    view::{Overview, WriterView},
};
use self::{listing::RememberedSlot, packs::PackReader, protection::Guarded, table::References};
use crate::{
    crypto::KeyRing,
    format::{descriptor::Settings, page::TableRoot},
    id::{RepositoryId, SlotId},
    runtime::Runtime,
    target::{BackupTarget, SharedTarget, layers::ParityLayer},
};

/// Where a repository is, and where copies of its small objects are kept.
///
/// A cache belongs to one place of one repository, and its user alone may read it.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The repository's objects.
    pub target: SharedTarget,
    /// Copies; usually a folder of this machine. Everything works without.
    pub cache: Option<SharedTarget>,
    /// What this machine remembers.
    pub pins: Pins,
}

impl From<SharedTarget> for Storage {
    fn from(target: SharedTarget) -> Self {
        Self { target, cache: None, pins: Pins::default() }
    }
}

impl<T: BackupTarget> From<Arc<T>> for Storage {
    fn from(target: Arc<T>) -> Self {
        Self { target, cache: None, pins: Pins::default() }
    }
}

/// An open repository; cheap to clone, usable from many tasks.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    guarded: Guarded,
    runtime: Runtime,
    keys: KeyRing,
    settings: Settings,
    packs: Arc<PackReader>,
    cache: Cache,
    pins: Pins,
    /// The key slot that opened it, as long as only the copy in the cache was looked at.
    remembered_slot: RememberedSlot,
    /// The key slot that opened it.
    slot: SlotId,
    agent: Option<Arc<dyn KeyAgent>>,
}

impl Inner {
    fn into_repository(self) -> Repository {
        let inner = Arc::new(self);
        inner.packs.ask(&inner);
        Repository(inner)
    }
}

impl Repository {
    /// The same repository as it is stored, without looking at copies.
    pub(crate) fn without_cache(&self) -> Self {
        let inner = &*self.0;
        let cache = Cache::default();
        let packs = PackReader::new(self.target().clone(), inner.keys.clone(), cache.clone());
        Inner {
            guarded: inner.guarded.clone(),
            runtime: inner.runtime.clone(),
            keys: inner.keys.clone(),
            settings: inner.settings.clone(),
            packs: {
                packs.follow_as(&inner.packs);
                Arc::new(packs)
            },
            cache,
            pins: inner.pins.clone(),
            remembered_slot: inner.remembered_slot.clone(),
            slot: inner.slot,
            agent: inner.agent.clone(),
        }
        .into_repository()
    }

    /// Copies of its objects.
    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// Which repository this is.
    pub fn id(&self) -> RepositoryId {
        self.0.keys.repository()
    }

    /// Where it is.
    pub fn target(&self) -> &SharedTarget {
        &self.0.guarded.target
    }

    /// The layer that keeps parity and copies, if the repository has them.
    pub fn parity(&self) -> Option<&Arc<ParityLayer>> {
        self.0.guarded.parity.as_ref()
    }

    /// Clock and randomness.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// Chunking, packs, compression.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Its keys.
    pub(crate) fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// Reads packs.
    pub(crate) fn packs(&self) -> &Arc<PackReader> {
        &self.0.packs
    }

    /// The table that begins at `root`, for reading: chunks are referred to where they lie now.
    pub fn table(&self, root: &TableRoot) -> Table {
        Table::new(self.0.packs.clone(), root.clone(), References::Located)
    }

    /// The same table with references as they were written.
    pub(crate) fn table_as_written(&self, root: &TableRoot) -> Table {
        Table::new(self.0.packs.clone(), root.clone(), References::AsWritten)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({} at {})", self.id(), self.target())
    }
}
