//! From planned files to windows: finds out which pieces are missing, and collects them.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use super::{
    Context,
    control::is_of_one_object,
    decide,
    existing::{self, Comparison},
    file::{FileJob, FileWork},
    window::Window,
};
use crate::{
    entry::{ChunkRef, Content, Piece},
    error::{Error, ErrorKind, Result},
    repository::pieces_in,
    tasks,
};

/// Content of small files that one blocking call compares.
const COMPARE_BYTES: u64 = 8 << 20;

/// What the plan sends.
#[derive(Debug)]
pub(super) enum Order {
    /// Files to be made.
    Files(Vec<FileJob>),
    /// Do not wait for more before going on, and tell when all files before this have begun.
    Flush(oneshot::Sender<()>),
}

/// A file that was compared: which of its pieces are there; `None` if all is right.
type Compared = (FileJob, Option<Vec<bool>>);

/// Runs until the plan is done.
///
/// # Errors
/// The target as a whole failed, or the run has stopped.
pub(super) async fn gather(
    context: Arc<Context>,
    mut orders: mpsc::Receiver<Order>,
    windows: mpsc::Sender<Window>,
) -> Result<()> {
    let mut gatherer = Gatherer { context, windows, window: Window::default() };
    let mut comparing = FuturesUnordered::new();
    loop {
        let has_room = comparing.len() < gatherer.context.options.workers;
        tokio::select! {
            biased;
            Some(compared) = comparing.next() => gatherer.add_compared(compared?).await?,
            order = orders.recv(), if has_room => match order {
                Some(Order::Files(jobs)) => {
                    for batch in gatherer.add_new(jobs).await? {
                        // it reads, too, and must not stand still while something is added
                        let compared = compare(gatherer.context.clone(), batch);
                        comparing.push(tasks::apart(compared));
                    }
                }
                Some(Order::Flush(all_begun)) => {
                    while let Some(compared) = comparing.next().await {
                        gatherer.add_compared(compared?).await?;
                    }
                    gatherer.ship().await?;
                    // nobody waits any more if the plan has stopped
                    let _ = all_begun.send(());
                }
                // the plan flushes before it ends
                None => return Ok(()),
            },
        }
    }
}

struct Gatherer {
    context: Arc<Context>,
    windows: mpsc::Sender<Window>,
    window: Window,
}

/// Where the next piece of a file goes.
struct Cursor {
    offset: u64,
    index: usize,
    matches: Option<Vec<bool>>,
}

impl Gatherer {
    /// Adds what is not there yet; returns the others in batches to be compared.
    async fn add_new(&mut self, jobs: Vec<FileJob>) -> Result<Vec<Vec<FileJob>>> {
        let mut batches: Vec<Vec<FileJob>> = Vec::new();
        let mut batch_bytes = u64::MAX;
        for job in jobs {
            if job.existing.is_none() {
                self.add(job, None).await?;
                continue;
            }
            let size = job.entry.stat.size;
            batch_bytes = batch_bytes.saturating_add(size);
            match batches.last_mut() {
                Some(batch) if batch_bytes <= COMPARE_BYTES => batch.push(job),
                _ => {
                    batches.push(vec![job]);
                    batch_bytes = size;
                }
            }
        }
        Ok(batches)
    }

