//! A lane: one repository's part of a run, from its session to its commit.
//!
//! All lanes share one walk and the bytes that it reads. Everything else (parent, chunker,
//! index, packs, table, commit) is each lane's own, so that one may fail while the others go on.

#[cfg(test)]
pub(super) mod staged;

use std::{
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    BackupOptions, BackupReport, CopyOf,
    arena::ArenaPool,
    known::Known,
    packer::{ChunkUse, FinishedPack, Packer},
    parent::ParentCursor,
    pipeline::{LaneEnd, Outcome},
    session::Session,
    shared::{Shared, stopped},
    table::ParentNodes,
    upload::Uploader,
    writer::ChunkWriter,
};
use crate::{
    chunker::Chunker,
    compress::{Compression, Compressor},
    error::{Error, ErrorKind, Result},
    format::index::IndexedPack,
    monitor::{Monitor, Phase},
    repository::Repository,
    tasks::{self, Task},
};

/// Packs being filled or stored, beyond those that idle writers keep open.
const PACKS_MOVING: usize = 1;
/// Pages of the parent read ahead of the walk.
const PARENT_PAGES_MAX: usize = 4;

/// What a lane is to do.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) repository: Repository,
    pub(super) options: BackupOptions,
    pub(super) copy_of: Option<CopyOf>,
}

/// The async side of a lane: index, uploads, commit.
pub(super) struct Lane {
    plan: Plan,
    session: Arc<Session>,
    pub(super) shared: Arc<Shared>,
    known: Arc<Known>,
    arenas: Arc<ArenaPool>,
    packs: mpsc::Receiver<FinishedPack>,
}

/// How many packs of a lane there may be at once.
#[derive(Debug, Clone, Copy)]
struct Room {
    /// Finished, and not yet being stored.
    finished: usize,
    /// In all.
    packs: usize,
}

/// What the threads work with for one lane.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) chunker: Arc<Chunker>,
    pub(super) chunker_key: [u8; 32],
    pub(super) packer: Arc<Packer>,
    pub(super) parent: Parent,
    known: Arc<Known>,
    repository: Repository,
    compression: Compression,
}

impl Parts {
    pub(super) fn writer(&self, chunk_use: ChunkUse) -> Result<ChunkWriter> {
        Ok(ChunkWriter::new(
            self.packer.clone(),
            self.known.clone(),
            self.shared.clone(),
            self.repository.keys().clone(),
            Compressor::new(self.compression)?,
            chunk_use,
        ))
    }
}

