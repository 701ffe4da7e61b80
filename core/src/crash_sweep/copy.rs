//! Copies, as the destination sees them.

use std::sync::Arc;

use super::{Extent, sweep};
use crate::{
    copy::{Copied, Copier, CopyOptions},
    error::Result,
    id::ClientId,
    monitor::SilentMonitor,
    repository::Repository,
    testing::stage::{Promise, Stage, Told},
};

pub(super) async fn sweeps(extent: Extent) -> u64 {
    let origin = Stage::with(4, false).await;
    let from = origin.reopen().await;
    let mut points = 0;
    for has_parity in [false, true] {
        let with = if has_parity { "with parity" } else { "without parity" };
        let destination = Stage::with(1, has_parity).await;
        let copy = async |repository: &Repository, told: &mut Told| -> Result<()> {
            copy_all(&from, &origin.promises, repository, told).await
        };
        points += sweep(&format!("copy {with}"), extent, &destination, copy).await;
    }
    points
}

/// Copies everything that `promises` names.
async fn copy_all(
    from: &Repository,
    promises: &[Promise],
    to: &Repository,
    told: &mut Told,
) -> Result<()> {
    let client = ClientId([3; 16]);
    let options = CopyOptions { client, is_dry_run: false, workers: 1, compression: None };
    let mut copier = Copier::open(from, to, options).await?;
    for original in copier.originals().snapshots.clone() {
        let promise = promises.iter().find(|promise| promise.id == original.id).unwrap();
        let id = match copier.copy(&original, Arc::new(SilentMonitor)).await? {
            Copied::Now(report) => report.snapshot.unwrap(),
            Copied::Before(id) => id,
        };
        told.made.push(Promise { id, version: promise.version });
    }
    Ok(())
}
