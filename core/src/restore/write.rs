//! The workers: each opens segments, unfolds them, checks every chunk and writes it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use crossbeam_channel::Receiver;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use super::{
    Context, existing,
    file::FileWork,
    window::{Copies, Use},
};
use crate::{
    compress::Decompressor,
    entry::ChunkRef,
    error::{Error, Result},
    format::pack::SegmentRow,
    id::ChunkId,
    repository::{
        layout,
        packs::{PackDirectory, check_chunk},
    },
};

/// Where the chunks of a segment lie, and whether they were found right.
type Chunks = HashMap<ChunkId, (Range<usize>, bool)>;

/// Something to do, and the room that it takes until it is done.
pub(super) struct Task {
    pub(super) work: Work,
    pub(super) room: Arc<OwnedSemaphorePermit>,
}

/// What a worker does.
pub(super) enum Work {
    /// Open a segment and write chunks of it.
    Segment { directory: Arc<PackDirectory>, segment: u32, sealed: BytesMut, uses: Vec<Use> },
    /// Copy from a file that is there.
    Copies(Copies),
    /// Finish files that wait for nothing.
    Endings(Vec<Arc<FileWork>>),
}

/// Works until there is nothing more to come. After the run was stopped, tasks are only dropped:
/// unfinished files vanish.
///
/// # Errors
/// Not enough memory for a decompressor.
pub(super) fn work(context: &Arc<Context>, tasks: &Receiver<Task>) -> Result<()> {
    let mut worker = Worker {
        context: context.clone(),
        decompressor: Decompressor::new()?,
        chunks: HashMap::new(),
    };
    for Task { work, room } in tasks {
        if context.control.check().is_err() {
            continue;
        }
        match work {
            Work::Segment { directory, segment, sealed, uses } => {
                worker.write_segment(&directory, segment, sealed, &uses);
            }
            Work::Copies(copies) => {
                existing::copy(context, &copies);
                release(&copies.file, copies.pieces.len() as u64);
            }
            Work::Endings(files) => files.iter().for_each(|file| file.conclude()),
        }
        drop(room);
    }
    Ok(())
}

struct Worker {
    context: Arc<Context>,
    decompressor: Decompressor,
    chunks: Chunks,
}

impl Worker {
    fn write_segment(
        &mut self,
        directory: &PackDirectory,
        segment: u32,
        mut sealed: BytesMut,
        uses: &[Use],
    ) {
        let opened = directory.plain_segment(segment, &mut sealed, &mut self.decompressor);
        let mut healed = BytesMut::new();
        let plain = match opened {
            Ok(plain) => plain,
            Err(error) => {
                let again = fetch_healed(&self.context, directory, segment, error);
                let again = again.and_then(|bytes| {
                    healed = BytesMut::from(&bytes[..]);
                    directory.plain_segment(segment, &mut healed, &mut self.decompressor)
                });
                match again {
                    Ok(plain) => plain,
                    Err(error) => return fail_all(uses, &error),
                }
            }
        };
        find_chunks(directory.segments().get(segment as usize), &mut self.chunks);
        let check = |wanted: &Use, chunks: &mut Chunks| {
            let chunk = ChunkRef {
                id: wanted.chunk,
                pack: *directory.pack(),
                segment,
                len_bytes: wanted.len_bytes,
            };
            check(&self.context, &chunk, plain, chunks)
        };
        let mut rest = uses;
        while let Some((first, _)) = rest.split_first() {
            let mut length = 1;
            match check(first, &mut self.chunks) {
                Ok(mut range) => {
                    // neighbours in the segment that are neighbours in the file: one write
                    while let Some(next) = rest.get(length)
                        && Arc::ptr_eq(&next.file, &first.file)
                        && next.offset == first.offset + range.len() as u64
                        && let Ok(more) = check(next, &mut self.chunks)
                        && more.start == range.end
                    {
                        range.end = more.end;
                        length += 1;
                    }
                    first.file.write(first.offset, &plain[range]);
                }
                Err(error) => first.file.fail(error.to_string()),
            }
            release(&first.file, length as u64);
            rest = &rest[length..];
        }
    }
}

/// The segment that gave `error`, once its pack was healed; waits for that.
fn fetch_healed(
    context: &Context,
    directory: &PackDirectory,
    segment: u32,
    error: Error,
) -> Result<Bytes> {
    let key = layout::pack_key(directory.pack().id)?;
    let again = context.packs.sealed_segment(directory, segment);
    // workers run beside the async threads, so they may wait for them
    Handle::current().block_on(context.packs.or_healed(&key, Err(error), again))
}

/// Notes where every chunk of a segment lies, in one pass.
fn find_chunks(row: Option<&SegmentRow>, chunks: &mut Chunks) {
    chunks.clear();
    let mut start = 0;
    for (id, length) in row.map(|row| row.chunks.as_slice()).unwrap_or_default() {
        let end = start + *length as usize;
        chunks.entry(*id).or_insert((start..end, false));
        start = end;
    }
}

/// Where the chunk lies in `plain`, once it was found to be what its id says.
fn check(
    context: &Context,
    chunk: &ChunkRef,
    plain: &[u8],
    chunks: &mut Chunks,
) -> Result<Range<usize>> {
    let damaged = |why: String| Error::damaged(format!("packs/{}", chunk.pack.id), why);
    let Some((range, is_right)) = chunks.get_mut(&chunk.id) else {
        return Err(damaged(format!("segment {} lacks chunk {}", chunk.segment, chunk.id)));
    };
    let bytes = plain
        .get(range.clone())
        .filter(|bytes| bytes.len() == chunk.len_bytes as usize)
        .ok_or_else(|| damaged(format!("chunk {} has another length", chunk.id)))?;
    if !*is_right {
        check_chunk(&context.keys, chunk, bytes)?;
        *is_right = true;
    }
    Ok(range.clone())
}

fn fail_all(uses: &[Use], error: &Error) {
    let message = error.to_string();
    for Use { file, .. } in uses {
        file.fail(message.as_str());
        release(file, 1);
    }
}

/// Takes pieces off; the last ones finish the file.
fn release(file: &Arc<FileWork>, pieces: u64) {
    if file.release(pieces) {
        file.conclude();
    }
}
