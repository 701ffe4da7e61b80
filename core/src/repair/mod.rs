//! Repair: sets right what a storage did to a repository, as far as that can be done.
//!
//! Each part takes what a verification finds, writes new objects, and deletes nothing. With a dry
//! run nothing is written either, apart from what a verification heals where there is parity.
//! - [`index`] writes the index rows anew that were lost, from the packs themselves.
//! - [`packs`] writes down which packs and chunks are lost: the next backup stores their content
//!   again if it meets it, and older snapshots find it there.
//! - [`snapshots`] saves damaged snapshots again without what they lost.

mod index;
mod packs;
mod snapshots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    index::{IndexReport, index},
    packs::{PacksReport, packs},
    snapshots::{Repaired, SnapshotsReport, snapshots},
};
use crate::{
    error::Result,
    id::{ClientId, PackId},
    monitor::Monitor,
    repository::Repository,
    verify::{Depth, Examination, ReadData, VerifyOptions, examine},
};

/// The tag of snapshots that were saved again without what they lost.
pub const REPAIRED_TAG: &str = "repaired";

/// One repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Say what would be done; write nothing.
    pub is_dry_run: bool,
    /// How much content is read to find damage. Directories of packs and tables always are.
    pub read_data: ReadData,
    /// Packs that are read whole in any case.
    pub packs: Vec<PackId>,
    /// Threads; at least 1 (0 counts as 1).
    pub workers: usize,
    /// Who repairs.
    pub client: ClientId,
    /// Host name, for people.
    pub host: String,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            is_dry_run: false,
            read_data: ReadData::None,
            packs: Vec::new(),
            workers: 1,
            client: ClientId([0; 16]),
            host: String::new(),
        }
    }
}

/// Looks for damage.
async fn find(
    repository: &Repository,
    options: &RepairOptions,
    depth: Depth,
    monitor: Arc<dyn Monitor>,
) -> Result<Examination> {
    let options = VerifyOptions {
        read_data: options.read_data,
        packs: options.packs.clone(),
        workers: options.workers,
        ..VerifyOptions::default()
    };
    examine(repository, &options, depth, monitor).await
}
