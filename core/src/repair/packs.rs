//! Writes down what is lost of packs, after what can be healed was healed.
//!
//! Nothing is moved: what can still be read of a damaged pack stays where it is, and readable.
//! Only a collector may move what snapshots refer to, since only it knows that no writer is about
//! to refer to what it moves.

use std::sync::Arc;

use super::{RepairOptions, find};
use crate::{
    error::Result,
    format::damage::Damage as Lost,
    monitor::{Monitor, Phase},
    repository::Repository,
    verify::{Damage, Depth},
};

/// What is lost of packs.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PacksReport {
    /// Everything that is damaged, with the snapshots and files that need it.
    pub damage: Vec<Damage>,
    /// Objects that were healed on the way.
    pub healed: Vec<String>,
    /// Packs of which something is lost.
    pub packs_lost: u64,
    /// Those of them of which that was not known before.
    pub packs_new: u64,
    /// Chunks that are known to be lost with them.
    pub chunks_lost: u64,
    /// The record that says so from now on, if there is something new to say.
    pub record: Option<String>,
}

/// Finds out which packs are damaged beyond healing, and lets all writers know.
///
/// # Errors
/// Those of a verification, and what the target reports.
pub async fn packs(
    repository: &Repository,
    options: &RepairOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<PacksReport> {
    let found = find(repository, options, Depth::All, monitor.clone()).await?;
    monitor.phase(Phase::Repairing);
    let noted = note(repository, found.lost, options.is_dry_run).await?;
    Ok(PacksReport {
        damage: found.report.damage,
        healed: found.report.healed,
        packs_lost: noted.lost.parts().count() as u64,
        packs_new: noted.new.parts().count() as u64,
        chunks_lost: noted.lost.parts().map(|(_, part)| part.chunks.len() as u64).sum(),
        record: noted.record,
    })
}

/// What is lost, and what was said of it.
pub(super) struct Noted {
    pub(super) lost: Lost,
    pub(super) new: Lost,
    pub(super) record: Option<String>,
}

/// Adds the chunks that lay in lost parts, and writes down what is not known yet.
pub(super) async fn note(
    repository: &Repository,
    mut lost: Lost,
    is_dry_run: bool,
) -> Result<Noted> {
    let overview = repository.overview().await?;
    let known = repository.packs().known_damage();
    repository.add_indexed_chunks(&overview, &mut lost).await?;
    let new = lost.beyond(known.damage());
    let record = match new.is_empty() || is_dry_run {
        true => None,
        false => Some(repository.record_damage(&new).await?),
    };
    Ok(Noted { lost, new, record })
}
