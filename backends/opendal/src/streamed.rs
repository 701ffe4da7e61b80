//! A stream of any length to a service whose objects OpenDAL sends in one piece, and whose uploads
//! need no length beforehand (WebDAV). OpenDAL makes its request with an empty body, and the
//! transport puts the stream in its place, so that memory stays small.
//!
//! Knows nothing of who may create what: `path` is a name that nobody looks at yet.

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt, TryStreamExt,
    future::{Either, join, select},
    stream,
};
use opendal::{Buffer, Metadata, Operator};
use strongroom_core::target::{
    Operation, Payload, PayloadStream, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    error::{HINT_CHUNKED, mapped},
    patience::{Sending, answer, is_stall, tidy},
    pipe::{Feed, pipe},
    place::Place,
    upload::{Manner, cut, write},
};

/// A stream of no more than this is sent with its length: every server takes that.
const SMALL_BYTES: usize = 4 << 20;

/// How much goes on at once: a stall shows early.
const PIECE_BYTES: usize = 64 << 10;

/// Writes `stream` under `path`, and makes sure that all of it is there. After a failure a part
/// of it may be.
pub(crate) async fn write_stream(
    place: &Place,
    path: &str,
    mut stream: PayloadStream,
) -> TargetResult<()> {
    let mut head = BytesMut::new();
    let next = loop {
        match stream.try_next().await? {
            Some(part) if head.len() + part.len() > SMALL_BYTES => break part,
            // Copied, so that many tiny parts take no more room than their bytes.
            Some(part) => head.extend_from_slice(&part),
            None => {
                let whole = Payload::from(head.freeze());
                return write(&place.operator, path, whole, Manner::default()).await;
            }
        }
    };
    let whole = stream::iter([Ok(head.freeze()), Ok(next)]).chain(stream).boxed();
    let sent = send(place, path, cut(whole, PIECE_BYTES), None).await?;
    ensure_whole(place, path, sent).await
}

/// Writes `parts` under `path`: piece by piece where they are many bytes, so that a server that
/// stops taking them is noticed while they are under way.
pub(crate) async fn write_parts(place: &Place, path: &str, parts: Vec<Bytes>) -> TargetResult<()> {
    let payload = Payload::Buffered(parts);
    match payload.len() {
        Some(length) if length > SMALL_BYTES as u64 => {
            let pieces = cut(payload.into_stream(), PIECE_BYTES);
            let sent = send(place, path, pieces, Some(length)).await?;
            ensure_whole(place, path, sent).await
        }
        _ => write(&place.operator, path, payload, Manner::default()).await,
    }
}

/// Sends the pieces as the body of one request; gives how many bytes they had.
async fn send(
    place: &Place,
    path: &str,
    pieces: PayloadStream,
    length: Option<u64>,
) -> TargetResult<u64> {
    let (feed, body) = pipe(length);
    let operator = place.operator_carrying(body);
    let request = std::pin::pin!(request(&operator, path));
    let feeding = std::pin::pin!(fill(&feed, pieces));
    let sent = match select(feeding, request).await {
        Either::Left((Ok(fed), request)) => {
            answer(fed.unwrap_or_default(), request).await?;
            // a body of known length ends with its last byte, before its end is said
            fed.or(length)
        }
        Either::Left((Err(error), request)) => {
            if !is_stall(&error) {
                tidy(path, end_early(&feed, request)).await;
            }
            return Err(error);
        }
        Either::Right((answered, _)) => {
            answered.map_err(|error| mapped(Operation::Put, error))?;
            length
        }
    };
    sent.ok_or_else(|| {
        let why = "the server said that all was well before it had all";
        TargetError::new(TargetErrorKind::Unavailable, Operation::Put, why)
    })
}

async fn request(operator: &Operator, path: &str) -> opendal::Result<Metadata> {
    let mut writer = operator.writer(path).await?;
    writer.write(Buffer::new()).await?;
    writer.close().await
}

/// Hands on the pieces as fast as the storage takes them; gives how many bytes they had, or `None`
/// if the request ended before, whose answer tells why.
async fn fill(feed: &Feed, mut pieces: PayloadStream) -> TargetResult<Option<u64>> {
    let (mut sending, mut sent) = (Sending::default(), 0);
    while let Some(piece) = pieces.try_next().await? {
        let bytes = piece.len() as u64;
        if sending.step(bytes, feed.piece(piece)).await?.is_err() {
            return Ok(None);
        }
        sent += bytes;
    }
    let ended = sending.step(0, feed.end()).await?;
    Ok(ended.is_ok().then_some(sent))
}

/// Ends the request in good order though the stream has failed: a server may store what it got of
/// a request that breaks off, and do so after the name was deleted (rclone). Once it has answered
/// it has done with the name, which the caller deletes.
async fn end_early(
    feed: &Feed,
    request: impl Future<Output = opendal::Result<Metadata>>,
) -> opendal::Result<()> {
    let (_, answered) = join(feed.end(), request).await;
    answered.map(drop)
}

/// Some servers and proxies store nothing or a part of an upload of unknown length, and say that
/// all is well.
async fn ensure_whole(place: &Place, path: &str, sent: u64) -> TargetResult<()> {
    let stored = place.stat(Operation::Put, path).await?.content_length();
    if stored == sent {
        return Ok(());
    }
    let why = format!("the server stored {stored} of {sent} bytes");
    Err(match stored {
        0 => TargetError::new(TargetErrorKind::Unsupported, Operation::Put, why).hint(HINT_CHUNKED),
        _ => TargetError::new(TargetErrorKind::Unavailable, Operation::Put, why),
    })
}
