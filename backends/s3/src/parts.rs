//! Cuts a payload into the parts of a multipart upload, in bounded memory.
//!
//! Knows the limits of multipart uploads, and sends nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use strongroom_core::target::{PayloadStream, TargetResult};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MIB: u64 = 1 << 20;

/// How many parts an upload may have.
pub(crate) const PARTS_MAX: u64 = 10_000;

/// The first parts of a stream, of whose length nothing is known.
const STREAM_PART_BYTES: u64 = 8 * MIB;

/// So many parts have the same size; then it grows fourfold. All parts together take 5.2 TiB.
const PARTS_OF_ONE_SIZE: u64 = 2_000;

/// What parts in flight may hold together; a larger part goes alone.
const IN_FLIGHT_MIB: u32 = 40;

/// Smaller buffers of a stream are gathered by copying, so that a million of them cost little.
const COPY_BYTES: usize = 64 << 10;

/// One part, with its leave to be in memory.
#[derive(Debug)]
pub(crate) struct Part {
    /// From 1 on.
    pub(crate) number: i32,
    pub(crate) buffers: Vec<Bytes>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// The parts of a payload in order.
pub(crate) type Parts = BoxStream<'static, TargetResult<Part>>;

/// Parts of buffers that are in memory anyway: of one size, without copying.
pub(crate) fn of_buffers(buffers: Vec<Bytes>, part_bytes: u64) -> Parts {
    let mut cutter = Cutter::new(stream::iter(buffers.into_iter().map(Ok)).boxed());
    cutter.is_copying = false;
    stream::try_unfold((cutter, 1), move |(mut cutter, number)| async move {
        let buffers = cutter.next(part_bytes).await?;
        let part = Part { number, buffers, permit: None };
        Ok((!part.buffers.is_empty()).then_some((part, (cutter, number + 1))))
    })
    .boxed()
}

/// The size of the parts of a payload of known length.
pub(crate) fn part_bytes_of(length: u64, fixed: Option<u64>) -> u64 {
    let enough = length.div_ceil(PARTS_MAX).next_multiple_of(MIB);
    fixed.unwrap_or(2 * STREAM_PART_BYTES).max(enough)
}

/// The size of part `number` of a stream.
pub(crate) fn stream_part_bytes(number: i32, fixed: Option<u64>) -> u64 {
    let steps = u64::try_from(number - 1).unwrap_or_default() / PARTS_OF_ONE_SIZE;
    fixed.unwrap_or(STREAM_PART_BYTES << (2 * steps.min(5)))
}

/// Parts of a stream, `first` included, which was taken from it already.
pub(crate) fn of_stream(first: Vec<Bytes>, cutter: Cutter, fixed: Option<u64>) -> Parts {
    let room = Arc::new(Semaphore::new(IN_FLIGHT_MIB as usize));
    stream::try_unfold((Some(first), cutter, 1), move |(first, mut cutter, number)| {
        let room = room.clone();
        async move {
            let bytes = stream_part_bytes(number, fixed);
            let weight = u32::try_from(bytes / MIB).unwrap_or(u32::MAX).clamp(1, IN_FLIGHT_MIB);
            // Never closed, so there is always a permit.
            let permit = room.acquire_many_owned(weight).await.ok();
            let buffers = match first {
                Some(first) => first,
                None => cutter.next(bytes).await?,
            };
            let part = Part { number, buffers, permit };
            Ok((!part.buffers.is_empty()).then_some((part, (None, cutter, number + 1))))
        }
    })
    .boxed()
}

/// Cuts a stream into runs of buffers.
pub(crate) struct Cutter {
    stream: PayloadStream,
    left: Bytes,
    is_copying: bool,
}

impl Cutter {
    pub(crate) fn new(stream: PayloadStream) -> Self {
        Self { stream, left: Bytes::new(), is_copying: true }
    }

    /// The next `bytes` bytes; fewer only at the end of the stream, and none after it.
    pub(crate) async fn next(&mut self, bytes: u64) -> TargetResult<Vec<Bytes>> {
        let (mut run, mut small, mut missing) = (Vec::new(), BytesMut::new(), bytes);
        while missing > 0 {
            if self.left.is_empty() {
                match self.stream.next().await {
                    Some(buffer) => self.left = buffer?,
                    None => break,
                }
                continue;
            }
            let taken = usize::try_from(missing).unwrap_or(usize::MAX).min(self.left.len());
            let piece = self.left.split_to(taken);
            missing -= taken as u64;
            if self.is_copying && piece.len() < COPY_BYTES {
                small.extend_from_slice(&piece);
                continue;
            }
            if !small.is_empty() {
                run.push(small.split().freeze());
            }
            run.push(piece);
        }
        if !small.is_empty() {
            run.push(small.freeze());
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[test]
    fn ten_thousand_parts_are_enough_for_five_tebibytes() {
        let whole: u64 = (1..=PARTS_MAX as i32).map(|n| stream_part_bytes(n, None)).sum();
        assert!(whole >= 5 << 40, "{whole}");
        assert_eq!(stream_part_bytes(1, None), 8 * MIB);
        assert_eq!(stream_part_bytes(9_999, Some(5 * MIB)), 5 * MIB);
        for length in [17 * MIB, 1 << 40, 5 << 40] {
            let part = part_bytes_of(length, None);
            assert!(part >= 16 * MIB && length.div_ceil(part) <= PARTS_MAX, "{length}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_cut_where_asked_and_nothing_is_lost() {
        let content: Vec<u8> = (0..1_000_000u32).map(|i| (i * 31 % 251) as u8).collect();
        for size in [1, 1000, 70_000, 1_000_000] {
            let buffers = content.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
            let buffers: Vec<_> = buffers.collect();
            let mut cutter = Cutter::new(stream::iter(buffers).boxed());
            let (mut found, mut runs) = (Vec::new(), 0);
            loop {
                let run = cutter.next(300_000).await.unwrap();
                if run.is_empty() {
                    break;
                }
                assert!(run.len() <= 16, "{} buffers", run.len());
                found.extend_from_slice(&run.concat());
                runs += 1;
            }
            assert_eq!((found == content, runs), (true, 4), "buffers of {size}");
        }
    }

    #[tokio::test]
    async fn buffers_become_parts_without_copying() {
        let buffers = vec![Bytes::from(vec![1; 1000]), Bytes::from(vec![2; 1500])];
        let parts: Vec<Part> = of_buffers(buffers.clone(), 800).try_collect().await.unwrap();
        assert_eq!(parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(parts[0].buffers[0].as_ptr(), buffers[0].as_ptr());
        let whole: Vec<Bytes> = parts.into_iter().flat_map(|part| part.buffers).collect();
        assert_eq!(whole.concat(), buffers.concat());
    }
}
