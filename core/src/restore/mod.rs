//! Restore: from a snapshot to a sink.
//!
//! ```text
//!          files            windows           sealed segments
//! planner ------> gatherer --------> fetcher -----------------> workers (n) ---> sink
//! ```
//! The planner walks the snapshot's table, makes folders and decides about every file. The
//! gatherer compares files that are there and collects the missing pieces of many files into a
//! window, sorted by pack. The fetcher reads the segments that a window needs in few ranged reads.
//! A worker opens a segment, checks every chunk that is needed, and writes it to all files that
//! need it; whoever writes the last piece of a file finishes it. All channels are bounded. Last of
//! all, folders get their metadata.
//!
//! A file is built under a temporary name: what cannot be restored whole leaves no trace, and all
//! other files come back.

mod control;
mod decide;
mod delete;
mod entries;
mod existing;
mod fetch;
mod file;
mod finish;
mod folders;
mod gather;
mod links;
mod plan;
mod readback;
mod scope;
mod space;
mod window;
mod write;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::mpsc;

use self::{
    control::Control,
    fetch::Queue,
    finish::Finishing,
    folders::{Folder, Folders},
    scope::Scope,
};
use crate::{
    crypto::KeyRing,
    entry::{Entry, EntryKind, Stat, TreePath},
    error::{Error, ErrorKind, Result},
    monitor::{Monitor, Phase, Problem},
    repository::{Repository, Snapshot, Table, packs::PackReader},
    source::{Sink, SinkDir},
    target::SharedTarget,
    tasks,
};

/// Pages' worth of files that are planned ahead.
const ORDERS_AHEAD: usize = 2;
/// Windows that are gathered ahead.
const WINDOWS_AHEAD: usize = 1;

/// What happens to files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Make them as in the snapshot; content that is right already is not fetched.
    #[default]
    Always,
    /// Only if size or modification time differ.
    IfChanged,
    /// Only if the snapshot's file is newer.
    IfNewer,
    /// Never.
    Never,
}

/// Chooses entries by path (as in the snapshot) and kind.
pub type Filter = Arc<dyn Fn(&TreePath, EntryKind) -> bool + Send + Sync>;

/// One restore.
#[derive(Clone)]
pub struct RestoreOptions {
    /// Restore only this entry and what is below it; a folder's content lands in the sink's
    /// root, a file lands there under its name.
    pub subtree: TreePath,
    /// Restore only entries that this accepts, and the folders that lead to them.
    pub filter: Option<Filter>,
    /// What happens to files that are there already.
    pub overwrite: Overwrite,
    /// Remove entries of restored folders that the snapshot does not have.
    pub delete: bool,
    /// Compare and count, but change nothing.
    pub is_dry_run: bool,
    /// Read everything back afterwards and compare it with the snapshot.
    pub verify: bool,
    /// Threads that open, decompress and write; at least 1.
    pub workers: usize,
}

impl fmt::Debug for RestoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestoreOptions")
            .field("subtree", &self.subtree)
            .field("filter", &self.filter.is_some())
            .field("overwrite", &self.overwrite)
            .finish_non_exhaustive()
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            subtree: TreePath::root(),
            filter: None,
            overwrite: Overwrite::default(),
            delete: false,
            is_dry_run: false,
            verify: false,
            workers: 2,
        }
    }
}

/// What a restore did.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Files written.
    pub files_restored: u64,
    /// Files that were right already.
    pub files_unchanged: u64,
    /// Files left alone because of [`Overwrite`].
    pub files_skipped: u64,
    /// Folders.
    pub dirs: u64,
    /// Links, pipes, sockets, devices.
    pub others: u64,
    /// Entries removed because the snapshot does not have them.
    pub deleted: u64,
    /// Bytes written to files.
    pub bytes_restored: u64,
    /// Bytes of files that were right already.
    pub bytes_unchanged: u64,
    /// Bytes fetched from the target.
    pub bytes_fetched: u64,
    /// Files read back and found right, with [`RestoreOptions::verify`].
    pub files_verified: u64,
    /// How long it took.
    pub duration: Duration,
    /// How many items could not be restored, or not completely.
    pub problem_count: u64,
    /// The first of them (at most 1,000).
    pub problems: Vec<Problem>,
}

