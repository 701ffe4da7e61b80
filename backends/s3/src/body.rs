//! What is sent: buffers as one HTTP body, without copying, in slices small enough to see them go.
//!
//! Knows checksums and progress, no request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use aws_sdk_s3::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{
            BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
        },
    },
    error::BoxError,
    primitives::{ByteStream, SdkBody},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use http_body::{Body, Frame, SizeHint};

use crate::{config::Checksums, flow::Progress};

/// Progress is seen in steps of this size.
const SLICE_BYTES: usize = 64 << 10;

/// The content of one request, with its checksum. Can be sent again: buffers are shared.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    parts: Vec<Bytes>,
    bytes: u64,
    crc32: Option<String>,
}

impl Content {
    /// Takes the buffers. Where no checksum may be sent they are joined, because then the
    /// signature covers the content instead, and the SDK signs only what is in one piece.
    pub(crate) fn new(parts: Vec<Bytes>, checksums: Checksums) -> Self {
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        match checksums {
            Checksums::WhenSupported => {
                let crc32 = Some(crc32(&parts));
                Self { parts, bytes, crc32 }
            }
            Checksums::WhenRequired => Self { parts: vec![join(parts)], bytes, crc32: None },
        }
    }

    /// The length.
    pub(crate) fn bytes(&self) -> i64 {
        i64::try_from(self.bytes).unwrap_or(i64::MAX)
    }

    /// CRC-32 in base64, as S3 writes it.
    pub(crate) fn crc32(&self) -> Option<String> {
        self.crc32.clone()
    }

    /// The body to sign, and what has to be done with it once it is signed.
    pub(crate) fn body(&self, progress: &Progress) -> (ByteStream, Exchange) {
        let slices = Slices::new(self.parts.clone(), progress.clone());
        match (&self.crc32, self.parts.as_slice()) {
            (None, [whole]) => {
                let exchange = Exchange { with: Some(slices) };
                (ByteStream::from(whole.clone()), exchange)
            }
            _ => (ByteStream::new(SdkBody::from_body_1_x(slices)), Exchange { with: None }),
        }
    }
}

fn crc32(parts: &[Bytes]) -> String {
    let mut digest = Digest::new(CrcAlgorithm::Crc32IsoHdlc);
    parts.iter().for_each(|part| digest.update(part));
    let [_, _, _, _, crc @ ..] = digest.finalize().to_be_bytes();
    BASE64.encode(crc)
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// Puts the same bytes in slices in place of a body that had to be in one piece to be signed.
#[derive(Debug)]
pub(crate) struct Exchange {
    with: Option<Slices>,
}

impl Intercept for Exchange {
    fn name(&self) -> &'static str {
        "Exchange"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(slices) = &self.with {
            *context.request_mut().body_mut() = SdkBody::from_body_1_x(slices.clone());
        }
        Ok(())
    }
}

/// Counts whatever comes back as a sign of life: a storage that puts a large object together
/// sends blanks until it is done.
#[derive(Debug)]
pub(crate) struct SignsOfLife(pub(crate) Progress);

impl Intercept for SignsOfLife {
    fn name(&self) -> &'static str {
        "SignsOfLife"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let inner = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Watched { inner, progress: self.0.clone() });
        Ok(())
    }
}

struct Watched {
    inner: SdkBody,
    progress: Progress,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if frame.is_ready() {
            self.progress.alive();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

/// Buffers as a body.
#[derive(Debug, Clone)]
struct Slices {
    parts: VecDeque<Bytes>,
    left: u64,
    progress: Progress,
}

impl Slices {
    fn new(parts: Vec<Bytes>, progress: Progress) -> Self {
        let left = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts: parts.into(), left, progress }
    }
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        while let Some(first) = this.parts.front_mut() {
            let slice = first.split_to(first.len().min(SLICE_BYTES));
            if first.is_empty() {
                this.parts.pop_front();
            }
            if !slice.is_empty() {
                this.left -= slice.len() as u64;
                this.progress.moved(slice.len());
                return Poll::Ready(Some(Ok(Frame::data(slice))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_sent_whole_and_shared() {
        let big = Bytes::from(vec![7; 3 * SLICE_BYTES + 5]);
        let parts = vec![Bytes::new(), Bytes::from_static(b"ab"), big.clone(), Bytes::new()];
        let mut slices = Slices::new(parts.clone(), Progress::default());
        let mut sent = Vec::new();
        while !slices.is_end_stream() {
            let mut context = Context::from_waker(std::task::Waker::noop());
            let frame = Pin::new(&mut slices).poll_frame(&mut context);
            let Poll::Ready(Some(Ok(frame))) = frame else { panic!("no frame") };
            sent.push(frame.into_data().unwrap());
        }
        assert_eq!(sent.concat(), parts.concat());
        assert!(sent.iter().all(|slice| slice.len() <= SLICE_BYTES));
        assert_eq!(sent[1].as_ptr(), big.as_ptr(), "not copied");
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        let parts = vec![Bytes::from_static(b"1234"), Bytes::from_static(b"56789")];
        let content = Content::new(parts.clone(), Checksums::WhenSupported);
        // The check value of CRC-32: 0xcbf43926.
        assert_eq!(content.crc32().unwrap(), BASE64.encode([0xcb, 0xf4, 0x39, 0x26]));
        let plain = Content::new(parts, Checksums::WhenRequired);
        assert_eq!((plain.crc32(), plain.bytes()), (None, 9));
        let (stream, exchange) = plain.body(&Progress::default());
        assert_eq!(stream.bytes().unwrap(), b"123456789");
        assert!(exchange.with.is_some());
    }
}
