//! An open file of the file source, read as a stream or extent by extent.
//!
//! Knows nothing of paths: the descriptor is all it has.

use std::{io, ops::Range};

use rustix::{
    fd::OwnedFd,
    fs::SeekFrom,
    io::{Errno, retry_on_intr},
};
use strongroom_core::{entry::Stat, source::SourceFile};

use crate::system::stat::stat_open;

/// A file being read.
#[derive(Debug)]
pub(super) struct FileReader {
    descriptor: OwnedFd,
    position: u64,
    /// Where the extent of data ends that is read now.
    extent_end: Option<u64>,
}

impl FileReader {
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor, position: 0, extent_end: None }
    }

    /// The first data at or after `offset`, or where the hole after `offset` starts.
    fn seek(&self, target: SeekFrom) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.descriptor, target) {
            Ok(position) => Ok(Some(position)),
            // Past the end, or no data up to there.
            Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// For file systems that cannot tell holes from data: everything is data.
    fn rest(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let size = stat_open(&self.descriptor)?.size;
        Ok((offset < size).then_some(offset..size))
    }

    fn find_extent(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let start = match self.seek(SeekFrom::Data(offset)) {
            Ok(Some(start)) => start,
            Ok(None) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                return self.rest(offset);
            }
            Err(error) => return Err(error),
        };
        // `None`: cut off in between.
        Ok(self.seek(SeekFrom::Hole(start))?.map(|end| start..end))
    }
}

impl SourceFile for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = match self.extent_end {
            Some(end) => {
                let left = usize::try_from(end.saturating_sub(self.position));
                left.unwrap_or(usize::MAX).min(buffer.len())
            }
            None => buffer.len(),
        };
        if room == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..room];
        let position = self.position;
        let length = retry_on_intr(|| rustix::io::pread(&self.descriptor, &mut *buffer, position))?;
        self.position += length as u64;
        Ok(length)
    }

    fn next_extent(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let extent = self.find_extent(offset)?;
        let (position, end) = extent.as_ref().map_or((offset, offset), |e| (e.start, e.end));
        (self.position, self.extent_end) = (position, Some(end));
        Ok(extent)
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        stat_open(&self.descriptor).map(Some)
    }
}
