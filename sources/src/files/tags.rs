//! Tags: files whose presence says that the rest of their folder need not be saved.
//!
//! Reads at most the first bytes of a tag.

use std::{
    ffi::{CStr, CString},
    io::Read,
};

use rustix::{
    fd::BorrowedFd,
    fs::{Mode, OFlags},
};
use strongroom_core::{
    entry::{EntryKind, display_name, is_valid_name},
    error::Result,
};

use super::invalid;
use crate::system::{node::OPEN_SAFELY, stat::stat_open};

/// A file that marks a folder whose content is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: CString,
    /// What it must start with; empty if its presence is enough.
    pub header: Vec<u8>,
}

/// Tags are read into memory up to here.
const HEADER_BYTES_MAX: usize = 4_096;

impl Tag {
    /// The tag of caches, as of the Cache Directory Tagging Specification
    /// (<https://bford.info/cachedir/>).
    pub fn cachedir() -> Self {
        Self {
            name: c"CACHEDIR.TAG".to_owned(),
            header: b"Signature: 8a477f597d28d172789f06886806bc55".to_vec(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let refused = |why: &str| Err(invalid(why).on(display_name(self.name.to_bytes())));
        if !is_valid_name(self.name.to_bytes()) {
            return refused("a file whose presence excludes a folder must be a plain name");
        }
        if self.header.len() > HEADER_BYTES_MAX {
            return refused("the content that an excluding file must start with is too long");
        }
        Ok(())
    }

    /// True if the tag in `folder`, known to be there by name, is valid. What cannot be read is
    /// no tag: in doubt, data is saved.
    pub(super) fn is_valid_in(&self, folder: BorrowedFd<'_>) -> bool {
        self.header.is_empty() || starts_with(folder, &self.name, &self.header).unwrap_or(false)
    }
}

fn starts_with(folder: BorrowedFd<'_>, name: &CStr, header: &[u8]) -> std::io::Result<bool> {
    let flags = OFlags::RDONLY | OPEN_SAFELY;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    if stat_open(&file)?.kind != EntryKind::File {
        return Ok(false);
    }
    let mut start = vec![0; header.len()];
    std::fs::File::from(file).read_exact(&mut start)?;
    Ok(start == header)
}
