//! Two witnesses that say how two trees differ: rsync, a program from outside, and a comparer of
//! our own for what rsync does not see or cannot reach: holes, nanoseconds, paths over 4,096 bytes.
//!
//! Neither knows anything of repositories.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    process::Command,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::extents::data_extents;

/// How much of a file is compared at a time, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Fails with a list of differences unless both witnesses find none.
#[track_caller]
pub fn assert_same_tree(original: &Path, copy: &Path) {
    let found = rsync_differences(original, copy);
    assert!(found.is_empty(), "rsync finds differences:\n{found}");
    let found = differences(original, copy);
    assert!(found.is_empty(), "the trees differ:\n  {}", found.join("\n  "));
}

/// What rsync would do to make `copy` like `original`; empty if nothing.
pub fn rsync_differences(original: &Path, copy: &Path) -> String {
    let with_slash = |path: &Path| format!("{}/", path.display());
    let output = Command::new("rsync")
        // A negative window makes rsync compare nanoseconds too.
        .args(["-aHAXn", "--checksum", "--delete", "--itemize-changes", "--modify-window=-1"])
        .arg(with_slash(original))
        .arg(with_slash(copy))
        .output()
        .unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rsync failed: {talk}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every difference between two trees, one line each. Never follows links; reads no holes; goes
/// down and up by descriptor, so that depth and length of paths do not matter.
pub fn differences(original: &Path, copy: &Path) -> Vec<String> {
    let mut comparer = Comparer::default();
    if let Err(error) = comparer.compare_trees(original, copy) {
        comparer.found.push(format!("cannot go on: {error}"));
    }
    comparer.found
}

#[derive(Default)]
struct Comparer {
    found: Vec<String>,
    /// The names from the roots down to where we are, for messages.
    names: Vec<CString>,
    /// Which inode of the copy stands for which inode of the original, where there are links.
    links: HashMap<(u64, u64), (u64, u64)>,
}

/// The two folders that are being compared.
struct Pair {
    original: OwnedFd,
    copy: OwnedFd,
}

impl Comparer {
    fn compare_trees(&mut self, original: &Path, copy: &Path) -> io::Result<()> {
        let mut here =
            Pair { original: open_folder(CWD, original)?, copy: open_folder(CWD, copy)? };
        let mut pending = vec![self.compare_folder(&here)?];
        while let Some(level) = pending.last_mut() {
            if let Some(name) = level.pop() {
                here = Pair {
                    original: open_folder(&here.original, name.as_c_str())?,
                    copy: open_folder(&here.copy, name.as_c_str())?,
                };
                self.names.push(name);
                let below = self.compare_folder(&here)?;
                pending.push(below);
            } else {
                pending.pop();
                self.names.pop();
                if !pending.is_empty() {
                    here = Pair {
                        original: open_folder(&here.original, c"..")?,
                        copy: open_folder(&here.copy, c"..")?,
                    };
                }
            }
        }
        Ok(())
    }

    /// Compares what two folders hold; returns the folders that both have.
    fn compare_folder(&mut self, here: &Pair) -> io::Result<Vec<CString>> {
        self.compare_xattrs(c".", here)?;
        let (original, copy) = (names_in(&here.original)?, names_in(&here.copy)?);
        for name in copy.iter().filter(|name| original.binary_search(name).is_err()) {
            self.report(name, "only in the copy");
        }
        let mut folders = Vec::new();
        for name in original {
            if copy.binary_search(&name).is_err() {
                self.report(&name, "missing");
            } else if self.compare_entry(&name, here)? {
                folders.push(name);
            }
        }
        Ok(folders)
    }

    /// Compares two entries of one name; true if both are folders.
    fn compare_entry(&mut self, name: &CStr, here: &Pair) -> io::Result<bool> {
        let original = statat(&here.original, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let copy = statat(&here.copy, name, AtFlags::SYMLINK_NOFOLLOW)?;
        self.compare_stats(name, &original, &copy);
        let kind = FileType::from_raw_mode(original.st_mode);
        if kind != FileType::from_raw_mode(copy.st_mode) {
            return Ok(false);
        }
        if kind != FileType::Directory && original.st_nlink > 1 {
            let ours = (original.st_dev, original.st_ino);
            let theirs = (copy.st_dev, copy.st_ino);
            if *self.links.entry(ours).or_insert(theirs) != theirs {
                self.report(name, "a hard link of its own");
            }
        }
        match kind {
            FileType::RegularFile => self.compare_content(name, here)?,
            FileType::Symlink => {
                let original = readlinkat(&here.original, name, Vec::new())?;
                let copy = readlinkat(&here.copy, name, Vec::new())?;
                if original != copy {
                    self.report(name, &format!("leads to {copy:?}, not {original:?}"));
                }
            }
            FileType::Directory => return Ok(true),
            _ => {}
        }
        self.compare_xattrs(name, here)?;
        Ok(false)
    }

    fn compare_stats(&mut self, name: &CStr, original: &Stat, copy: &Stat) {
        let is_folder = FileType::from_raw_mode(original.st_mode) == FileType::Directory;
        let size = |stat: &Stat| if is_folder { 0 } else { stat.st_size };
        let links = |stat: &Stat| if is_folder { 0 } else { stat.st_nlink };
        let time = |stat: &Stat| format!("{}.{:09}", stat.st_mtime, stat.st_mtime_nsec);
        let facts = [
            ("mode", format!("{:o}", original.st_mode), format!("{:o}", copy.st_mode)),
            ("owner", original.st_uid.to_string(), copy.st_uid.to_string()),
            ("group", original.st_gid.to_string(), copy.st_gid.to_string()),
            ("size", size(original).to_string(), size(copy).to_string()),
            ("links", links(original).to_string(), links(copy).to_string()),
            ("device number", original.st_rdev.to_string(), copy.st_rdev.to_string()),
            ("time", time(original), time(copy)),
        ];
        for (fact, original, copy) in facts {
            if original != copy {
                self.report(name, &format!("{fact} is {copy}, not {original}"));
            }
        }
    }

    /// Compares extents, then the bytes in them: holes are never read.
    fn compare_content(&mut self, name: &CStr, here: &Pair) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let original = openat(&here.original, name, flags, Mode::empty())?;
        let copy = openat(&here.copy, name, flags, Mode::empty())?;
        let (extents, copied) = (data_extents(&original)?, data_extents(&copy)?);
        if extents != copied {
            self.report(name, &format!("has data at {copied:?}, not {extents:?}"));
        }
        let mut ours = vec![0; BUFFER_BYTES];
        let mut theirs = vec![0; BUFFER_BYTES];
        for extent in extents.iter().chain(&copied) {
            let mut at = extent.start;
            while at < extent.end {
                let length = usize::try_from(extent.end - at).unwrap().min(BUFFER_BYTES);
                let read = rustix::io::pread(&original, &mut ours[..length], at)?;
                let also = rustix::io::pread(&copy, &mut theirs[..length], at)?;
                if ours[..read] != theirs[..also] {
                    self.report(name, &format!("content differs at {at} or after"));
                    return Ok(());
                }
                if read == 0 {
                    break;
                }
                at += read as u64;
            }
        }
        Ok(())
    }

    fn compare_xattrs(&mut self, name: &CStr, here: &Pair) -> io::Result<()> {
        let original = xattrs(&here.original, name)?;
        let copy = xattrs(&here.copy, name)?;
        if original != copy {
            self.report(name, &format!("extended attributes are {copy:?}, not {original:?}"));
        }
        Ok(())
    }

    fn report(&mut self, name: &CStr, what: &str) {
        let depth = self.names.len();
        let shown: Vec<_> = self.names[depth.saturating_sub(8)..]
            .iter()
            .map(CString::as_c_str)
            .chain([name])
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let above = if depth > 8 { format!("[{} folders]/", depth - 8) } else { String::new() };
        self.found.push(format!("{above}{}: {what}", shown.join("/")));
    }
}

fn open_folder(at: impl AsFd, path: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// The names in a folder, sorted, without `.` and `..`.
fn names_in(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Names and values of all extended attributes, sorted; POSIX ACLs and capabilities are among
/// them.
fn xattrs(folder: &OwnedFd, name: &CStr) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = CString::new(path).unwrap();
    let mut list = vec![0_u8; 64 << 10];
    let length = match rustix::fs::llistxattr(&*path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Vec::new();
    for key in list[..length].split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
        let key = CString::new(key).unwrap();
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::lgetxattr(&*path, &*key, &mut value[..])?;
        value.truncate(length);
        attributes.push((key.to_string_lossy().into_owned(), value));
    }
    attributes.sort();
    Ok(attributes)
}
