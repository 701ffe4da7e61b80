//! `statx`, in the words of a snapshot.
//!
//! Does not open anything: one call per entry, relative to an open folder.

use std::{ffi::CStr, io};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp},
};
use strongroom_core::entry::{EntryKind, FileTime, Stat};

/// Which folder it is: device and inode, unique among the folders of a running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FolderId {
    /// Device that holds the inode, as `major << 32 | minor`.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

impl FolderId {
    /// The identity of the folder at `path`; links are followed.
    pub fn of(path: &std::path::Path) -> io::Result<Self> {
        let found = rustix::fs::statx(
            rustix::fs::CWD,
            path,
            AtFlags::empty(),
            StatxFlags::TYPE | StatxFlags::INO,
        )?;
        Ok(Self { device: number(found.stx_dev_major, found.stx_dev_minor), inode: found.stx_ino })
    }
}

impl From<&Stat> for FolderId {
    fn from(stat: &Stat) -> Self {
        Self { device: stat.device, inode: stat.inode }
    }
}

/// Stat of `name` in `folder`; a link itself, not what it points to.
pub(crate) fn stat_at(folder: impl AsFd, name: &CStr) -> io::Result<Stat> {
    // Without NO_AUTOMOUNT a mere stat would mount things.
    stat_with(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Stat of what `name` in `folder` leads to, links followed.
pub(crate) fn stat_through(folder: impl AsFd, name: &CStr) -> io::Result<Stat> {
    stat_with(folder, name, AtFlags::empty())
}

/// Stat of an open descriptor of any kind.
pub(crate) fn stat_open(descriptor: impl AsFd) -> io::Result<Stat> {
    stat_with(descriptor, c"", AtFlags::EMPTY_PATH)
}

fn stat_with(folder: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<Stat> {
    from_statx(&rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS)?)
}

fn from_statx(found: &Statx) -> io::Result<Stat> {
    let mode = u32::from(found.stx_mode);
    let kind = kind_of(FileType::from_raw_mode(mode))?;
    let is_device = matches!(kind, EntryKind::BlockDevice | EntryKind::CharDevice);
    Ok(Stat {
        kind,
        mode: mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: if kind == EntryKind::File { found.stx_size } else { 0 },
        allocated_bytes: found.stx_blocks.saturating_mul(512),
        mtime: time(&found.stx_mtime),
        ctime: time(&found.stx_ctime),
        inode: found.stx_ino,
        device: number(found.stx_dev_major, found.stx_dev_minor),
        links: u64::from(found.stx_nlink),
        device_number: if is_device {
            number(found.stx_rdev_major, found.stx_rdev_minor)
        } else {
            0
        },
    })
}

fn kind_of(file_type: FileType) -> io::Result<EntryKind> {
    Ok(match file_type {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::BlockDevice => EntryKind::BlockDevice,
        FileType::CharacterDevice => EntryKind::CharDevice,
        FileType::Unknown => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "unknown kind of entry"));
        }
    })
}

fn time(stamp: &StatxTimestamp) -> FileTime {
    FileTime { seconds: stamp.tv_sec, nanoseconds: stamp.tv_nsec.min(999_999_999) }
}

fn number(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}

/// How messages call a kind.
pub(crate) fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "folder",
        EntryKind::Symlink => "link",
        EntryKind::Fifo => "pipe",
        EntryKind::Socket => "socket",
        EntryKind::BlockDevice => "block device",
        EntryKind::CharDevice => "character device",
    }
}
