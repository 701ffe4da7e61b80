//! Names for what is not complete yet.

use std::{
    ffi::CString,
    hash::{BuildHasher, RandomState},
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{fd::BorrowedFd, fs::AtFlags, io::Errno};

/// What temporary names begin with.
pub(super) const PREFIX: &str = ".strongroom-";

/// Tries until a name is free; one is enough unless somebody guesses them.
const TRIES_MAX: usize = 100;

/// Makes names that nobody else uses.
#[derive(Debug)]
pub(super) struct TemporaryNames {
    random: u64,
    next: AtomicU64,
}

impl TemporaryNames {
    pub(super) fn new() -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self { random, next: AtomicU64::new(0) }
    }

    /// Calls `make` with names until it does not find one taken; returns the name that it used.
    pub(super) fn make<T>(
        &self,
        make: impl Fn(&CString) -> Result<T, Errno>,
    ) -> io::Result<(CString, T)> {
        for _ in 0..TRIES_MAX {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = CString::new(format!("{PREFIX}{:016x}-{number}", self.random))?;
            match make(&name) {
                Ok(made) => return Ok((name, made)),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("no free temporary name"))
    }
}

/// Renames `temporary` to `name`, replacing anything but a folder; on failure nothing stays.
pub(super) fn put_in_place(
    folder: BorrowedFd<'_>,
    temporary: &CString,
    name: &CString,
) -> io::Result<()> {
    let renamed = rustix::fs::renameat(folder, temporary, folder, name);
    if let Err(error) = renamed {
        discard(folder, temporary);
        return Err(error.into());
    }
    Ok(())
}

/// Removes what was made under a temporary name.
pub(super) fn discard(folder: BorrowedFd<'_>, temporary: &CString) {
    // it may be gone, and there is nothing else to do about it
    let _ = rustix::fs::unlinkat(folder, temporary, AtFlags::empty());
}
