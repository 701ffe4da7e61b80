//! A snapshot saved again in its own repository, without what of it is lost.
//!
//! Whatever does not touch lost packs is taken over as it is; the files in between are read and
//! stored anew, and those that cannot be read are left out and named.

use std::sync::Arc;

use super::{CopyOptions, source::StoredSource};
use crate::{
    backup::{self, BackupOptions, BackupReport, CopyOf, Parent},
    error::Result,
    monitor::Monitor,
    repository::{Repository, Snapshot, SnapshotKind},
};

/// Saves what can be read of `snapshot`; the new snapshot gets these `tags`, and the old one as
/// its parent. What was left out is among the report's problems.
///
/// # Errors
/// As for a backup, and what the target reports beyond damage.
pub(crate) async fn rescue(
    repository: &Repository,
    snapshot: &Snapshot,
    tags: Vec<String>,
    options: &CopyOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<BackupReport> {
    let source = Arc::new(StoredSource::rescue(repository, snapshot));
    let copy_of = CopyOf {
        original: snapshot.original,
        kind: snapshot.kind,
        started: snapshot.started,
        unreadable: snapshot.unreadable,
    };
    let options = BackupOptions {
        host: snapshot.host.clone(),
        user: snapshot.user.clone(),
        tags,
        time: Some(snapshot.time),
        kind: SnapshotKind::Incremental,
        parent: Parent::Snapshot(snapshot.id),
        client: options.client,
        is_dry_run: options.is_dry_run,
        workers: options.workers,
        compression: options.compression,
    };
    backup::backup_copy(repository, source, &options, copy_of, monitor).await
}
