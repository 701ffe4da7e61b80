//! Where a file has data: the extents between its holes.

use std::{io, os::fd::AsFd};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// A run of data in a file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub start: u64,
    pub end: u64,
}

/// The extents of data of a file, in order.
pub fn data_extents(file: impl AsFd) -> io::Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut at = 0;
    loop {
        let start = match seek(&file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(extents),
            Err(error) => return Err(error.into()),
        };
        let end = seek(&file, SeekFrom::Hole(start))?;
        extents.push(Extent { start, end });
        at = end;
    }
}
