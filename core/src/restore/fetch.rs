//! Reads what windows need, in pack order, several ranges at once, and hands it to the workers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::{Semaphore, mpsc};

use super::{
    Context,
    control::is_of_one_object,
    file::FileWork,
    gather::stopped,
    window::{self, Segments, Use, Window},
    write::{Task, Work},
};
use crate::{
    entry::{ChunkRef, PackRef},
    error::{Error, Result},
    repository::{layout, packs::PackDirectory},
    target::ObjectKey,
    tasks,
};

/// Directories of packs that are opened ahead of the reads.
const DIRECTORIES_AHEAD: usize = 4;
/// Reads at once at most, whatever the target promises.
const READS_MAX: usize = 16;
/// Sealed bytes that are read and not yet written, counted in units.
const ROOM_UNITS: usize = (16 << 20) / UNIT_BYTES as usize;
const UNIT_BYTES: u64 = 8 << 10;
/// Files without content that one task finishes.
const ENDINGS_AT_ONCE: usize = 32;

/// The way to the workers: bounded by the bytes under way, so that sending never waits.
pub(super) struct Queue {
    sender: crossbeam_channel::Sender<Task>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// A queue, and the end that workers take tasks from.
    pub(super) fn new() -> (Self, crossbeam_channel::Receiver<Task>) {
        // every task holds a unit of room at least, so there are never more than that
        let (sender, receiver) = crossbeam_channel::bounded(ROOM_UNITS);
        (Self { sender, room: Arc::new(Semaphore::new(ROOM_UNITS)) }, receiver)
    }

    async fn room(&self, units: u32) -> Result<tokio::sync::OwnedSemaphorePermit> {
        self.room.clone().acquire_many_owned(units).await.map_err(|_| stopped())
    }

    async fn send(&self, work: Work) -> Result<()> {
        let room = Arc::new(self.room(1).await?);
        self.sender.send(Task { work, room }).map_err(|_| stopped())
    }
}

/// One ranged read and the segments in it.
struct Read {
    directory: Arc<PackDirectory>,
    key: ObjectKey,
    range: Range<u64>,
    parts: Vec<Part>,
}

struct Part {
    segment: u32,
    range: Range<u64>,
    uses: Vec<Use>,
}

impl Part {
    /// Rounded up, so that all tasks that hold room fit into the queue.
    fn units(&self) -> u32 {
        let units = (self.range.end - self.range.start).div_ceil(UNIT_BYTES).max(1);
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}

/// Runs until the windows end.
///
/// # Errors
/// The target as a whole failed, or the run has stopped.
pub(super) async fn fetch(
    context: Arc<Context>,
    windows: mpsc::Receiver<Window>,
    queue: Queue,
) -> Result<()> {
    let capabilities = context.target.capabilities().await?;
    let reads_at_once = capabilities.concurrency.clamp(1, READS_MAX);
    let queue = &queue;
    let brought = reads(context.clone(), windows, queue).map(|read| {
        let context = &context;
        async move { bring(context, queue, read?).await }
    });
    #[expect(clippy::disallowed_methods, reason = "nothing is awaited but the results")]
    brought.buffer_unordered(reads_at_once).try_collect().await
}

/// All reads of all windows in order.
fn reads<'a>(
    context: Arc<Context>,
    windows: mpsc::Receiver<Window>,
    queue: &'a Queue,
) -> impl Stream<Item = Result<Read>> + 'a {
    let packs = stream::unfold(windows, |mut windows| async move {
        windows.recv().await.map(|window| (window, windows))
    })
    .then(move |window| begin(queue, window))
    .map_ok(|packs| stream::iter(packs.into_iter().map(Ok)))
    .try_flatten();
    let located = packs.map(move |pack: Result<_>| {
        let context = context.clone();
        async move {
            let (pack, segments) = pack?;
            locate(&context, &pack, segments).await
        }
    });
    tasks::ahead(located, DIRECTORIES_AHEAD)
        .map_ok(|reads| stream::iter(reads.into_iter().map(Ok)))
        .try_flatten()
}

/// Hands out what needs no target; returns the rest.
async fn begin(queue: &Queue, window: Window) -> Result<Vec<(PackRef, Segments)>> {
    let (copies, endings, packs) = window.into_parts();
    for copies in copies {
        queue.send(Work::Copies(copies)).await?;
    }
    let mut endings = endings.into_iter().peekable();
    while endings.peek().is_some() {
        queue.send(Work::Endings(endings.by_ref().take(ENDINGS_AT_ONCE).collect())).await?;
    }
    Ok(packs.collect())
}

/// Finds out where the segments of a pack lie, and which of them to read together.
async fn locate(context: &Context, pack: &PackRef, segments: Segments) -> Result<Vec<Read>> {
    context.control.check()?;
    let directory = match context.packs.directory(pack).await {
        Ok(directory) => directory,
        Err(error) => {
            return instead(context, pack, segments.into_iter(), error).await;
        }
    };
    let mut parts = Vec::with_capacity(segments.len());
    for (segment, uses) in segments {
        match directory.segment_range(segment) {
            Ok(range) => parts.push(Part { segment, range, uses }),
            Err(error) => fail_all(uses, error)?,
        }
    }
    let ranges: Vec<Range<u64>> = parts.iter().map(|part| part.range.clone()).collect();
    let key = layout::pack_key(pack.id)?;
    let mut parts = parts.into_iter();
    let reads = window::runs(&ranges).into_iter().map(|run| Read {
        directory: directory.clone(),
        key: key.clone(),
        range: ranges[run.start].start..ranges[run.end - 1].end,
        parts: parts.by_ref().take(run.len()).collect(),
    });
    Ok(reads.collect())
}