    async fn add_compared(&mut self, compared: Vec<Compared>) -> Result<()> {
        for (job, matches) in compared {
            if matches.is_some() {
                self.add(job, matches).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, job: FileJob, matches: Option<Vec<bool>>) -> Result<()> {
        self.context.control.check()?;
        if self.context.options.is_dry_run {
            count(&self.context, &job, matches.as_deref());
            return Ok(());
        }
        let (file, content) = FileWork::begin(&self.context, job);
        let mut cursor = Cursor { offset: 0, index: 0, matches };
        match content {
            Content::Inline(pieces) => {
                if pieces.len() > 1 {
                    self.window.add_long_file();
                }
                self.add_pieces(&file, &pieces, &mut cursor).await?;
            }
            Content::Listed { lists, .. } => {
                self.window.add_long_file();
                self.add_lists(&file, &lists, &mut cursor).await?;
            }
        }
        if file.release(1) {
            self.window.add_ending(file);
        }
        self.ship_if_full().await
    }

    async fn add_lists(
        &mut self,
        file: &Arc<FileWork>,
        lists: &[ChunkRef],
        cursor: &mut Cursor,
    ) -> Result<()> {
        for list in lists {
            self.context.control.check()?;
            if file.has_failed() {
                return Ok(());
            }
            match pieces_in(&self.context.packs, list).await {
                Ok(pieces) => self.add_pieces(file, &pieces, cursor).await?,
                Err(error) if is_of_one_object(&error) => {
                    file.fail(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        if cursor.offset != file.entry().stat.size {
            file.fail(decide::wrong_sum(file.entry().stat.size));
        }
        Ok(())
    }

    async fn add_pieces(
        &mut self,
        file: &Arc<FileWork>,
        pieces: &[Piece],
        cursor: &mut Cursor,
    ) -> Result<()> {
        let size = file.entry().stat.size;
        for piece in pieces {
            let end = cursor.offset.checked_add(piece.len_bytes()).filter(|end| *end <= size);
            let Some(end) = end else {
                file.fail(decide::wrong_sum(size));
                return Ok(());
            };
            if let Piece::Chunk(chunk) = piece {
                file.hold(1);
                let is_there = cursor.matches.as_ref().and_then(|all| all.get(cursor.index));
                if is_there.is_some_and(|is_there| *is_there) {
                    self.window.add_copy(file, cursor.offset, chunk);
                } else {
                    self.window.add(file, cursor.offset, chunk);
                }
                if self.window.is_full() {
                    self.ship().await?;
                    self.window.add_long_file();
                }
            }
            cursor.offset = end;
            cursor.index += 1;
        }
        Ok(())
    }

    async fn ship_if_full(&mut self) -> Result<()> {
        if self.window.is_full() { self.ship().await } else { Ok(()) }
    }

    async fn ship(&mut self) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        if window.is_empty() {
            return Ok(());
        }
        self.windows.send(window).await.map_err(|_| stopped())
    }
}

/// The error of a part that ends because another one failed.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "the restore has stopped")
}

/// Counts what would be written.
fn count(context: &Context, job: &FileJob, matches: Option<&[bool]>) {
    let bytes = match &job.entry.content {
        Content::Listed { .. } => job.entry.stat.size,
        Content::Inline(pieces) => {
            let is_there = |at: usize| matches.is_some_and(|all| all.get(at) == Some(&true));
            let missing = pieces.iter().enumerate().filter(|(at, _)| !is_there(*at));
            missing
                .filter(|(_, piece)| matches!(piece, Piece::Chunk(_)))
                .fold(0, |sum: u64, (_, piece)| sum.saturating_add(piece.len_bytes()))
        }
    };
    job.end(true);
    context.control.count.files_restored.add(1);
    context.control.count.bytes_restored.add(bytes);
    context.control.done(1, job.entry.stat.size);
}

/// Compares a batch: either one file whose pieces are listed elsewhere, or some small ones.
async fn compare(context: Arc<Context>, batch: Vec<FileJob>) -> Result<Vec<Compared>> {
    let mut compared = Vec::with_capacity(batch.len());
    let mut inline = Vec::with_capacity(batch.len());
    for job in batch {
        match &job.entry.content {
            Content::Inline(_) => inline.push(job),
            Content::Listed { .. } => {
                compared.push(compare_listed(&context, job).await?);
            }
        }
    }
    let rest = tasks::spawn_blocking("restore: compare", move || {
        let compare = |job| compare_inline(&context, job);
        Ok(inline.into_iter().map(compare).collect::<Vec<_>>())
    });
    compared.extend(rest.await?);
    Ok(compared)
}

fn compare_inline(context: &Context, job: FileJob) -> Compared {
    let mut comparison = Comparison::default();
    if let Content::Inline(pieces) = &job.entry.content
        && context.control.check().is_ok()
    {
        existing::compare(context, &job, pieces, &mut comparison);
    }
    settle(context, job, comparison)
}

async fn compare_listed(context: &Arc<Context>, mut job: FileJob) -> Result<Compared> {
    let mut comparison = Comparison::default();
    let lists = match &job.entry.content {
        Content::Listed { lists, .. } => lists.clone(),
        Content::Inline(_) => Vec::new(),
    };
    for list in &lists {
        context.control.check()?;
        let pieces = match pieces_in(&context.packs, list).await {
            Ok(pieces) => pieces,
            // met again, and reported, when the file is made
            Err(error) if is_of_one_object(&error) => {
                comparison.matches.push(false);
                break;
            }
            Err(error) => return Err(error),
        };
        let shared = context.clone();
        (job, comparison) = tasks::spawn_blocking("restore: compare", move || {
            existing::compare(&shared, &job, &pieces, &mut comparison);
            Ok((job, comparison))
        })
        .await?;
    }
    let shared = context.clone();
    tasks::spawn_blocking("restore: compare", move || Ok(settle(&shared, job, comparison))).await
}

/// A file that is right already only gets its metadata.
fn settle(context: &Context, job: FileJob, comparison: Comparison) -> Compared {
    let size = job.entry.stat.size;
    let is_equal = comparison.is_equal()
        && comparison.offset == size
        && job.existing.as_ref().is_some_and(|existing| existing.size == size);
    if !is_equal {
        return (job, Some(comparison.matches));
    }
    if let Some(stat) = &job.existing
        && !context.options.is_dry_run
    {
        context.settle_metadata(&job.folder, &job.entry, stat);
    }
    job.end(true);
    context.control.count.files_unchanged.add(1);
    context.control.count.bytes_unchanged.add(size);
    context.control.done(1, size);
    (job, None)
}
