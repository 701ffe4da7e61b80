//! Contents on their way out: many buffers as one body without copying them together, sums, and
//! the cutting of a stream into blocks.
//!
//! Knows nothing of blobs or requests.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use async_trait::async_trait;
use azure_core::{http::Body, stream::SeekableStream};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Buf, Bytes};
use futures::{AsyncRead, Stream, StreamExt, stream};
use md5::{Digest, Md5};
use strongroom_core::target::{
    Operation, PayloadStream, TargetError, TargetErrorKind, TargetResult,
};

/// From this size on a sum is not worth holding up other work on the same thread.
const SUM_INLINE_BYTES: u64 = 64 << 10;

/// The length of all `parts` together.
pub(crate) fn length_of(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// `parts` as a body. One buffer goes out as it is.
pub(crate) fn body_of(parts: &[Bytes]) -> Body {
    match parts {
        [] => Body::Bytes(Bytes::new()),
        [single] => Body::Bytes(single.clone()),
        many => Body::SeekableStream(Box::new(Buffers::new(many.to_vec()))),
    }
}

/// The MD5 sum of `parts`, raw.
pub(crate) async fn md5_of(parts: &[Bytes]) -> TargetResult<Vec<u8>> {
    if length_of(parts) < SUM_INLINE_BYTES {
        return Ok(md5_now(parts));
    }
    let parts = parts.to_vec();
    tokio::task::spawn_blocking(move || md5_now(&parts)).await.map_err(|error| {
        let why = "the program is shutting down";
        TargetError::new(TargetErrorKind::Unavailable, Operation::Put, why)
            .retryable(false)
            .because(error)
    })
}

fn md5_now(parts: &[Bytes]) -> Vec<u8> {
    let mut sum = Md5::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize().to_vec()
}

/// A sum as it stands in a header.
pub(crate) fn sum_text(sum: &[u8]) -> String {
    BASE64_STANDARD.encode(sum)
}

/// Many buffers, read one after the other.
#[derive(Debug, Clone)]
struct Buffers {
    parts: Vec<Bytes>,
    length: u64,
    /// Which part is read, and what is left of it.
    at: usize,
    rest: Bytes,
}

impl Buffers {
    fn new(parts: Vec<Bytes>) -> Self {
        let rest = parts.first().cloned().unwrap_or_default();
        Self { length: length_of(&parts), parts, at: 0, rest }
    }
}

impl AsyncRead for Buffers {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() && self.at + 1 < self.parts.len() {
            self.at += 1;
            self.rest = self.parts[self.at].clone();
        }
        let taken = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..taken]);
        Poll::Ready(Ok(taken))
    }
}

#[async_trait]
impl SeekableStream for Buffers {
    async fn reset(&mut self) -> azure_core::Result<()> {
        *self = Self::new(std::mem::take(&mut self.parts));
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        Some(self.length)
    }
}

/// Cuts `stream` into blocks: block number `n` has `bytes_of(n)` bytes, the last one fewer. A
/// stream without bytes gives none.
pub(crate) fn blocks_of(
    stream: PayloadStream,
    bytes_of: impl Fn(u64) -> u64 + Send + 'static,
) -> impl Stream<Item = TargetResult<Vec<Bytes>>> + Send {
    let state = (stream, Bytes::new(), 0u64, bytes_of);
    stream::try_unfold(state, |(mut stream, mut rest, number, bytes_of)| async move {
        let mut room = bytes_of(number);
        let mut block = Vec::new();
        while room > 0 {
            if rest.is_empty() {
                match stream.next().await.transpose()? {
                    Some(part) => rest = part,
                    None => break,
                }
            }
            let taken = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
            let part = rest.split_to(taken);
            room -= part.len() as u64;
            if !part.is_empty() {
                block.push(part);
            }
        }
        Ok((!block.is_empty()).then(|| (block, (stream, rest, number + 1, bytes_of))))
    })
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, TryStreamExt};
    use strongroom_core::target::Payload;

    use super::*;

    fn parts(lengths: &[usize]) -> Vec<Bytes> {
        lengths.iter().enumerate().map(|(i, length)| vec![i as u8; *length].into()).collect()
    }

    #[tokio::test]
    async fn many_buffers_are_read_as_one_and_again() {
        let parts = parts(&[3, 0, 5, 1]);
        let whole = parts.concat();
        let mut body = Buffers::new(parts.clone());
        for _ in 0..2 {
            let mut read = Vec::new();
            body.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, whole);
            body.reset().await.unwrap();
        }
        assert_eq!(body_of(&parts).len(), Some(9));
        assert_eq!(md5_of(&parts).await.unwrap(), md5_now(&[whole.into()]));
        assert_eq!(sum_text(&md5_now(&[])), "1B2M2Y8AsgTpgAmY7PhCfg==");
    }

    #[tokio::test]
    async fn blocks_have_the_lengths_asked_for() {
        for lengths in [&[10, 0, 1, 25][..], &[36], &[1; 36]] {
            let stream = Payload::from(parts(lengths)).into_stream();
            let blocks: Vec<_> =
                blocks_of(stream, |number| 8 << (number / 2)).try_collect().await.unwrap();
            let found: Vec<_> = blocks.iter().map(|block| length_of(block)).collect();
            assert_eq!(found, [8, 8, 16, 4], "{lengths:?}");
            assert_eq!(blocks.concat().concat(), parts(lengths).concat());
        }
        let none = Payload::from(Vec::<Bytes>::new()).into_stream();
        assert_eq!(blocks_of(none, |_| 8).count().await, 0);
    }
}
