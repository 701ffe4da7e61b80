//! Reading an object, a part of it, or what is known about it. Every call blocks.

use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{self, FileType, OFlags, Stat},
    io::retry_on_intr,
};
use strongroom_core::target::{
    ByteRange, ObjectKey, ObjectMeta, Operation, TargetErrorKind, TargetResult,
};

use crate::{
    error::{failed, refused},
    root::Root,
};

/// The bytes of `range`.
pub(crate) fn read(root: &Root, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
    // Without NONBLOCK, a planted pipe would keep us waiting for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let (file, stat) = open(root, key, flags, Operation::Get)?;
    let within = range.within(size_of(&stat));
    let (offset, length) = (within.start, within.end - within.start);
    let mut content = Vec::new();
    let has_room = usize::try_from(length).is_ok_and(|len| content.try_reserve_exact(len).is_ok());
    if !has_room {
        let why = format!("no memory for {length} bytes");
        return Err(refused(Operation::Get, TargetErrorKind::Unavailable, &why).retryable(false));
    }
    read_at(&file, offset, length as usize, &mut content)?;
    Ok(content.into())
}

/// Fills `content`, which has room for exactly `length` bytes.
fn read_at(file: &OwnedFd, offset: u64, length: usize, content: &mut Vec<u8>) -> TargetResult<()> {
    while content.len() < length {
        let at = offset + content.len() as u64;
        let read = retry_on_intr(|| rustix::io::pread(file, spare_capacity(content), at));
        if read.map_err(|errno| failed(Operation::Get, "read", errno))? == 0 {
            let why = format!("the file ended at byte {at} while it was read");
            return Err(refused(Operation::Get, TargetErrorKind::Corrupt, &why));
        }
    }
    // A vector may get more room than it was asked for, and the file may have grown.
    content.truncate(length);
    Ok(())
}

/// Size and time.
pub(crate) fn head(root: &Root, key: &ObjectKey) -> TargetResult<ObjectMeta> {
    let (_, stat) = open(root, key, OFlags::PATH, Operation::Head)?;
    Ok(meta(key.clone(), &stat))
}

/// What a file's attributes say about its object.
pub(crate) fn meta(key: ObjectKey, stat: &Stat) -> ObjectMeta {
    let millis = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    ObjectMeta { key, size_bytes: size_of(stat), modified_ms: i64::try_from(millis).ok() }
}

fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn open(
    root: &Root,
    key: &ObjectKey,
    flags: OFlags,
    operation: Operation,
) -> TargetResult<(OwnedFd, Stat)> {
    let missing = || refused(operation, TargetErrorKind::NotFound, "no such object");
    let file = root.open_below(key.as_str(), flags).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => missing(),
        errno => failed(operation, "open the object", errno),
    })?;
    let stat = fs::fstat(&file).map_err(|errno| failed(operation, "look at the object", errno))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        FileType::Directory => Err(missing()),
        other => {
            let why = format!("not a plain file but a {other:?}");
            Err(refused(operation, TargetErrorKind::Invalid, &why))
        }
    }
}
