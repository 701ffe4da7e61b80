//! Starts the threads of a backup, connects them, and brings their results together: one walk and
//! one reading for all lanes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use futures::future::join_all;
use tokio::sync::oneshot;

use super::{
    BackupReport, CopyOf,
    lane::{Lane, Parts},
    packer::{ChunkUse, Packer},
    reader::{FileReader, LaneWriter},
    scan::{Item, Job, LaneScan, ScanCounts, Scanner},
    shared::{Lanes, Problems, Shared, stopped},
    table::{BuiltTable, TableBuilder},
    upload::Stored,
};
use crate::{
    error::{Error, Result},
    monitor::Monitor,
    runtime::Clock,
    source::Source,
    tasks::{self, Task, Thread},
};

/// Files on their way to the workers. Each holds its folder open.
const JOBS_MAX: usize = 256;
/// Entries between the walk and the table.
const ITEMS_MAX: usize = 2_048;

/// What the pipeline brought about in one lane.
pub(super) struct Outcome {
    pub(super) table: BuiltTable,
    pub(super) stored: Stored,
    pub(super) problems: Problems,
    /// If the snapshot is a copy of another one.
    pub(super) copy_of: Option<CopyOf>,
    pub(super) counts: ScanCounts,
    pub(super) packs_adopted: u64,
}

/// What the threads leave of one lane.
pub(super) struct LaneEnd {
    pub(super) counts: ScanCounts,
    pub(super) table: BuiltTable,
    pub(super) packer: Arc<Packer>,
}

/// Runs the pipeline to its end, and commits every lane that came through; one result a lane.
pub(super) async fn run(
    lanes: Vec<(Lane, Parts)>,
    source: Arc<dyn Source>,
    workers: usize,
    monitor: &Arc<dyn Monitor>,
    clock: &dyn Clock,
    began: Duration,
) -> Vec<Result<BackupReport>> {
    let (lanes, parts): (Vec<Lane>, Vec<Parts>) = lanes.into_iter().unzip();
    let shared = lanes.iter().map(|lane| lane.shared.clone()).collect();
    let shared = Arc::new(Lanes::new(shared, monitor.clone()));
    let roots = source.roots();
    let (ends, waiting): (Vec<_>, Vec<_>) = lanes.iter().map(|_| oneshot::channel()).unzip();
    let threads = Threads::start(parts, source.clone(), workers, shared.clone());
    let joined = async {
        match threads {
            Ok(threads) => {
                let joined = tasks::spawn_blocking("backup threads", move || {
                    for (end, result) in ends.into_iter().zip(threads.join()) {
                        // a lane waits for its end whatever happens
                        let _ = end.send(result);
                    }
                    Ok(())
                });
                if let Err(error) = joined.await {
                    shared.fail(error);
                }
            }
            Err(error) => {
                shared.fail(error);
                drop(ends);
            }
        }
    };
    let lanes = lanes.into_iter().zip(waiting);
    let lanes = lanes.map(|(lane, end)| lane.see_through(&roots, end, &**monitor, began));
    let work = async { futures::join!(joined, join_all(lanes)) };
    tokio::select! {
        ((), results) = work => results,
        never = interrupt_when_cancelled(clock, &shared, &*source) => match never {},
    }
}

/// How often a run that waits for its source looks whether it is to stop.
const CANCEL_POLL: Duration = Duration::from_millis(100);

/// Wakes up reads that wait for data once the run is to stop. Never returns.
async fn interrupt_when_cancelled(
    clock: &dyn Clock,
    shared: &Lanes,
    source: &dyn Source,
) -> Infallible {
    while shared.check().is_ok() {
        clock.sleep(CANCEL_POLL).await;
        // a simulated clock may not wait at all: then the others get their turn here
        tokio::task::yield_now().await;
    }
    source.interrupt();
    futures::future::pending().await
}

pub(super) struct Threads {
    shared: Arc<Lanes>,
    scanner: Thread<Vec<ScanCounts>>,
    workers: Vec<Thread<()>>,
    lanes: Vec<LaneThreads>,
}

/// The threads and things of one lane.
struct LaneThreads {
    shared: Arc<Shared>,
    builder: Thread<BuiltTable>,
    packer: Arc<Packer>,
    _feeder: Option<Task<()>>,
}

