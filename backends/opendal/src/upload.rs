//! From a payload to an object under a name that nobody looks at yet, or under its own name where
//! the service shows only whole objects. Memory stays bounded.
//!
//! Knows nothing of who may create what.

use bytes::Bytes;
use futures::StreamExt;
use opendal::{
    Buffer, Capability, Operator, Writer,
    options::WriteOptions,
    raw::{OpWrite, oio::Write},
};
use strongroom_core::target::{
    Operation, Payload, PayloadStream, TargetError, TargetErrorKind, TargetResult,
};

use crate::patience::{call, upload};

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

/// Writes `payload` under `path`; gives its length. After a failure nothing is finished.
pub(crate) async fn write(
    operator: &Operator,
    path: &str,
    payload: Payload,
    manner: Manner,
) -> TargetResult<u64> {
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
) -> TargetResult<u64> {
    let whole = Buffer::from(parts);
    let bytes = whole.len() as u64;
    let options = WriteOptions { if_not_exists: manner.if_absent, ..WriteOptions::default() };
    upload(bytes, async {
        let mut writer = operator.writer_options(path, options).await?;
        writer.write(whole).await?;
        writer.close().await
    })
    .await?;
    Ok(bytes)
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
) -> TargetResult<u64> {
    let has_parts = capability.write_multi_min_size.is_some();
    let options = WriteOptions {
        if_not_exists: manner.if_absent,
        chunk: has_parts.then_some(PART_BYTES),
        concurrent: if has_parts { PARTS_AT_ONCE } else { 1 },
        ..WriteOptions::default()
    };
    let piece = if has_parts { PART_BYTES } else { PIECE_BYTES };
    let mut writer = call(Operation::Put, operator.writer_options(path, options)).await?;
    match feed(&mut writer, payload.into_stream(), piece).await {
        Ok(0) if manner.writes_nothing => write_nothing(operator, path).await,
        Ok(bytes) => {
            upload((PART_BYTES * PARTS_AT_ONCE) as u64, writer.close()).await?;
            Ok(bytes)
        }
        Err(error) => {
            // Never closed, as that could finish a part of an object. Some cannot abort: dropping
            // the writer is all there is then.
            if let Err(error) = call(Operation::Put, writer.abort()).await {
                tracing::debug!(%error, path, "an upload was dropped, not aborted");
            }
            Err(error)
        }
    }
}

async fn feed(writer: &mut Writer, mut stream: PayloadStream, piece: usize) -> TargetResult<u64> {
    let mut bytes = 0;
    while let Some(part) = stream.next().await {
        let mut part = part?;
        bytes += part.len() as u64;
        while !part.is_empty() {
            let next = part.split_to(part.len().min(piece));
            upload(next.len() as u64, writer.write(next)).await?;
        }
    }
    Ok(bytes)
}

/// OpenDAL's writer drops empty buffers, and some services then store nothing at all.
async fn write_nothing(operator: &Operator, path: &str) -> TargetResult<u64> {
    call(Operation::Put, async {
        let mut writer = operator.service().write_dyn(operator.context(), path, OpWrite::new())?;
        writer.write(Buffer::new()).await?;
        writer.close().await
    })
    .await?;
    Ok(0)
}