/// Restores `snapshot` into `sink`.
///
/// Items that cannot be restored are listed in the report and in the monitor; the rest comes
/// back.
///
/// # Errors
/// The target or the sink as a whole failed, no room, or the run was cancelled.
pub async fn restore(
    repository: &Repository,
    snapshot: &Snapshot,
    sink: Arc<dyn Sink>,
    options: &RestoreOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<RestoreReport> {
    if options.workers == 0 {
        return Err(Error::new(ErrorKind::Invalid, "a restore needs at least one worker"));
    }
    let clock = repository.runtime().clock.clone();
    let began = clock.monotonic();
    monitor.phase(Phase::Opening);
    let (context, available_bytes) = open(repository, snapshot, sink, options, monitor).await?;
    let table = repository.table(&snapshot.root);
    let counts = &snapshot.root.counts;
    let stages = async {
        space::check(&context, &table, counts, available_bytes).await?;
        context.control.phase(Phase::Restoring);
        if context.scope.is_everything() {
            context.control.expect(counts.files, counts.bytes);
        }
        let mut finishing = write_all(&context, &table).await?;
        if !options.is_dry_run {
            context.control.phase(Phase::Finishing);
            finish::finish(&context, &table, &mut finishing).await?;
            if options.verify {
                context.control.phase(Phase::Verifying);
                readback::read_back(&context, &table, &finishing).await?;
            }
        }
        Ok(())
    };
    let result: Result<()> = stages.await;
    // the first reason to stop tells more than the errors that followed from it
    context.control.outcome()?;
    result?;
    Ok(context.control.report(clock.monotonic().saturating_sub(began)))
}

/// What all parts of one restore share.
struct Context {
    options: RestoreOptions,
    scope: Scope,
    control: Control,
    folders: Folders,
    is_sink_empty: bool,
    leaves_out_xattrs: bool,
    target: SharedTarget,
    packs: Arc<PackReader>,
    keys: KeyRing,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Context {
    /// Sets the metadata of something that is right otherwise, if it differs.
    fn settle_metadata(&self, folder: &Arc<Folder>, entry: &Entry, stat: &Stat) {
        let set = self.folders.open(folder).and_then(|dir| {
            let details = dir.details(&entry.name)?;
            if decide::is_metadata_right(entry, stat, &details) {
                return Ok(Vec::new());
            }
            Ok(dir.set_metadata(&entry.name, entry))
        });
        match set {
            Ok(notes) => self.report_notes(folder, &entry.name, notes),
            Err(error) => {
                let notes = vec![format!("its metadata cannot be set: {error}")];
                self.report_notes(folder, &entry.name, notes);
            }
        }
    }

    /// Reports metadata that could not be set.
    fn report_notes(&self, folder: &Folder, name: &[u8], notes: Vec<String>) {
        if notes.is_empty() {
            return;
        }
        self.control.exempt(folder.key_of(name));
        let item = folder.display(&self.control.base, name);
        notes.into_iter().for_each(|note| self.control.problem(item.clone(), note));
    }
}

/// Finds what is asked for and opens the sink. The second value is the room in it.
async fn open(
    repository: &Repository,
    snapshot: &Snapshot,
    sink: Arc<dyn Sink>,
    options: &RestoreOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<(Arc<Context>, Option<u64>)> {
    let scope = Scope::find(repository, snapshot, options).await?;
    let (is_dry_run, leaves_out_xattrs) = (options.is_dry_run, sink.leaves_out_xattrs());
    let (root, available_bytes) = tasks::spawn_blocking("restore: open", move || {
        let root =
            (!is_dry_run || sink.exists()).then(|| open_root(&*sink, is_dry_run)).transpose()?;
        Ok((root, sink.available_bytes()))
    })
    .await?;
    let (root, is_sink_empty) = root.map_or((None, true), |(root, empty)| (Some(root), empty));
    let context = Context {
        control: Control::new(monitor, scope.base().clone(), options.verify),
        options: options.clone(),
        scope,
        folders: Folders::new(root),
        is_sink_empty,
        leaves_out_xattrs,
        target: repository.target().clone(),
        packs: repository.packs().clone(),
        keys: repository.keys().clone(),
    };
    Ok((Arc::new(context), available_bytes))
}

/// The root of the sink, and whether nothing is in it.
fn open_root(sink: &dyn Sink, is_dry_run: bool) -> Result<(Arc<dyn SinkDir>, bool)> {
    let open = || {
        let root = sink.root()?;
        if !is_dry_run {
            root.remove_leftovers()?;
        }
        let is_empty = root.names()?.is_empty();
        Ok((root, is_empty))
    };
    open().map_err(|error: std::io::Error| {
        Error::new(ErrorKind::Io, "the place to restore into cannot be opened").because(error)
    })
}

/// Runs planner, gatherer, fetcher and workers side by side, and waits for all of them: once
/// this returns, nothing is written any more.
async fn write_all(context: &Arc<Context>, table: &Table) -> Result<Finishing> {
    let (orders, ordered) = mpsc::channel(ORDERS_AHEAD);
    let (windows, gathered) = mpsc::channel(WINDOWS_AHEAD);
    let (queue, tasks) = Queue::new();
    let workers = (0..context.options.workers).map(|_| {
        let (shared, tasks) = (context.clone(), tasks.clone());
        let work = move || write::work(&shared, &tasks);
        guard(context, tasks::spawn_blocking("restore: worker", work))
    });
    let workers = join_all(workers);
    drop(tasks);
    let (finishing, _, _, _) = tokio::join!(
        guard(context, plan::plan(context.clone(), table.clone(), orders)),
        guard(context, gather::gather(context.clone(), ordered, windows)),
        guard(context, fetch::fetch(context.clone(), gathered, queue)),
        workers,
    );
    context.control.check()?;
    finishing.ok_or_else(gather::stopped)
}

/// An error of one part stops all the others.
async fn guard<T>(context: &Context, part: impl Future<Output = Result<T>>) -> Option<T> {
    match part.await {
        Ok(value) => Some(value),
        Err(error) => {
            context.control.stop(error);
            None
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
