//! A repository: organised, encrypted, deduplicated data in one target.
//!
//! Opening and creating; the list of snapshots; reading what snapshots hold. Knows nothing of
//! what operations do with it, and of no backend.

pub mod layout;
pub mod packs;

mod commits;
mod credential;
mod open;
mod selector;
mod snapshot;
mod table;

use std::{fmt, sync::Arc};

pub(crate) use self::commits::{CommitList, LoadedCommit, MetaListing};
use self::packs::PackReader;
pub use self::{
    credential::Credential,
    open::InitOptions,
    selector::Selector,
    snapshot::{Snapshot, SnapshotKind, SnapshotList},
    table::{LoadedPage, Table, pieces_in, pieces_of},
};
use crate::{
    crypto::KeyRing,
    format::{descriptor::Settings, page::TableRoot},
    id::RepositoryId,
    runtime::Runtime,
    target::SharedTarget,
};

/// An open repository; cheap to clone, usable from many tasks.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    target: SharedTarget,
    runtime: Runtime,
    keys: KeyRing,
    settings: Settings,
    packs: Arc<PackReader>,
}

impl Repository {
    fn new(target: SharedTarget, runtime: Runtime, keys: KeyRing, settings: Settings) -> Self {
        let packs = Arc::new(PackReader::new(target.clone(), keys.clone()));
        Self(Arc::new(Inner { target, runtime, keys, settings, packs }))
    }

    /// Which repository this is.
    pub fn id(&self) -> RepositoryId {
        self.0.keys.repository()
    }

    /// Where it is.
    pub fn target(&self) -> &SharedTarget {
        &self.0.target
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

    /// The table that begins at `root`.
    pub fn table(&self, root: &TableRoot) -> Table {
        Table::new(self.0.packs.clone(), root.clone())
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({} at {})", self.id(), self.0.target)
    }
}
