//! Owners, extended attributes, link targets and content, as read by the file source.

use std::{fs, os::unix::fs::symlink};

use rustix::fs::{XattrFlags, lsetxattr};
use strongroom_core::entry::Stat;

use crate::support::{bytes_path, run, scratch, walk};

/// `user::rw-, user:1000:rwx, group::r--, mask::rwx, other::---` as the kernel stores it.
pub const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
    255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// `cap_net_raw+ep`, revision 2.
pub const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn owners_have_ids_and_names() {
    let (_guard, base) = scratch();
    fs::write(base.join("root"), b"").unwrap();
    fs::write(base.join("stranger"), b"").unwrap();
    run(&["chown", "3999999:3999998", base.join("stranger").to_str().unwrap()]);
    let walked = walk(&base);
    let root = walked.details(&base.join("root")).unwrap();
    assert_eq!(root.user.as_deref(), Some(b"root".as_slice()));
    assert_eq!(root.group.as_deref(), Some(b"root".as_slice()));
    let stranger = walked.details(&base.join("stranger")).unwrap();
    assert_eq!((stranger.user, stranger.group), (None, None));
    let Stat { uid, gid, .. } = walked.stat(&base.join("stranger"));
    assert_eq!((uid, gid), (3_999_999, 3_999_998));
}

#[test]
fn extended_attributes_are_raw_complete_and_sorted() {
    let (_guard, base) = scratch();
    let file = base.join("file");
    fs::write(&file, b"").unwrap();
    let long = vec![7; 3_000];
    let expected: [(&str, &[u8]); 5] = [
        ("security.capability", CAPABILITY),
        ("system.posix_acl_access", ACL),
        ("trusted.mark", b"\0binary\xff"),
        ("user.empty", b""),
        ("user.long", &long),
    ];
    for (name, value) in expected.iter().rev() {
        lsetxattr(&file, *name, value, XattrFlags::empty()).unwrap();
    }
    let details = walk(&base).details(&file).unwrap();
    let found: Vec<(&str, &[u8])> = details
        .xattrs
        .iter()
        .map(|(name, value)| (std::str::from_utf8(name).unwrap(), value.as_slice()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn long_lists_of_extended_attributes_are_complete() {
    let (_guard, base) = scratch();
    let file = base.join("file");
    fs::write(&file, b"").unwrap();
    for number in 0..60 {
        let name = format!("user.a-rather-long-name-of-an-attribute-{number:02}");
        lsetxattr(&file, name, b"v", XattrFlags::empty()).unwrap();
    }
    assert_eq!(walk(&base).details(&file).unwrap().xattrs.len(), 60);
}

#[test]
fn folders_links_and_special_files_have_extended_attributes_too() {
    let (_guard, base) = scratch();
    fs::write(base.join("target"), b"").unwrap();
    lsetxattr(base.join("target"), "trusted.of", b"target", XattrFlags::empty()).unwrap();
    fs::create_dir(base.join("folder")).unwrap();
    symlink("target", base.join("link")).unwrap();
    crate::support::make_node(&base.join("pipe"), rustix::fs::FileType::Fifo, (0, 0));
    for name in ["folder", "link", "pipe"] {
        lsetxattr(base.join(name), "trusted.of", name.as_bytes(), XattrFlags::empty()).unwrap();
    }
    let walked = walk(&base);
    for name in ["folder", "link", "pipe", "target"] {
        let details = walked.details(&base.join(name)).unwrap();
        assert_eq!(details.xattrs, [(b"trusted.of".to_vec(), name.as_bytes().to_vec())], "{name}");
    }
}

#[test]
fn link_targets_are_bytes_of_any_length() {
    let (_guard, base) = scratch();
    let long = vec![b'x'; 4_095];
    for (name, target) in [("odd", b"../\xff\n".as_slice()), ("long", &long)] {
        rustix::fs::symlink(target, base.join(name)).unwrap();
    }
    let walked = walk(&base);
    let target = |name: &str| walked.details(&base.join(name)).unwrap().link_target.unwrap();
    assert_eq!(target("odd"), b"../\xff\n");
    assert_eq!(target("long"), long);
    let folder = walked.details(&base).unwrap();
    assert_eq!(folder.link_target, None);
}

#[test]
fn holes_are_told_from_data() {
    let (_guard, base) = scratch();
    let path = base.join("sparse");
    let file = fs::File::create(&path).unwrap();
    let size = 1 << 40;
    file.set_len(size).unwrap();
    let middle = 1 << 39;
    std::os::unix::fs::FileExt::write_all_at(&file, &[1; 4_096], middle).unwrap();
    drop(file);

    let walked = walk(&base);
    let stat = walked.stat(&path);
    assert_eq!(stat.size, size);
    assert!(stat.allocated_bytes < 1 << 20);
    let seen = walked.seen(&path);
    let mut reader = seen.folder.open(&seen.found).unwrap();
    let extent = reader.next_extent(0).unwrap().unwrap();
    assert!(extent.start <= middle && extent.end >= middle + 4_096, "{extent:?}");
    assert!(extent.end - extent.start < 1 << 20, "{extent:?}");
    let mut content = Vec::new();
    let mut buffer = [0; 1_000];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => break,
            length => content.extend_from_slice(&buffer[..length]),
        }
    }
    assert_eq!(content.len() as u64, extent.end - extent.start);
    assert_eq!(content.iter().filter(|byte| **byte == 1).count(), 4_096);
    assert_eq!(reader.next_extent(extent.end).unwrap(), None);
    assert_eq!(reader.next_extent(size).unwrap(), None);
    assert_eq!(reader.read(&mut buffer).unwrap(), 0);
    assert_eq!(reader.next_extent(middle).unwrap().map(|extent| extent.start), Some(middle));
}

#[test]
fn a_file_tells_that_it_changed_while_it_was_read() {
    let (_guard, base) = scratch();
    let path = base.join("file");
    fs::write(&path, b"before").unwrap();
    let walked = walk(&base);
    let seen = walked.seen(&path);
    let mut reader = seen.folder.open(&seen.found).unwrap();
    assert_eq!(reader.stat().unwrap(), Some(seen.found.stat));
    fs::write(&path, b"after that").unwrap();
    assert_eq!(reader.stat().unwrap().unwrap().size, 10);
    reader.finish().unwrap();
}

#[test]
fn reading_leaves_no_trace_in_the_time_of_access() {
    use std::os::unix::fs::MetadataExt;
    let (_guard, base) = scratch();
    let path = base.join("file");
    fs::write(&path, b"content").unwrap();
    // Older than the last change, so that a read would be noted.
    run(&["touch", "-a", "-d", "2001-01-01", path.to_str().unwrap()]);
    let before = fs::metadata(&path).unwrap().atime();
    let walked = walk(&base);
    walked.details(&path).unwrap();
    assert_eq!(walked.read(&path).unwrap(), b"content");
    assert_eq!(fs::metadata(&path).unwrap().atime(), before);
    assert!(bytes_path(&base, b"file").exists());
}
