//! What `put` stores: a list of byte buffers, or a stream whose length nobody knows yet.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream, stream::BoxStream};

use super::TargetResult;

/// Buffers of an object in order, each available only once.
pub type PayloadStream = BoxStream<'static, TargetResult<Bytes>>;

/// The content of an object on its way to a target.
///
/// Buffered payloads (all that a repository writes) can be sent again by the retry layer without
/// copying. Streamed ones, of unknown length and bounded memory, get one try; an error inside
/// the stream makes the `put` fail and leaves no object.
pub enum Payload {
    /// The whole content, in order.
    Buffered(Vec<Bytes>),
    /// Content that is produced while it is sent.
    Streamed(PayloadStream),
}

impl Payload {
    /// The length, if it is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Buffered(parts) => Some(parts.iter().map(|part| part.len() as u64).sum()),
            Self::Streamed(_) => None,
        }
    }

    /// True if it is known that there is not one byte.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// A copy to try again with; shares the bytes. `None` for a stream.
    pub fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Buffered(parts) => Some(Self::Buffered(parts.clone())),
            Self::Streamed(_) => None,
        }
    }

    /// The content as a stream of buffers.
    pub fn into_stream(self) -> PayloadStream {
        match self {
            Self::Buffered(parts) => stream::iter(parts.into_iter().map(Ok)).boxed(),
            Self::Streamed(stream) => stream,
        }
    }

    /// The content in one buffer; reads a stream to its end. For targets that hold objects in
    /// memory, and for tests.
    pub async fn into_bytes(self) -> TargetResult<Bytes> {
        if let Self::Buffered(parts) = &self
            && let [single] = parts.as_slice()
        {
            return Ok(single.clone());
        }
        let mut whole = BytesMut::new();
        let mut stream = self.into_stream();
        while let Some(part) = stream.next().await {
            whole.extend_from_slice(&part?);
        }
        Ok(whole.freeze())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            Some(length) => write!(f, "Payload({length} bytes)"),
            None => f.write_str("Payload(stream)"),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Buffered(vec![bytes])
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Vec<Bytes>> for Payload {
    fn from(parts: Vec<Bytes>) -> Self {
        Self::Buffered(parts)
    }
}
