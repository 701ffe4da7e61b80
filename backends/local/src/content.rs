//! A new file's content, written from start to end and brought to disk.
//!
//! Large content goes past the page cache (`O_DIRECT`): it is synced at once anyway, so the cache
//! would only cost a copy, processor time to write back, and room that the machine's own work
//! needs. Where the file system refuses that, the same bytes go the usual way. Knows nothing of
//! names or folders.

use std::{io::IoSlice, os::fd::OwnedFd};

use bytes::Bytes;
use rustix::{
    fs::{self, FallocateFlags, OFlags},
    io::{Errno, retry_on_intr},
};

use crate::root::SysResult;

/// Content whose first part is at least this long goes past the page cache; also what is gathered
/// into one such write.
const DIRECT_BYTES: usize = 1 << 20;

/// Address, offset and length of direct writes are multiples of this: no disk asks for more.
const ALIGNMENT: usize = 4096;

/// The most buffers that one `writev` takes on Linux.
const BUFFERS_MAX: usize = 1024;

/// Writes one file.
#[derive(Debug)]
pub(crate) struct ContentWriter {
    file: OwnedFd,
    /// How many bytes the file holds.
    length: u64,
    route: Route,
}

#[derive(Debug)]
enum Route {
    /// Nothing was written yet.
    Open,
    /// Through the page cache.
    Cached,
    /// Past it, by way of an aligned buffer.
    Direct(Staging),
}

impl ContentWriter {
    /// Writes to `file`, which is empty.
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self { file, length: 0, route: Route::Open }
    }

    /// The file.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Appends `parts`. All of the content at once is best: room for it is then reserved.
    pub(crate) fn append(&mut self, parts: &[Bytes]) -> SysResult<()> {
        let length: usize = parts.iter().map(Bytes::len).sum();
        if matches!(self.route, Route::Open) && length > 0 {
            self.route = self.choose_route(length)?;
        }
        let (file, length) = (&self.file, &mut self.length);
        match &mut self.route {
            Route::Direct(staging) => {
                parts.iter().try_for_each(|part| staging.append(file, length, part))
            }
            Route::Open | Route::Cached => {
                let filled: Vec<&Bytes> = parts.iter().filter(|part| !part.is_empty()).collect();
                filled.chunks(BUFFERS_MAX).try_for_each(|parts| write_parts(file, length, parts))
            }
        }
    }

    fn choose_route(&self, length: usize) -> SysResult<Route> {
        if length < DIRECT_BYTES {
            return Ok(Route::Cached);
        }
        reserve(&self.file, length as u64)?;
        Ok(match set_direct(&self.file, true) {
            Ok(()) => Route::Direct(Staging::new()),
            Err(_) => Route::Cached,
        })
    }

    /// Brings everything to disk. After an error nothing is known of the content, and a second
    /// call would prove nothing.
    pub(crate) fn finish(&mut self) -> SysResult<()> {
        if let Route::Direct(staging) = &mut self.route {
            staging.finish(&self.file, &mut self.length)?;
        }
        retry_on_intr(|| fs::fsync(&self.file))
    }
}

/// Reserves room: one piece instead of many, and a full disk is noticed before the work is done.
fn reserve(file: &OwnedFd, length: u64) -> SysResult<()> {
    match retry_on_intr(|| fs::fallocate(file, FallocateFlags::empty(), 0, length)) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(errno),
        // Others mean that the file system cannot do it; writing will tell the rest.
        _ => Ok(()),
    }
}

fn set_direct(file: &OwnedFd, is_direct: bool) -> SysResult<()> {
    let mut flags = fs::fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    fs::fcntl_setfl(file, flags)
}

/// An aligned buffer that fills up before it is written.
struct Staging {
    memory: Vec<u8>,
    /// Where the aligned part of `memory` begins.
    start: usize,
    filled: usize,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl Staging {
    fn new() -> Self {
        let memory = vec![0; DIRECT_BYTES + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, filled: 0 }
    }

    fn append(&mut self, file: &OwnedFd, length: &mut u64, mut part: &[u8]) -> SysResult<()> {
        while !part.is_empty() {
            let end = self.start + self.filled;
            let room = &mut self.memory[end..self.start + DIRECT_BYTES];
            let (now, later) = part.split_at(part.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            part = later;
            if self.filled == DIRECT_BYTES {
                self.flush(file, length, DIRECT_BYTES)?;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left: whole blocks directly, the odd bytes at the end through the cache.
    fn finish(&mut self, file: &OwnedFd, length: &mut u64) -> SysResult<()> {
        let whole = self.filled - self.filled % ALIGNMENT;
        self.flush(file, length, whole)?;
        let odd = self.start + whole..self.start + self.filled;
        self.filled = 0;
        if odd.is_empty() {
            return Ok(());
        }
        set_direct(file, false)?;
        write_all(file, length, &self.memory[odd])
    }

    fn flush(&self, file: &OwnedFd, length: &mut u64, count: usize) -> SysResult<()> {
        write_all(file, length, &self.memory[self.start..self.start + count])
    }
}

/// Appends every byte to a file of `length`. Refused as unaligned, by a disk with larger blocks or
/// after a short write, it goes on through the cache.
fn write_all(file: &OwnedFd, length: &mut u64, mut rest: &[u8]) -> SysResult<()> {
    while !rest.is_empty() {
        match retry_on_intr(|| rustix::io::pwrite(file, rest, *length)) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                rest = &rest[written..];
                *length += written as u64;
            }
            Err(Errno::INVAL) if fs::fcntl_getfl(file)?.contains(OFlags::DIRECT) => {
                set_direct(file, false)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Appends every byte of `parts`, none of which is empty, to a file of `length`.
fn write_parts(file: &OwnedFd, length: &mut u64, parts: &[&Bytes]) -> SysResult<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match retry_on_intr(|| rustix::io::pwritev(file, rest, *length))? {
            0 => return Err(Errno::IO),
            written => {
                IoSlice::advance_slices(&mut rest, written);
                *length += written as u64;
            }
        }
    }
    Ok(())
}
