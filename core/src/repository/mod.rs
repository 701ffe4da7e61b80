//! A repository: organised, encrypted, deduplicated data in one target.
//!
//! Opening and creating; the list of snapshots; reading what snapshots hold. Knows nothing of
//! what operations do with it, and of no backend.

mod selector;
mod snapshot;

use crate::{
    crypto::KdfCost, error::Result, format::descriptor::Settings, format::slot::RecoveryKey,
    id::RepositoryId, runtime::Runtime, target::SharedTarget,
};
use zeroize::Zeroizing;

pub use self::{
    selector::Selector,
    snapshot::{Snapshot, SnapshotKind, SnapshotList, SnapshotTotals},
};

/// What opens a repository.
#[derive(Clone)]
pub enum Credential {
    /// A password, as the user typed it.
    Password(Zeroizing<Vec<u8>>),
    /// The recovery key that `init` printed.
    RecoveryKey(RecoveryKey),
}

/// How a new repository is made.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Cost of deriving a key from the password.
    pub kdf: KdfCost,
    /// Chunking, packs, compression.
    pub settings: Settings,
}

/// An open repository; cheap to clone, usable from many tasks.
#[derive(Clone)]
pub struct Repository {}

impl Repository {
    /// Creates a repository in an empty place. Returns it with its recovery key, which is shown
    /// once and never stored.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; whatever the target reports.
    pub async fn init(
        target: SharedTarget,
        runtime: Runtime,
        password: &Zeroizing<Vec<u8>>,
        options: &InitOptions,
    ) -> Result<(Self, RecoveryKey)> {
        todo!()
    }

    /// Opens the repository at `target`.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, `Unsupported` (newer format), `Damaged`, or the target's.
    pub async fn open(
        target: SharedTarget,
        runtime: Runtime,
        credential: &Credential,
    ) -> Result<Self> {
        todo!()
    }

    /// Which repository this is.
    pub fn id(&self) -> RepositoryId {
        todo!()
    }

    /// All snapshots, oldest first, and what was wrong with those that could not be read.
    pub async fn snapshots(&self) -> Result<SnapshotList> {
        todo!()
    }
}
