//! The content of a file: its pieces in order, and their bytes.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use crate::{
    entry::{ChunkRef, Content, Entry, Piece},
    error::{Error, Result},
    repository::{packs::PackReader, pieces_in},
    tasks,
};

/// Runs read ahead.
const RUNS_AHEAD: usize = 4;
/// Chunks of one run at most: what is ready but not yet taken stays small.
const RUN_CHUNKS_MAX: usize = 256;
/// Zeros to give out for holes.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

/// The pieces of a file, where they lie now; long lists are fetched one at a time.
pub(crate) fn pieces<'a>(
    packs: &'a Arc<PackReader>,
    entry: &'a Entry,
) -> BoxStream<'a, Result<Piece>> {
    match &entry.content {
        Content::Inline(pieces) => stream::iter(pieces.iter().copied().map(Ok)).boxed(),
        Content::Listed { lists, .. } => stream::iter(lists)
            .then(move |list| {
                let (packs, list) = (packs.clone(), *list);
                tasks::apart(async move { pieces_in(&packs, &list).await })
            })
            .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
            .try_flatten()
            .boxed(),
    }
}

/// A stretch of a file's content.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// Bytes: a chunk.
    Data(Bytes),
    /// So many bytes of hole.
    Hole(u64),
}

/// The bytes of a file, holes as zeros.
pub(super) fn read<'a>(
    packs: &'a Arc<PackReader>,
    entry: &'a Entry,
) -> BoxStream<'a, Result<Bytes>> {
    blocks(packs, entry)
        .map_ok(|block| match block {
            Block::Data(bytes) => stream::iter(vec![Ok(bytes)]).boxed(),
            Block::Hole(length) => stream::iter(zeros(length).map(Ok)).boxed(),
        })
        .try_flatten()
        .boxed()
}

/// The content of a file, a few segments read ahead.
pub(crate) fn blocks<'a>(
    packs: &'a Arc<PackReader>,
    entry: &'a Entry,
) -> BoxStream<'a, Result<Block>> {
    let runs = Runs { packs, pieces: pieces(packs, entry), next: None };
    let runs = stream::try_unfold(runs, |mut runs| async move {
        Ok::<_, Error>(runs.next().await?.map(|run| (run, runs)))
    });
    let reads = runs.map(|run| {
        let packs = packs.clone();
        async move { fetch(&packs, run?).await }
    });
    tasks::ahead(reads, RUNS_AHEAD)
        .map_ok(|blocks| stream::iter(blocks.into_iter().map(Ok)))
        .try_flatten()
        .boxed()
}

/// A stretch of a file that is read in one go.
enum Run {
    /// Chunks that lie in one segment.
    Chunks(Vec<ChunkRef>),
    /// Zeros.
    Hole(u64),
}

/// `length` bytes of zeros, in blocks.
fn zeros(length: u64) -> impl Iterator<Item = Bytes> {
    let block = ZEROS.len() as u64;
    let (whole, rest) = (length / block, (length % block) as usize);
    let full = (0..whole).map(|_| Bytes::from_static(&ZEROS));
    full.chain((rest > 0).then(|| Bytes::from_static(&ZEROS[..rest])))
}

async fn fetch(packs: &PackReader, run: Run) -> Result<Vec<Block>> {
    let chunks = match run {
        Run::Hole(length) => return Ok(vec![Block::Hole(length)]),
        Run::Chunks(chunks) => chunks,
    };
    let mut ready = Vec::with_capacity(chunks.len());
    for chunk in &chunks {
        ready.push(Block::Data(packs.chunk(chunk).await?));
    }
    Ok(ready)
}

/// Gathers neighbouring chunks of one segment, so that runs fetched at the same time never fetch
/// the same segment.
struct Runs<'a> {
    packs: &'a Arc<PackReader>,
    pieces: BoxStream<'a, Result<Piece>>,
    next: Option<Piece>,
}

impl Runs<'_> {
    async fn next(&mut self) -> Result<Option<Run>> {
        let first = match self.next_piece().await? {
            None => return Ok(None),
            Some(Piece::Hole(length)) => return Ok(Some(Run::Hole(length))),
            Some(Piece::Chunk(first)) => first,
        };
        // asked for here, one run after the other, so that no directory is fetched twice
        let packs = self.packs.clone();
        tasks::apart(async move { packs.directory(&first.pack).await.map(drop) }).await?;
        let mut run = vec![first];
        while run.len() < RUN_CHUNKS_MAX {
            match self.next_piece().await? {
                Some(Piece::Chunk(chunk)) if is_same_segment(&chunk, &first) => run.push(chunk),
                other => {
                    self.next = other;
                    break;
                }
            }
        }
        Ok(Some(Run::Chunks(run)))
    }

    async fn next_piece(&mut self) -> Result<Option<Piece>> {
        match self.next.take() {
            Some(piece) => Ok(Some(piece)),
            None => self.pieces.try_next().await,
        }
    }
}

fn is_same_segment(left: &ChunkRef, right: &ChunkRef) -> bool {
    left.pack == right.pack && left.segment == right.segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_come_in_bounded_blocks() {
        for length in [0, 1, ZEROS.len() as u64, 3 * ZEROS.len() as u64 + 5] {
            let blocks: Vec<Bytes> = zeros(length).collect();
            assert_eq!(blocks.iter().map(|block| block.len() as u64).sum::<u64>(), length);
            assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == 0)));
        }
    }
}
