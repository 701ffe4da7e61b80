//! From a payload to an object under a name that nobody looks at yet, or under its own name where
//! the service shows only whole objects. Memory stays bounded.
//!
//! Knows nothing of who may create what.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use opendal::{
    Buffer, Capability, Operator, Writer,
    options::WriteOptions,
    raw::{OpWrite, oio::Write},
};
use strongroom_core::target::{
    Operation, Payload, PayloadStream, TargetError, TargetErrorKind, TargetResult,
};

use crate::patience::{Again, call, tidy, upload};

/// A part of a multipart upload.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 2;

/// How much is handed on at once where there are no parts: a stall shows early.
const PIECE_BYTES: usize = 256 << 10;

/// What a stream may have where OpenDAL sends objects in one piece only, as it then must be
/// gathered in memory.
pub(crate) const GATHERED_BYTES_MAX: u64 = 256 << 20;

/// How to write.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// The service is to refuse if the name is taken.
    pub(crate) if_absent: bool,
    /// An object without bytes needs a write of nothing.
    pub(crate) writes_nothing: bool,
}

/// Writes `payload` under `path`. After a failure nothing is finished.
pub(crate) async fn write(
    operator: &Operator,
    path: &str,
    payload: Payload,
    manner: Manner,
) -> TargetResult<()> {
    let capability = operator.info().capability();
    let whole = match payload {
        Payload::Buffered(parts) if !capability.write_can_multi => parts,
        Payload::Streamed(stream) if !capability.write_can_multi => gather(stream).await?,
        payload => return write_parts(operator, path, payload, manner, &capability).await,
    };
    write_whole(operator, path, whole, manner).await
}

/// Sends all at once.
async fn write_whole(
    operator: &Operator,
    path: &str,
    parts: Vec<Bytes>,
    manner: Manner,
) -> TargetResult<()> {
    let whole = Buffer::from(parts);
    let bytes = whole.len() as u64;
    let options = WriteOptions { if_not_exists: manner.if_absent, ..WriteOptions::default() };
    upload(bytes, async {
        let mut writer = operator.writer_options(path, options).await?;
        writer.write(whole).await?;
        writer.close().await
    })
    .await
    .map(drop)
}

async fn gather(mut stream: PayloadStream) -> TargetResult<Vec<Bytes>> {
    let (mut parts, mut bytes) = (Vec::new(), 0);
    while let Some(part) = stream.next().await {
        let part = part?;
        bytes += part.len() as u64;
        if bytes > GATHERED_BYTES_MAX {
            let why = "a stream of more than 256 MiB, which OpenDAL cannot send in parts there";
            return Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Put, why));
        }
        parts.push(part);
    }
    Ok(parts)
}

async fn write_parts(
    operator: &Operator,
    path: &str,
    payload: Payload,
    manner: Manner,
    capability: &Capability,
) -> TargetResult<()> {
    let has_parts = capability.write_multi_min_size.is_some();
    let options = WriteOptions {
        if_not_exists: manner.if_absent,
        chunk: has_parts.then_some(PART_BYTES),
        concurrent: if has_parts { PARTS_AT_ONCE } else { 1 },
        ..WriteOptions::default()
    };
    let piece = if has_parts { PART_BYTES } else { PIECE_BYTES };
    let mut pieces = cut(payload.into_stream(), piece);
    let first = pieces.try_next().await?;
    if first.is_none() && manner.writes_nothing {
        return write_nothing(operator, path).await;
    }
    let mut writer = begin(operator, path, &options, first.clone()).await?;
    match feed(&mut writer, pieces).await {
        Ok(()) => upload((PART_BYTES * PARTS_AT_ONCE) as u64, writer.close()).await.map(drop),
        Err(error) => {
            give_up(writer, path).await;
            Err(error)
        }
    }
}

/// A writer that has taken the first piece. Where an answer that says nothing was in the way,
/// nothing of the object is on its way yet, so that another writer can begin.
async fn begin(
    operator: &Operator,
    path: &str,
    options: &WriteOptions,
    first: Option<Bytes>,
) -> TargetResult<Writer> {
    let mut again = Again::default();
    loop {
        let made = operator.writer_options(path, options.clone());
        let mut writer = call(Operation::Put, made).await?;
        let Some(piece) = first.clone() else { return Ok(writer) };
        let written = upload(piece.len() as u64, writer.write(piece)).await;
        if written.is_ok() {
            return Ok(writer);
        }
        give_up(writer, path).await;
        if !again.after(&written).await {
            written?;
        }
    }
}

/// Ends a writer without finishing the object: closing it could finish a part of it. Some cannot
/// abort; dropping the writer is all there is then.
async fn give_up(mut writer: Writer, path: &str) {
    tidy(path, writer.abort()).await;
}

/// The stream in pieces of at most `size` bytes, none of them empty.
pub(crate) fn cut(stream: PayloadStream, size: usize) -> PayloadStream {
    stream
        .map_ok(move |mut part| {
            let pieces = std::iter::from_fn(move || {
                (!part.is_empty()).then(|| Ok(part.split_to(part.len().min(size))))
            });
            stream::iter(pieces)
        })
        .try_flatten()
        .boxed()
}

async fn feed(writer: &mut Writer, mut pieces: PayloadStream) -> TargetResult<()> {
    while let Some(piece) = pieces.try_next().await? {
        upload(piece.len() as u64, writer.write(piece)).await?;
    }
    Ok(())
}

/// OpenDAL's writer drops empty buffers, and some services then store nothing at all.
async fn write_nothing(operator: &Operator, path: &str) -> TargetResult<()> {
    call(Operation::Put, async {
        let mut writer = operator.service().write_dyn(operator.context(), path, OpWrite::new())?;
        writer.write(Buffer::new()).await?;
        writer.close().await
    })
    .await
    .map(drop)
}
