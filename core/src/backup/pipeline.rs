//! Starts the threads of a backup, connects them, and brings their results together.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{
    BackupOptions, BackupReport,
    arena::ArenaPool,
    known::Known,
    packer::{ChunkUse, Packer},
    parent::ParentCursor,
    reader::FileReader,
    scan::{Item, Job, ScanCounts, Scanner},
    session::Session,
    shared::{Problems, Shared, stopped},
    table::{BuiltTable, ParentNodes, TableBuilder},
    upload::{Stored, Uploader},
    writer::ChunkWriter,
};
use crate::{
    chunker::Chunker,
    compress::{Compression, Compressor},
    error::{Error, ErrorKind, Result},
    format::index::IndexedPack,
    monitor::Monitor,
    repository::Repository,
    source::Source,
    tasks::{self, Task, Thread},
};

/// Files on their way to the workers. Each holds its folder open.
const JOBS_MAX: usize = 256;
/// Entries between the walk and the table.
const ITEMS_MAX: usize = 2_048;
/// Packs being filled or stored, beyond those that idle writers keep open.
const PACKS_MOVING: usize = 1;
/// Pages of the parent read ahead of the walk.
const PARENT_PAGES_MAX: usize = 4;

/// What the pipeline brought about.
pub(super) struct Outcome {
    pub(super) table: BuiltTable,
    pub(super) stored: Stored,
    pub(super) problems: Problems,
    counts: ScanCounts,
    packs_adopted: u64,
    shared: Arc<Shared>,
}

impl Outcome {
    pub(super) fn report(&self, session: &Session) -> BackupReport {
        let counters = &self.shared.counters;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        BackupReport {
            snapshot: None,
            parent: session.parent().map(|parent| parent.id),
            files: self.counts.files,
            dirs: self.counts.dirs,
            others: self.counts.others,
            data_chunks: count(&counters.data_chunks),
            table_chunks: count(&counters.table_chunks),
            added_bytes: count(&counters.added_bytes),
            stored_bytes: self.stored.bytes,
            packs_written: self.stored.packs.len() as u64,
            packs_adopted: self.packs_adopted,
            total_bytes: self.table.root.counts.bytes,
            read_bytes: count(&counters.read_bytes),
            duration: std::time::Duration::ZERO,
            problem_count: self.problems.count,
            problems: self.problems.listed.clone(),
        }
    }
}

/// What every thread gets.
struct Parts {
    shared: Arc<Shared>,
    known: Arc<Known>,
    packer: Arc<Packer>,
    repository: Repository,
    compression: Compression,
}