/// What to read instead of parts of a pack that cannot be read: where a prune has moved their
/// chunks meanwhile. Else the files that need them fail.
async fn instead(
    context: &Context,
    pack: &PackRef,
    parts: impl Iterator<Item = (u32, Vec<Use>)>,
    error: Error,
) -> Result<Vec<Read>> {
    if !is_of_one_object(&error) || !context.packs.was_moved(pack.id).await? {
        return fail_all(parts.flat_map(|(_, uses)| uses), error).map(|()| Vec::new());
    }
    let mut moved: BTreeMap<PackRef, Segments> = BTreeMap::new();
    for (segment, uses) in parts {
        for part in uses {
            let (id, len_bytes) = (part.chunk, part.len_bytes);
            let chunk = ChunkRef { id, pack: *pack, segment, len_bytes };
            match context.packs.locate(&chunk).await {
                Ok(chunk) => {
                    let segments = moved.entry(chunk.pack).or_default();
                    segments.entry(chunk.segment).or_default().push(part);
                }
                Err(error) => fail_all([part], error)?,
            }
        }
    }
    let mut reads = Vec::new();
    for (pack, segments) in moved {
        reads.extend(Box::pin(locate(context, &pack, segments)).await?);
    }
    Ok(reads)
}

/// Reads one range and sends its segments to the workers.
async fn bring(context: &Context, queue: &Queue, read: Read) -> Result<()> {
    context.control.check()?;
    // one segment is far smaller than all room; the bound keeps a lie from waiting for ever
    let units: u32 = read.parts.iter().map(Part::units).fold(0, u32::saturating_add);
    // the bytes stay until all segments in them are done, and so does their room
    let room = Arc::new(queue.room(units.min(ROOM_UNITS as u32)).await?);
    let length = read.range.end - read.range.start;
    let bytes = match fetch_range(context, &read.key, read.range.start, length).await {
        Ok(bytes) => bytes,
        Err(error) => {
            // what is read instead needs room, too
            drop(room);
            let pack = *read.directory.pack();
            let parts = read.parts.into_iter().map(|part| (part.segment, part.uses));
            for read in instead(context, &pack, parts, error).await? {
                Box::pin(bring(context, queue, read)).await?;
            }
            return Ok(());
        }
    };
    context.control.count.bytes_fetched.add(bytes.len() as u64);
    // segments are opened where they lie, if nobody else holds these bytes
    let mut rest = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut position = read.range.start;
    for part in read.parts {
        let Some(sealed) = cut(&mut rest, position, &part.range) else {
            fail_all(part.uses, Error::damaged(&read.key, "is truncated"))?;
            continue;
        };
        position = part.range.end;
        let directory = read.directory.clone();
        let work = Work::Segment { directory, segment: part.segment, sealed, uses: part.uses };
        let room = room.clone();
        queue.sender.send(Task { work, room }).map_err(|_| stopped())?;
    }
    Ok(())
}

/// The range of a pack; healed if the pack is missing, truncated or unreadable.
async fn fetch_range(
    context: &Context,
    key: &ObjectKey,
    offset: u64,
    length: u64,
) -> Result<Bytes> {
    match context.packs.read(key, offset, length).await {
        Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
        Ok(short) => {
            let first = Err(Error::damaged(key, "is truncated"));
            let again = context.packs.read(key, offset, length);
            // what is there of it may do for some files
            Ok(context.packs.or_healed(key, first, again).await.unwrap_or(short))
        }
        failed => {
            let again = context.packs.read(key, offset, length);
            context.packs.or_healed(key, failed, again).await
        }
    }
}

/// Takes `range` off the front of `rest`, which begins at `position`; `None` if it ends before.
fn cut(rest: &mut BytesMut, position: u64, range: &Range<u64>) -> Option<BytesMut> {
    let before = (range.start - position) as usize;
    let length = (range.end - range.start) as usize;
    if rest.len() < before + length {
        return None;
    }
    rest.advance(before);
    Some(rest.split_to(length))
}

/// A part of a pack cannot be had: the files that need it fail, the others come back. Any other
/// error ends the run.
fn fail_all(uses: impl IntoIterator<Item = Use>, error: Error) -> Result<()> {
    if !is_of_one_object(&error) {
        return Err(error);
    }
    let message = error.to_string();
    for Use { file, .. } in uses {
        file.fail(message.as_str());
        release(&file, 1);
    }
    Ok(())
}

/// Takes pieces off that failed: nothing is left to finish then.
fn release(file: &Arc<FileWork>, pieces: u64) {
    if file.release(pieces) {
        file.conclude();
    }
}
