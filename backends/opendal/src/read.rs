//! Reading: whole objects and parts, with their length made sure of.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use opendal::{Buffer, BufferStream, BytesRange, Operator};
use strongroom_core::target::{ByteRange, Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{
    patience::{Again, Watch, call, is_stall},
    place::Place,
};

/// How often an object is read that was replaced meanwhile, or came short.
const READS_MAX: usize = 4;

/// What `range` names of the object under `name`.
pub(crate) async fn get(place: &Place, name: &str, range: ByteRange) -> TargetResult<Bytes> {
    match range {
        ByteRange::Full => full(place, name).await,
        ByteRange::From { offset, length } => part(place, name, offset, length).await,
    }
}

async fn full(place: &Place, name: &str) -> TargetResult<Bytes> {
    let mut last = short("the object's length is not what the server says it is");
    for _ in 0..READS_MAX {
        match download(place, name, BytesRange::from(..)).await {
            Ok(whole) if !place.traits.compares_length => return Ok(whole),
            Ok(whole) if size(place, name).await? == whole.len() as u64 => return Ok(whole),
            Ok(_) => {}
            Err(error) if is_cut(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// True if the answer ended before its announced end, as it does if the object was replaced in
/// mid-answer. A connection that breaks, and does so again, is the business of others.
fn is_cut(error: &TargetError) -> bool {
    let text = error.to_string();
    ["end of file before message length", "too little data"].iter().any(|cut| text.contains(cut))
}

/// A part that lies inside the object takes one request; only if that fails, or brings less, the
/// size of the object tells what was right.
async fn part(place: &Place, name: &str, offset: u64, length: u64) -> TargetResult<Bytes> {
    let first = match offset.checked_add(length) {
        Some(end) if length > 0 => {
            match download(place, name, BytesRange::from(offset..end)).await {
                Ok(bytes) if bytes.len() as u64 == length => return Ok(bytes),
                Err(error) if error.kind() == TargetErrorKind::NotFound || is_stall(&error) => {
                    return Err(error);
                }
                first => Some(first),
            }
        }
        _ => None,
    };
    let within = ByteRange::From { offset, length }.within(size(place, name).await?);
    let expected = within.end - within.start;
    match first {
        _ if expected == 0 => Ok(Bytes::new()),
        Some(Ok(bytes)) if bytes.len() as u64 == expected => Ok(bytes),
        Some(Err(error)) if expected == length => Err(error),
        _ => {
            let bytes = download(place, name, BytesRange::from(within)).await?;
            if bytes.len() as u64 == expected {
                Ok(bytes)
            } else {
                Err(short("the server sent fewer bytes than the object has"))
            }
        }
    }
}

fn short(why: &str) -> TargetError {
    TargetError::new(TargetErrorKind::Unavailable, Operation::Get, why)
}

async fn size(place: &Place, name: &str) -> TargetResult<u64> {
    Ok(place.stat(Operation::Get, name).await?.content_length())
}

async fn download(place: &Place, name: &str, range: BytesRange) -> TargetResult<Bytes> {
    let (mut watch, mut parts) = (Watch::begin(), Vec::new());
    let length = |part: &Option<Buffer>| part.as_ref().map_or(0, |part| part.len() as u64);
    let operator = place.operator_for_transfer()?;
    let mut stream = begin(&operator, name, range).await?;
    let mut first = watch.step(stream.try_next(), length).await;
    let mut again = Again::default();
    while again.after(&first).await {
        stream = begin(&operator, name, range).await?;
        first = watch.step(stream.try_next(), length).await;
    }
    let Some(first) = first? else { return Ok(Bytes::new()) };
    parts.push(first.to_bytes());
    while let Some(part) = watch.step(stream.try_next(), length).await? {
        parts.push(part.to_bytes());
    }
    Ok(joined(parts))
}

async fn begin(operator: &Operator, name: &str, range: BytesRange) -> TargetResult<BufferStream> {
    let reader = call(Operation::Get, operator.reader(name)).await?;
    call(Operation::Get, reader.into_stream(range)).await
}

fn joined(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts {
        whole.extend_from_slice(&part);
    }
    whole.freeze()
}