impl Threads {
    pub(super) fn start(
        lanes: Vec<Parts>,
        source: Arc<dyn Source>,
        workers: usize,
        shared: Arc<Lanes>,
    ) -> Result<Self> {
        let (jobs, queue) = bounded(JOBS_MAX);
        let workers = (0..workers)
            .map(|_| {
                let writers = lanes.iter().map(writer).collect::<Result<Vec<_>>>()?;
                let reader = FileReader::new(shared.clone(), writers, source.is_all_or_nothing());
                start_worker(shared.clone(), reader, queue.clone())
            })
            .collect::<Result<Vec<_>>>()?;
        drop(queue);
        let mut scans = Vec::new();
        let mut started = Vec::new();
        for parts in lanes {
            let (items, rows) = bounded(ITEMS_MAX);
            let table = parts.writer(ChunkUse::Table)?;
            let Parts { shared, packer, parent, chunker_key, .. } = parts;
            scans.push(LaneScan::new(parent.cursor, shared.clone(), items));
            let builder = TableBuilder::new(shared.clone(), table, parent.nodes, chunker_key);
            let builder = start_builder(shared.clone(), builder, rows)?;
            started.push(LaneThreads { shared, builder, packer, _feeder: parent.feeder });
        }
        let scanner = Scanner::new(scans, shared.clone(), jobs);
        let scanner = start_scanner(shared.clone(), scanner, source)?;
        Ok(Self { shared, scanner, workers, lanes: started })
    }

    /// Waits for all threads.
    pub(super) fn join(self) -> Vec<Result<LaneEnd>> {
        let counts = self.scanner.join();
        let workers = self.workers.into_iter().map(Thread::join).collect::<Vec<Result<()>>>();
        for error in workers.into_iter().filter_map(Result::err) {
            self.shared.fail(error);
        }
        let counts = counts.unwrap_or_else(|error| {
            self.shared.fail(error);
            Vec::new()
        });
        let mut counts = counts.into_iter();
        let ends = self.lanes.into_iter().map(|lane| lane.join(counts.next().unwrap_or_default()));
        ends.collect()
    }
}

impl LaneThreads {
    fn join(self, counts: ScanCounts) -> Result<LaneEnd> {
        let table = self.builder.join();
        self.shared.check()?;
        Ok(LaneEnd { counts, table: table?, packer: self.packer })
    }
}

fn writer(parts: &Parts) -> Result<LaneWriter> {
    Ok(LaneWriter {
        shared: parts.shared.clone(),
        chunker: parts.chunker.clone(),
        writer: parts.writer(ChunkUse::Data)?,
    })
}

fn start_worker(
    shared: Arc<Lanes>,
    mut reader: FileReader,
    queue: Receiver<Job>,
) -> Result<Thread<()>> {
    tasks::spawn_thread("worker", move || {
        let work = || {
            while let Ok(job) = queue.recv() {
                shared.check()?;
                answer(&mut reader, job)?;
            }
            reader.flush();
            Ok(())
        };
        guarded(work, |error| shared.fail(error))
    })
}

/// Reads a file and hands it to the tables that wait for it. A lane that fails meanwhile gets no
/// answer: its reply is dropped.
fn answer(reader: &mut FileReader, job: Job) -> Result<()> {
    let Job { folder, found, mut replies } = job;
    let wanted: Vec<usize> = replies.iter().map(|(lane, _)| *lane).collect();
    match reader.read(&*folder, &found, wanted.iter().copied())? {
        Ok(read) => {
            for (lane, file) in read {
                let at = replies.iter().position(|(number, _)| *number == lane);
                if let Some(at) = at {
                    // nobody listens in a lane that has failed
                    let _ = replies.swap_remove(at).1.send(Ok(file));
                }
            }
        }
        Err(error) => {
            for (_, reply) in replies {
                let _ = reply.send(Err(again(&error)));
            }
        }
    }
    Ok(())
}

/// The same error for another lane.
fn again(error: &std::io::Error) -> std::io::Error {
    match error.raw_os_error() {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => std::io::Error::new(error.kind(), error.to_string()),
    }
}

fn start_scanner(
    shared: Arc<Lanes>,
    scanner: Scanner,
    source: Arc<dyn Source>,
) -> Result<Thread<Vec<ScanCounts>>> {
    tasks::spawn_thread("scanner", move || {
        guarded(|| scanner.run(&*source), |error| shared.fail(error))
    })
}

fn start_builder(
    shared: Arc<Shared>,
    builder: TableBuilder,
    items: Receiver<Item>,
) -> Result<Thread<BuiltTable>> {
    tasks::spawn_thread("table builder", move || {
        guarded(|| builder.run(&items), |error| shared.fail(error))
    })
}

/// Runs `work`; `fail` tells the others of its failure, so that they stop.
fn guarded<T>(work: impl FnOnce() -> Result<T>, fail: impl FnOnce(Error)) -> Result<T> {
    work().map_err(|error| {
        fail(error);
        stopped()
    })
}
