//! Copy: from a snapshot of one repository to a snapshot of another one, with other keys.
//!
//! The stored snapshot is read as a source (`copy::source`), and saved like any other: the
//! destination cuts, recognises and seals in its own way, and stores only what it lacks. The copy
//! says of itself what the original says, and which snapshot that is, so that nothing is copied
//! twice. Knows nothing of where the repositories are.

mod ahead;
mod changes;
mod feed;
mod file;
mod rescue;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::rescue::rescue;
use crate::{
    backup::{self, BackupOptions, BackupReport, CopyOf, Parent},
    compress::Compression,
    error::{Error, ErrorKind, Result},
    id::{ClientId, SessionId},
    monitor::Monitor,
    repository::{Original, Repository, Snapshot, SnapshotKind, SnapshotList},
};

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Who writes: packs that an interrupted run of the same client left are adopted.
    pub client: ClientId,
    /// Read and compare, but store nothing.
    pub is_dry_run: bool,
    /// Threads that chunk, compress and seal; at least 1.
    pub workers: usize,
    /// Compression instead of the destination's.
    pub compression: Option<Compression>,
}

/// What became of one snapshot.
#[derive(Debug, Clone)]
pub enum Copied {
    /// It was copied (after a dry run: it would be).
    Now(Box<BackupReport>),
    /// The destination has it already, under this id.
    Before(SessionId),
}

/// Copies snapshots of one repository to another one.
#[derive(Debug)]
pub struct Copier {
    origin: Repository,
    destination: Repository,
    options: CopyOptions,
    /// What the origin has: a copy of one of these may serve as a parent.
    originals: SnapshotList,
    /// What the destination has.
    copies: Vec<(Original, SessionId)>,
}

impl Copier {
    /// Looks at what both sides have.
    ///
    /// # Errors
    /// `Invalid` if both are the same repository, or what the targets report.
    pub async fn open(
        origin: &Repository,
        destination: &Repository,
        options: CopyOptions,
    ) -> Result<Self> {
        if origin.id() == destination.id() {
            let message = "both are the same repository: there is nothing to copy";
            return Err(Error::new(ErrorKind::Invalid, message).on(origin.target()));
        }
        if options.workers == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a copy needs at least one worker"));
        }
        let originals = origin.snapshots().await?;
        let there = destination.snapshots().await?;
        let identity = |snapshot: &Snapshot| (snapshot.identity(destination.id()), snapshot.id);
        Ok(Self {
            origin: origin.clone(),
            destination: destination.clone(),
            options,
            originals,
            copies: there.snapshots.iter().map(identity).collect(),
        })
    }

    /// The origin's snapshots, oldest first: the order to copy them in.
    pub fn originals(&self) -> &SnapshotList {
        &self.originals
    }

    /// The copy of `snapshot` at the destination, if there is one.
    pub fn copy_of(&self, snapshot: &Snapshot) -> Option<SessionId> {
        let identity = snapshot.identity(self.origin.id());
        let found = self.copies.iter().rev().find(|(original, _)| *original == identity);
        found.map(|(_, id)| *id)
    }

    /// Copies `snapshot` of the origin, unless the destination has it.
    ///
    /// # Errors
    /// `Damaged` if the origin cannot give all of it: half a copy is none. Else as for a backup.
    pub async fn copy(&mut self, snapshot: &Snapshot, monitor: Arc<dyn Monitor>) -> Result<Copied> {
        if let Some(id) = self.copy_of(snapshot) {
            return Ok(Copied::Before(id));
        }
        let before = self.before(snapshot);
        let parent = before.map(|(_, copy)| copy);
        let before = before.map(|(original, _)| original);
        let source = source::StoredSource::open(&self.origin, snapshot, before).await?;
        let original = snapshot.identity(self.origin.id());
        let copy_of = CopyOf {
            original: Some(original),
            kind: snapshot.kind,
            started: snapshot.started,
            unreadable: snapshot.unreadable,
        };
        let options = self.backup_options(snapshot, parent);
        let source = Arc::new(source);
        let report =
            backup::backup_copy(&self.destination, source, &options, copy_of, monitor).await?;
        self.copies.extend(report.snapshot.map(|id| (original, id)));
        Ok(Copied::Now(Box::new(report)))
    }

    fn backup_options(&self, snapshot: &Snapshot, parent: Option<SessionId>) -> BackupOptions {
        BackupOptions {
            host: snapshot.host.clone(),
            user: snapshot.user.clone(),
            tags: snapshot.tags.clone(),
            time: Some(snapshot.time),
            // without a parent to compare with, all of it is read
            kind: parent.map_or(SnapshotKind::Full, |_| SnapshotKind::Incremental),
            parent: parent.map_or(Parent::Automatic, Parent::Snapshot),
            client: self.options.client,
            is_dry_run: self.options.is_dry_run,
            workers: self.options.workers,
            compression: self.options.compression,
        }
    }

    /// What to compare `snapshot` with: another one of the origin, of which the destination has a
    /// copy. The stat of a file alone does not tell that its content is the same; the chunks do.
    fn before(&self, snapshot: &Snapshot) -> Option<(&Snapshot, SessionId)> {
        let is_alike =
            |other: &Snapshot| other.host == snapshot.host && other.paths == snapshot.paths;
        let mut candidates: Vec<_> = self
            .originals
            .snapshots
            .iter()
            .filter_map(|other| Some((other, self.copy_of(other)?)))
            .filter(|(other, _)| is_alike(other))
            .collect();
        candidates.sort_by_key(|(other, _)| other.time.0.abs_diff(snapshot.time.0));
        candidates.into_iter().next()
    }
}