impl Parts {
    fn writer(&self, chunk_use: ChunkUse) -> Result<ChunkWriter> {
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

/// Runs the pipeline to its end.
pub(super) async fn run(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
    session: &Session,
    monitor: &Arc<dyn Monitor>,
) -> Result<Outcome> {
    let shared = Arc::new(Shared::new(monitor.clone()));
    let result = run_parts(repository, source, options, session, &shared).await;
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

async fn run_parts(
    repository: &Repository,
    source: Arc<dyn Source>,
    options: &BackupOptions,
    session: &Session,
    shared: &Arc<Shared>,
) -> Result<Outcome> {
    let settings = repository.settings();
    let known = Arc::new(Known::new());
    let (finished, packs) = mpsc::channel(1);
    // every writer may keep one pack open while it has nothing to do; the others move on
    let writers = options.workers + 1;
    let pack_bytes = settings.pack_target_bytes;
    let arenas = ArenaPool::new(writers + PACKS_MOVING, pack_bytes as usize);
    let packer = Arc::new(Packer::new(
        repository.keys().clone(),
        repository.runtime().randomness.clone(),
        session.id(),
        u64::from(pack_bytes),
        known.clone(),
        arenas.clone(),
        finished,
    ));
    let parts = Parts {
        shared: shared.clone(),
        known: known.clone(),
        packer,
        repository: repository.clone(),
        compression: options.compression.unwrap_or(settings.compression),
    };
    let parent = Parent::open(repository, session, shared).await?;
    let interrupted = source.clone();
    let threads = Threads::start(parts, source, options.workers, parent)?;
    let mut uploader = Uploader::new(repository.clone(), session.id(), options.is_dry_run);
    // both end when the threads do: they drop the packer and stop asking for the index
    let uploads = async {
        let result = uploader.run(packs).await;
        if let Err(error) = result {
            shared.fail(error);
            known.index_loaded(false);
        }
        arenas.stop();
    };
    let index = async { load_index(session, &known, shared).await };
    let joined = tasks::spawn_blocking("backup threads", move || threads.join());
    let threads = async {
        let joined = joined.await;
        known.index_not_wanted();
        joined
    };
    let work = async { futures::join!(threads, uploads, index) };
    let (joined, (), adopted) = tokio::select! {
        done = work => done,
        never = interrupt_when_cancelled(repository, shared, &*interrupted) => match never {},
    };
    let (counts, table) = joined?;
    shared.check()?;
    let adopted: Vec<IndexedPack> =
        adopted.into_iter().filter(|row| table.packs.contains(row.pack.id)).collect();
    let packs_adopted = adopted.len() as u64;
    let stored = uploader.finish(adopted).await?;
    let problems = shared.problems();
    Ok(Outcome { table, stored, problems, counts, packs_adopted, shared: shared.clone() })
}

/// How often a run that waits for its source looks whether it is to stop.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// Wakes up reads that wait for data once the run is to stop. Never returns.
async fn interrupt_when_cancelled(
    repository: &Repository,
    shared: &Shared,
    source: &dyn Source,
) -> Infallible {
    let clock = &repository.runtime().clock;
    while shared.check().is_ok() {
        clock.sleep(CANCEL_POLL).await;
        // a simulated clock may not wait at all: then the others get their turn here
        tokio::task::yield_now().await;
    }
    source.interrupt();
    futures::future::pending().await
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
struct Parent {
    cursor: ParentCursor,
    nodes: ParentNodes,
    /// Feeds the cursor; ends with it.
    _feeder: Option<Task<()>>,
}

impl Parent {
    /// A parent that cannot be read is no reason to fail: everything is read instead.
    async fn open(
        repository: &Repository,
        session: &Session,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let none =
            || Self { cursor: ParentCursor::none(), nodes: ParentNodes::new(), _feeder: None };
        let Some(snapshot) = session.parent() else { return Ok(none()) };
        let table = repository.table_as_written(&snapshot.root);
        let view = session.view();
        let nodes = match table.nodes().await {
            Ok(nodes) => nodes
                .into_iter()
                .filter(|(chunk, node)| {
                    let mut packs = node.packs();
                    packs.insert(chunk.pack.id);
                    view.may_refer_to(&packs)
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
        Ok(Self { cursor, nodes, _feeder: Some(feeder) })
    }
}

struct Threads {
    shared: Arc<Shared>,
    scanner: Thread<ScanCounts>,
    builder: Thread<BuiltTable>,
    workers: Vec<Thread<()>>,
    packer: Arc<Packer>,
    _feeder: Option<Task<()>>,
}

impl Threads {
    fn start(
        parts: Parts,
        source: Arc<dyn Source>,
        workers: usize,
        parent: Parent,
    ) -> Result<Self> {
        let (jobs, queue) = bounded(JOBS_MAX);
        let (items, rows) = bounded(ITEMS_MAX);
        let settings = parts.repository.settings();
        let keys = parts.repository.keys().current();
        let chunker = Arc::new(Chunker::new(keys.chunker_key(), settings.chunking));
        let workers = (0..workers)
            .map(|_| {
                let writer = parts.writer(ChunkUse::Data)?;
                let reader = FileReader::new(
                    chunker.clone(),
                    parts.shared.clone(),
                    writer,
                    source.is_all_or_nothing(),
                );
                start_worker(parts.shared.clone(), reader, queue.clone())
            })
            .collect::<Result<Vec<_>>>()?;
        drop(queue);
        let scanner = Scanner::new(parent.cursor, parts.shared.clone(), jobs, items);
        let scanner = start_scanner(parts.shared.clone(), scanner, source)?;
        let key = *keys.chunker_key();
        let table = parts.writer(ChunkUse::Table)?;
        let builder = TableBuilder::new(parts.shared.clone(), table, parent.nodes, key);
        let builder = start_builder(parts.shared.clone(), builder, rows)?;
        let (shared, packer, _feeder) = (parts.shared, parts.packer, parent._feeder);
        Ok(Self { shared, scanner, builder, workers, packer, _feeder })
    }

    /// Waits for all threads, then closes the last pack. The packer goes with this: nothing
    /// more will be stored.
    fn join(self) -> Result<(ScanCounts, BuiltTable)> {
        let counts = self.scanner.join();
        let workers: Vec<Result<()>> = self.workers.into_iter().map(Thread::join).collect();
        let table = self.builder.join();
        workers.into_iter().collect::<Result<()>>()?;
        let results = (counts?, table?);
        self.shared.check()?;
        self.packer.close_all()?;
        Ok(results)
    }
}

/// Runs `work`; a failure stops all the others.
fn guarded<T>(shared: &Shared, work: impl FnOnce() -> Result<T>) -> Result<T> {
    work().map_err(|error| {
        shared.fail(error);
        stopped()
    })
}

fn start_worker(
    shared: Arc<Shared>,
    mut reader: FileReader,
    queue: Receiver<Job>,
) -> Result<Thread<()>> {
    tasks::spawn_thread("worker", move || {
        guarded(&shared, || {
            while let Ok(job) = queue.recv() {
                shared.check()?;
                let read = reader.read(&*job.folder, &job.found)?;
                job.reply.send(read).map_err(|_| stopped())?;
            }
            reader.flush()
        })
    })
}

fn start_scanner(
    shared: Arc<Shared>,
    scanner: Scanner,
    source: Arc<dyn Source>,
) -> Result<Thread<ScanCounts>> {
    tasks::spawn_thread("scanner", move || guarded(&shared, || scanner.run(&*source)))
}

fn start_builder(
    shared: Arc<Shared>,
    builder: TableBuilder,
    items: Receiver<Item>,
) -> Result<Thread<BuiltTable>> {
    tasks::spawn_thread("table builder", move || guarded(&shared, || builder.run(&items)))
}
