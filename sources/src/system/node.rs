//! One entry of a folder, held by a descriptor, whatever its kind: reads and writes the metadata
//! of exactly that inode, however names change meanwhile.
//!
//! Files and folders are opened; links, pipes, sockets, devices and what may not be opened are
//! held by an `O_PATH` descriptor, which never blocks and has no effect on a device. What the
//! system does not offer on such a descriptor goes through its name in `/proc/self/fd`.

use std::{ffi::CStr, io};

use rustix::{
    fd::{AsRawFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};
use strongroom_core::entry::{EntryKind, FileTime, Stat, display_name};

use super::stat::{kind_name, stat_open};

/// Extended attributes as pairs of name and value, sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The kernel's own limits (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_BYTES_MAX: usize = 65_536;
/// Enough for nearly every list and value, and cheap on the stack.
const XATTR_BYTES_USUAL: usize = 1_024;

/// Flags that never follow a last link, never block and never become a controlling terminal.
pub(crate) const OPEN_SAFELY: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// A held entry.
#[derive(Debug)]
pub(crate) enum Node {
    /// Open for reading: all calls on descriptors work.
    Open(OwnedFd),
    /// Held by `O_PATH`.
    Held(OwnedFd),
}

impl Node {
    /// Holds `name` in `folder`, expected to be of `kind`, as far as that decides how to open it;
    /// callers that must know ask [`Self::expect`].
    pub(crate) fn hold(folder: BorrowedFd<'_>, name: &CStr, kind: EntryKind) -> io::Result<Self> {
        let flags = match kind {
            EntryKind::File => OFlags::RDONLY | OPEN_SAFELY,
            EntryKind::Dir => OFlags::RDONLY | OFlags::DIRECTORY | OPEN_SAFELY,
            _ => return Self::hold_path(folder, name),
        };
        match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Self::Open(descriptor)),
            Err(Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NXIO | Errno::NOTDIR) => {
                Self::hold_path(folder, name)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hold_path(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self::Held(rustix::fs::openat(folder, name, flags, Mode::empty())?))
    }

    /// Stat of the held entry, if it is of `kind`.
    pub(crate) fn expect(&self, kind: EntryKind) -> io::Result<Stat> {
        let stat = stat_open(self.descriptor())?;
        expect_kind(&stat, kind)?;
        Ok(stat)
    }

    /// The descriptor that holds it.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Open(descriptor) | Self::Held(descriptor) => descriptor,
        }
    }

    /// The magic link that leads to the held inode itself, even if that is a link.
    fn magic_path(&self) -> String {
        format!("/proc/self/fd/{}", self.descriptor().as_raw_fd())
    }

    /// All extended attributes; none where the file system knows no such thing.
    pub(crate) fn xattrs(&self) -> io::Result<Xattrs> {
        let mut all = Xattrs::new();
        for name in self.xattr_names()? {
            match self.xattr(&name) {
                Ok(value) => all.push((name, value)),
                // Removed since the list was read.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(about_xattr(&name, error)),
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// The names of all extended attributes, in no order.
    pub(crate) fn xattr_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let list = growing(|buffer| match self {
            Self::Open(descriptor) => rustix::fs::flistxattr(descriptor, buffer),
            Self::Held(_) => rustix::fs::listxattr(self.magic_path(), buffer),
        });
        match list {
            Ok(list) => Ok(list
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect()),
            Err(Errno::NOTSUP | Errno::NOSYS) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        growing(|buffer| match self {
            Self::Open(descriptor) => rustix::fs::fgetxattr(descriptor, name, buffer),
            Self::Held(_) => rustix::fs::getxattr(self.magic_path(), name, buffer),
        })
    }

    /// True if the extended attribute has exactly this value.
    pub(crate) fn has_xattr(&self, name: &[u8], value: &[u8]) -> bool {
        self.xattr(name).is_ok_and(|current| current == value)
    }

    /// Sets one extended attribute.
    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        match self {
            Self::Open(descriptor) => rustix::fs::fsetxattr(descriptor, name, value, flags),
            Self::Held(_) => rustix::fs::setxattr(self.magic_path(), name, value, flags),
        }
        .map_err(|error| about_xattr(name, error))
    }

    /// Removes one extended attribute; one that is gone already is no error.
    pub(crate) fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        let outcome = match self {
            Self::Open(descriptor) => rustix::fs::fremovexattr(descriptor, name),
            Self::Held(_) => rustix::fs::removexattr(self.magic_path(), name),
        };
        match outcome {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(error) => Err(about_xattr(name, error)),
        }
    }

    /// Changes the owner; `None` leaves that half as it is.
    pub(crate) fn set_owner(&self, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        // All ones means "leave as it is" to the system: no valid id, and refused here.
        if user == Some(u32::MAX) || group == Some(u32::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no valid owner"));
        }
        let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
        match self {
            Self::Open(descriptor) => rustix::fs::fchown(descriptor, user, group)?,
            Self::Held(descriptor) => {
                rustix::fs::chownat(descriptor, c"", user, group, AtFlags::EMPTY_PATH)?;
            }
        }
        Ok(())
    }

    /// Sets permission bits. Not for links, which have none.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match self {
            Self::Open(descriptor) => rustix::fs::fchmod(descriptor, mode)?,
            Self::Held(_) => rustix::fs::chmod(self.magic_path(), mode)?,
        }
        Ok(())
    }

    /// Sets the time of the last change of content; that of the last access stays.
    pub(crate) fn set_mtime(&self, time: FileTime) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: time.seconds,
                tv_nsec: time.nanoseconds.min(999_999_999).into(),
            },
        };
        match self {
            Self::Open(descriptor) => rustix::fs::futimens(descriptor, &times)?,
            Self::Held(descriptor) => {
                rustix::fs::utimensat(descriptor, c"", &times, AtFlags::EMPTY_PATH)?;
            }
        }
        Ok(())
    }
}

/// Fails if `stat` is not of `kind`.
pub(crate) fn expect_kind(stat: &Stat, kind: EntryKind) -> io::Result<()> {
    if stat.kind == kind {
        return Ok(());
    }
    let message = format!("now a {}, no longer a {}", kind_name(stat.kind), kind_name(kind));
    Err(io::Error::other(message))
}

fn about_xattr(name: &[u8], error: Errno) -> io::Error {
    let error = io::Error::from(error);
    let message = format!("extended attribute {}: {error}", display_name(name));
    io::Error::new(error.kind(), message)
}

/// Calls `read` with a small buffer and, if that is too small, once with the largest there is.
fn growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut usual = [0; XATTR_BYTES_USUAL];
    match read(&mut usual) {
        Ok(length) => Ok(usual[..length.min(XATTR_BYTES_USUAL)].to_vec()),
        Err(Errno::RANGE) => {
            let mut largest = vec![0; XATTR_BYTES_MAX];
            let length = read(&mut largest)?;
            largest.truncate(length);
            largest.shrink_to_fit();
            Ok(largest)
        }
        Err(error) => Err(error),
    }
}
