//! Reading an object, a part of it, or what is known about it.
//!
//! What fits into one request is read in one round trip; more is read from one open file, so
//! that it is one version of the object, with several requests on their way.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use smb2::{ErrorKind, FileReader, pack::FileTime};
use strongroom_core::target::{
    ByteRange, ObjectKey, ObjectMeta, Operation, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    error::{failed, is_missing, refused},
    link::Link,
    request,
};

/// What is read in the round trip that opens the file.
const FIRST_BYTES: u32 = 256 << 10;
/// What one request reads, and how many are on their way.
const PIECE_BYTES: u64 = 1 << 20;
const PIECES_AT_ONCE: usize = 8;

/// The bytes of `range` of the file `path`.
pub(crate) async fn read(link: &Arc<Link>, path: &str, range: ByteRange) -> TargetResult<Bytes> {
    let (offset, wanted) = match range {
        ByteRange::Full => (0, u64::from(FIRST_BYTES)),
        ByteRange::From { offset, length } => (offset, length),
    };
    // Servers count positions with a sign.
    let offset = offset.min(i64::MAX as u64 - u64::from(FIRST_BYTES));
    if let Some(length) = u32::try_from(wanted).ok().filter(|length| *length <= FIRST_BYTES) {
        let part = link.ask(request::read(link, path, offset, length)).await.map_err(not_read)?;
        let within = range.within(part.size_bytes);
        let length = within.end - within.start;
        let mut bytes = part.bytes;
        if bytes.len() as u64 >= length {
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            return Ok(bytes.into());
        }
        if length <= u64::from(FIRST_BYTES) {
            return Err(ended_early(within.start + bytes.len() as u64));
        }
    }
    read_in_pieces(link, path, range).await
}

async fn read_in_pieces(link: &Arc<Link>, path: &str, range: ByteRange) -> TargetResult<Bytes> {
    let (tree, connection, name) = (link.tree().clone(), link.connection(), path.to_owned());
    let opened = async move { tree.open_file_reader(connection, &name).await };
    let reader = link.ask_to_the_end(opened).await.map_err(not_read)?;
    if reader.info().is_directory {
        return Err(refused(Operation::Get, TargetErrorKind::NotFound, "that is a folder"));
    }
    let within = range.within(reader.size());
    let length = within.end - within.start;
    let mut content = Vec::new();
    let has_room = usize::try_from(length).is_ok_and(|len| content.try_reserve_exact(len).is_ok());
    if !has_room {
        let why = format!("no memory for {length} bytes");
        let error = refused(Operation::Get, TargetErrorKind::Unavailable, &why);
        return Err(error.retryable(false));
    }
    let step = PIECE_BYTES as usize;
    stream::iter(within.clone().step_by(step))
        .map(|at| piece(link, &reader, at, PIECE_BYTES.min(within.end - at)))
        .buffered(PIECES_AT_ONCE)
        .try_for_each(|piece| {
            content.extend_from_slice(&piece);
            std::future::ready(Ok(()))
        })
        .await?;
    // That the file is read is all that matters.
    let _ = link.ask(reader.close()).await;
    Ok(content.into())
}

async fn piece(link: &Link, reader: &FileReader, at: u64, length: u64) -> TargetResult<Vec<u8>> {
    let bytes = link.ask(reader.read_at(at, length)).await.map_err(not_read)?;
    if bytes.len() as u64 != length {
        return Err(ended_early(at + bytes.len() as u64));
    }
    Ok(bytes)
}

/// Size and time of the file `path`.
pub(crate) async fn head(link: &Link, path: &str, key: &ObjectKey) -> TargetResult<ObjectMeta> {
    let found = link.ask(link.tree().stat(&mut link.connection(), path)).await;
    let found = found.map_err(|error| not_found_or(Operation::Head, "look at the file", error))?;
    if found.is_directory {
        return Err(refused(Operation::Head, TargetErrorKind::NotFound, "that is a folder"));
    }
    Ok(meta(key.clone(), found.size, found.modified))
}

/// What a file's size and time say about its object.
pub(crate) fn meta(key: ObjectKey, size_bytes: u64, modified: FileTime) -> ObjectMeta {
    ObjectMeta { key, size_bytes, modified_ms: unix_ms(modified) }
}

/// Milliseconds since 1970 of a count of 100 nanoseconds since 1601; zero is no time.
fn unix_ms(time: FileTime) -> Option<i64> {
    const EPOCH_MS: i64 = 11_644_473_600_000;
    let since_1601_ms = i64::try_from(time.0 / 10_000).ok()?;
    (time.0 != 0).then(|| since_1601_ms - EPOCH_MS)
}

fn not_read(error: smb2::Error) -> TargetError {
    not_found_or(Operation::Get, "read", error)
}

fn not_found_or(operation: Operation, step: &str, error: smb2::Error) -> TargetError {
    let is_no_file = matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory);
    if is_no_file || is_missing(&error) {
        let why = "there is no such object";
        return refused(operation, TargetErrorKind::NotFound, why).because(error);
    }
    failed(operation, step, error)
}

fn ended_early(at: u64) -> TargetError {
    let why = format!("the file ended at byte {at} while it was read");
    refused(Operation::Get, TargetErrorKind::Corrupt, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_windows_become_times_of_unix() {
        assert_eq!(unix_ms(FileTime(116_444_736_000_000_000)), Some(0));
        assert_eq!(unix_ms(FileTime(133_485_408_000_001_234)), Some(1_704_067_200_000));
        assert_eq!(unix_ms(FileTime(0)), None);
        assert_eq!(unix_ms(FileTime(10_000)), Some(-11_644_473_599_999));
        assert!(unix_ms(FileTime(u64::MAX)).is_some());
    }
}
