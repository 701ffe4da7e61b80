//! Trees with every kind of entry, every odd name and every piece of metadata that a file system
//! can hold. Each function adds one family below a folder.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags, futimens,
    makedev, mkdirat, mknodat, openat, utimensat,
};

use super::{is_root, lab::pseudo_random};

/// Every family that rsync can walk, below `folder`; times last, so that nothing changes them.
pub fn everything(folder: &Path) {
    kinds(&folder.join("kinds"));
    names(&folder.join("names"));
    contents(&folder.join("contents"));
    metadata(&folder.join("metadata"));
    links(&folder.join("links"), 50);
    sparse(&folder.join("sparse"), 64 << 20);
    times(&folder.join("times"));
}

/// One entry of every kind, and every special mode.
pub fn kinds(folder: &Path) {
    fs::create_dir_all(folder.join("empty folder")).unwrap();
    fs::write(folder.join("regular"), b"regular").unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    symlink("regular", folder.join("link")).unwrap();
    symlink("nowhere/at all", folder.join("dangling link")).unwrap();
    symlink("../kinds", folder.join("link to a folder")).unwrap();
    symlink("x/".repeat(2_000), folder.join("long link")).unwrap();
    make_node(&folder.join("fifo"), FileType::Fifo, 0);
    drop(bind_socket(folder, "socket"));
    if is_root() {
        make_node(&folder.join("null"), FileType::CharacterDevice, makedev(1, 3));
        make_node(&folder.join("loop"), FileType::BlockDevice, makedev(7, 200));
    }
    for (name, mode) in [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("private", 0o600),
        ("no rights", 0o000),
        ("all rights", 0o777),
    ] {
        let path = folder.join(name);
        fs::write(&path, name).unwrap();
        set_mode(&path, mode);
    }
    let sticky = folder.join("sticky folder");
    fs::create_dir(&sticky).unwrap();
    set_mode(&sticky, 0o1777);
    let shared = folder.join("setgid folder");
    fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o2770);
}