impl Lane {
    /// Announces the session and opens the parent.
    pub(super) async fn begin(
        plan: Plan,
        roots: &[String],
        workers: usize,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<(Self, Parts)> {
        // every writer may keep one pack open while it has nothing to do; the others move on
        let writers = workers + 1;
        let room = Room { finished: 1, packs: writers + PACKS_MOVING };
        Self::begin_with(plan, roots, room, monitor).await
    }

    async fn begin_with(
        plan: Plan,
        roots: &[String],
        room: Room,
        monitor: &Arc<dyn Monitor>,
    ) -> Result<(Self, Parts)> {
        let Plan { repository, options, .. } = &plan;
        let session = Arc::new(Session::begin(repository, roots, options).await?);
        let shared = Arc::new(Shared::new(monitor.clone()));
        let parent = Parent::open(repository, &session, &shared).await?;
        let settings = repository.settings();
        let known = Arc::new(Known::new());
        let (finished, packs) = mpsc::channel(room.finished);
        let pack_bytes = settings.pack_target_bytes;
        let arenas = ArenaPool::new(room.packs, pack_bytes as usize);
        let packer = Packer::new(
            repository.keys().clone(),
            repository.runtime().randomness.clone(),
            session.id(),
            u64::from(pack_bytes),
            known.clone(),
            arenas.clone(),
            finished,
        );
        let chunker_key = *repository.keys().chunk_keys().chunker_key();
        let parts = Parts {
            shared: shared.clone(),
            chunker: Arc::new(Chunker::new(&chunker_key, settings.chunking)),
            chunker_key,
            packer: Arc::new(packer),
            parent,
            known: known.clone(),
            repository: repository.clone(),
            compression: options.compression.unwrap_or(settings.compression),
        };
        Ok((Self { plan, session, shared, known, arenas, packs }, parts))
    }

    /// Stores what the threads make, and commits it; shows from time to time that the session is
    /// at work. `end` tells when the threads are done.
    pub(super) async fn see_through(
        self,
        roots: &[String],
        end: oneshot::Receiver<Result<LaneEnd>>,
        monitor: &dyn Monitor,
        began: Duration,
    ) -> Result<BackupReport> {
        let session = self.session.clone();
        tokio::select! {
            biased;
            result = self.store_and_commit(roots, end, monitor, began) => result,
            never = session.keep_alive() => match never {},
        }
    }

    async fn store_and_commit(
        self,
        roots: &[String],
        end: oneshot::Receiver<Result<LaneEnd>>,
        monitor: &dyn Monitor,
        began: Duration,
    ) -> Result<BackupReport> {
        let Self { plan, session, shared, known, arenas, packs } = self;
        let Plan { repository, options, copy_of } = plan;
        let mut uploader = Uploader::new(repository.clone(), session.id(), options.is_dry_run);
        // both end when the threads do: they drop the packer and stop asking for the index
        let uploads = async {
            if let Err(error) = uploader.run(packs).await {
                shared.fail(error);
                known.index_loaded(false);
            }
            arenas.stop();
        };
        let index = load_index(&session, &known, &shared);
        let end = async {
            let end = close(end).await;
            known.index_not_wanted();
            end
        };
        let (end, (), adopted) = futures::join!(end, uploads, index);
        let finished = async {
            let (counts, table) = end?;
            shared.check()?;
            let adopted: Vec<IndexedPack> =
                adopted.into_iter().filter(|row| table.packs.contains(row.pack.id)).collect();
            let packs_adopted = adopted.len() as u64;
            let stored = uploader.finish(adopted).await?;
            let problems = shared.problems();
            Ok(Outcome { table, stored, problems, copy_of, counts, packs_adopted })
        };
        let outcome = settle(finished.await, &shared, monitor)?;
        let mut report = report(&outcome, &session, &shared);
        if !options.is_dry_run {
            monitor.phase(Phase::Committing);
            let head = session.commit(&repository, roots, &options, &outcome).await?;
            report.head = Some(head);
            report.snapshot = Some(session.id());
        }
        let now = repository.runtime().clock.monotonic();
        report.duration = now.saturating_sub(began);
        Ok(report)
    }
}

/// Waits for the threads, then closes the last pack. The packer goes with this: nothing more
/// will be stored.
async fn close(
    end: oneshot::Receiver<Result<LaneEnd>>,
) -> Result<(super::scan::ScanCounts, super::table::BuiltTable)> {
    let LaneEnd { counts, table, packer } = end.await.unwrap_or_else(|_| Err(stopped()))?;
    tasks::spawn_blocking("last pack", move || packer.close_all()).await?;
    Ok((counts, table))
}

/// Says why a lane failed: the first reason, not what followed from it.
fn settle(result: Result<Outcome>, shared: &Shared, monitor: &dyn Monitor) -> Result<Outcome> {
    if monitor.is_cancelled() && result.is_err() {
        // whatever failed, failed because of that
        return Err(Error::new(ErrorKind::Interrupted, "the backup was interrupted"));
    }
    match (result, shared.take_failure()) {
        (Ok(outcome), None) => Ok(outcome),
        (_, Some(failure)) => Err(failure),
        (Err(error), None) => Err(error),
    }
}

fn report(outcome: &Outcome, session: &Session, shared: &Shared) -> BackupReport {
    let counters = &shared.counters;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    BackupReport {
        snapshot: None,
        head: None,
        parent: session.parent().map(|parent| parent.id),
        files: outcome.counts.files,
        dirs: outcome.counts.dirs,
        others: outcome.counts.others,
        data_chunks: count(&counters.data_chunks),
        table_chunks: count(&counters.table_chunks),
        added_bytes: count(&counters.added_bytes),
        stored_bytes: outcome.stored.bytes,
        packs_written: outcome.stored.packs.len() as u64,
        packs_adopted: outcome.packs_adopted,
        total_bytes: outcome.table.root.counts.bytes,
        read_bytes: count(&counters.read_bytes),
        duration: Duration::ZERO,
        problem_count: outcome.problems.count,
        problems: outcome.problems.listed.clone(),
    }
}

/// Loads the index once somebody wants it; the packs of interrupted runs are returned.
async fn load_index(session: &Session, known: &Known, shared: &Shared) -> Vec<IndexedPack> {
    if !known.index_wanted().await {
        return Vec::new();
    }
    match session.index().load(known).await {
        Ok(adopted) => {
            known.index_loaded(true);
            adopted
        }
        Err(error) => {
            shared.fail(error);
            known.index_loaded(false);
            Vec::new()
        }
    }
}

/// The parent, opened for the walk.
pub(super) struct Parent {
    pub(super) cursor: ParentCursor,
    pub(super) nodes: ParentNodes,
    /// Feeds the cursor; ends with it.
    pub(super) feeder: Option<Task<()>>,
}

impl Parent {
    /// A parent that cannot be read is no reason to fail: everything is read instead.
    async fn open(
        repository: &Repository,
        session: &Session,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let none =
            || Self { cursor: ParentCursor::none(), nodes: ParentNodes::new(), feeder: None };
        let Some(snapshot) = session.parent() else { return Ok(none()) };
        let table = repository.table_as_written(&snapshot.root);
        let view = session.view();
        let nodes = match table.nodes().await {
            Ok(nodes) => nodes
                .into_iter()
                .filter(|(chunk, node)| {
                    let mut packs = node.packs();
                    packs.insert(chunk.pack.id);
                    view.may_reuse(&packs)
                })
                .map(|(chunk, _)| (chunk.id, chunk))
                .collect(),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::warn!(%error, "the parent's table is damaged; everything is read");
                shared.note("parent", &error);
                return Ok(none());
            }
            Err(error) => return Err(error),
        };
        let (sender, pages) = mpsc::channel(PARENT_PAGES_MAX);
        let mut stream = table.pages();
        let feeder = tasks::spawn("parent pages", async move {
            while let Some(page) = stream.next().await {
                if sender.send(page).await.is_err() {
                    break;
                }
            }
            Ok(())
        });
        let cursor = ParentCursor::new(pages, snapshot.started, view.clone());
        Ok(Self { cursor, nodes, feeder: Some(feeder) })
    }
}