/// Names that break programs that think of names as text.
pub fn names(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let long = [b'n'; 255];
    let names: [&[u8]; 13] = [
        b" ",
        b"-rf",
        b"--",
        b"new\nline",
        b"\x01\x1b[31mcontrol\x7f",
        b"not \xff\xfe utf-8 \xc3",
        b"back\\slash",
        b"*?[glob]",
        b"quote'\"`$(touch x)",
        "e\u{301} decomposed".as_bytes(),
        "\u{e9} composed".as_bytes(),
        "\u{202e}right to left".as_bytes(),
        &long,
    ];
    for name in names {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let upper = folder.join("Case");
    let lower = folder.join("case");
    fs::create_dir(&upper).unwrap();
    fs::create_dir(&lower).unwrap();
    fs::write(upper.join("file"), b"upper").unwrap();
    fs::write(lower.join("file"), b"lower").unwrap();
    // Sorts between "case" and "case/file" for those who compare paths as strings.
    fs::write(folder.join("case.txt"), b"sibling").unwrap();
    fs::write(folder.join("case\x01"), b"sibling").unwrap();
}

/// Files around every size at which something changes: buffers, chunks, packs.
pub fn contents(folder: &Path) {
    fs::create_dir_all(folder.join("small")).unwrap();
    for (seed, size) in
        [1, 63, 64, 65, 4_095, 4_096, 4_097, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1]
            .into_iter()
            .enumerate()
    {
        fs::write(folder.join(format!("random-{size}")), pseudo_random(size, seed as u64)).unwrap();
    }
    fs::write(folder.join("zeros"), vec![0; 3 << 20]).unwrap();
    fs::write(folder.join("text"), "all work and no play\n".repeat(100_000)).unwrap();
    fs::write(folder.join("large"), pseudo_random(20 << 20, 99)).unwrap();
    for number in 0_u64..300 {
        let size = usize::try_from(number * 37 % 5_000).unwrap();
        fs::write(folder.join(format!("small/{number}")), pseudo_random(size, number)).unwrap();
    }
}

/// Owners, extended attributes, ACLs, capabilities.
pub fn metadata(folder: &Path) {
    fs::create_dir_all(folder.join("with default acl")).unwrap();
    for name in ["attributes", "acl", "capability", "owner"] {
        fs::write(folder.join(name), name).unwrap();
    }
    let attributes = folder.join("attributes");
    set_xattr(&attributes, "user.empty", b"");
    set_xattr(&attributes, "user.binary", b"\0\x01\xff\n");
    set_xattr(&attributes, "user.long", &pseudo_random(2_000, 7));
    set_xattr(folder, "user.on.a.folder", b"yes");
    run("setfacl", ["-m", "u:1234:rwx,g:5678:r,m::rw"], &folder.join("acl"));
    run("setfacl", ["-m", "d:u:1234:rwx,d:o::-"], &folder.join("with default acl"));
    if is_root() {
        run("setcap", ["cap_net_raw,cap_chown=ep"], &folder.join("capability"));
        let owner = folder.join("owner");
        std::os::unix::fs::chown(&owner, Some(12_345), Some(54_321)).unwrap();
        set_mode(&owner, 0o6711);
        let link = folder.join("owned link");
        symlink("owner", &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(12_345), Some(54_321)).unwrap();
        set_xattr(&owner, "trusted.root.only", b"secret");
    }
}

/// `count` names of one inode, and two of another, in two folders.
pub fn links(folder: &Path, count: usize) {
    fs::create_dir_all(folder.join("other")).unwrap();
    fs::write(folder.join("0"), b"one inode").unwrap();
    for number in 1..count {
        let below = if number % 2 == 0 { number.to_string() } else { format!("other/{number}") };
        fs::hard_link(folder.join("0"), folder.join(below)).unwrap();
    }
    fs::write(folder.join("pair"), b"another").unwrap();
    fs::hard_link(folder.join("pair"), folder.join("other/pair")).unwrap();
    symlink("anywhere", folder.join("symlink")).unwrap();
    fs::hard_link(folder.join("symlink"), folder.join("other/symlink")).unwrap();
}

/// Files with holes at the start, in the middle and at the end, `size_bytes` long each.
pub fn sparse(folder: &Path, size_bytes: u64) {
    fs::create_dir_all(folder).unwrap();
    let middle = size_bytes / 2 / 4_096 * 4_096;
    for (name, offsets) in [
        ("only a hole", &[][..]),
        ("data at the start", &[0]),
        ("data in the middle", &[middle]),
        ("data at the end", &[size_bytes - 4_096]),
        ("data everywhere", &[0, 1 << 20, middle, size_bytes - 4_096]),
    ] {
        let mut file = File::create(folder.join(name)).unwrap();
        for offset in offsets {
            file.seek(SeekFrom::Start(*offset)).unwrap();
            file.write_all(&pseudo_random(4_096, *offset)).unwrap();
        }
        file.set_len(size_bytes).unwrap();
    }
}

/// Times before 1970, with nanoseconds, and far ahead.
pub fn times(folder: &Path) {
    fs::create_dir_all(folder.join("folder")).unwrap();
    fs::write(folder.join("folder/inner"), b"x").unwrap();
    symlink("folder", folder.join("link")).unwrap();
    let times =
        [("1923", -1_500_000_000), ("1970", 0), ("2038", 2_147_483_648), ("2200", 7_258_118_400)];
    for (name, seconds) in times {
        fs::write(folder.join(name), name).unwrap();
        set_time(&folder.join(name), seconds, 123_456_789);
    }
    set_time(&folder.join("link"), -1, 999_999_999);
    set_time(&folder.join("folder"), 1_000_000_000, 1);
    set_time(folder, 1_100_000_000, 2);
}

/// `depth` folders in one another, with a file in the innermost, always with the same times.
pub fn deep(folder: &Path, depth: usize) {
    fs::create_dir_all(folder).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(CWD, folder, flags, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
        let below = openat(&here, "d", flags, Mode::empty()).unwrap();
        futimens(&here, &changed_at(1_200_000_000, 3)).unwrap();
        here = below;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(&here, "bottom", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"down here").unwrap();
    futimens(&file, &changed_at(1_200_000_000, 4)).unwrap();
    futimens(&here, &changed_at(1_200_000_000, 3)).unwrap();
}

/// Sets access rights.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Sets the time of last change.
pub fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    utimensat(CWD, path, &changed_at(seconds, nanoseconds), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn changed_at(seconds: i64, nanoseconds: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    }
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn make_node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// Binds by way of the folder's descriptor, as a socket's address has room for 108 bytes only.
fn bind_socket(folder: &Path, name: &str) -> UnixListener {
    use std::os::fd::AsRawFd as _;
    let folder = File::open(folder).unwrap();
    let short = PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
    UnixListener::bind(short).unwrap()
}

fn run<const N: usize>(program: &str, args: [&str; N], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status().unwrap();
    assert!(status.success(), "{program} {args:?} {}", path.display());
}
