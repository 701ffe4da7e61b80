//! The sink on a real file system.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
};

use strongroom_core::entry::{Content, Details, EntryKind, FileTime, Stat};
use tempfile::TempDir;

use super::*;
use strongroom_core::entry::Entry;

fn entry(name: &str, kind: EntryKind) -> Entry {
    let time = FileTime { seconds: -5, nanoseconds: 123_456_789 };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let stat = Stat {
        kind,
        mode: 0o4751,
        uid,
        gid,
        size: 0,
        allocated_bytes: 0,
        mtime: time,
        ctime: time,
        inode: 1,
        device: 1,
        links: 1,
        device_number: 1 << 32 | 3,
    };
    let name = name.as_bytes().to_vec();
    Entry { name, stat, details: Details::default(), content: Content::default(), is_torn: false }
}

fn sink() -> (TempDir, FileSink, Arc<dyn SinkDir>) {
    let folder = TempDir::new().unwrap();
    let sink = FileSink::new(&folder.path().join("a/b"), FileSinkOptions::default());
    let root = sink.root().unwrap();
    (folder, sink, root)
}

fn no_temporaries(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        assert!(!entry.unwrap().file_name().to_string_lossy().starts_with(temporary::PREFIX));
    }
}

#[test]
fn a_file_appears_complete_or_not_at_all() {
    let (folder, sink, root) = sink();
    let path = folder.path().join("a/b");
    assert!(sink.available_bytes().unwrap() > 0);
    let file = root.create_file(b"f", 10_000_000).unwrap();
    file.write_at(5_000_000, b"middle").unwrap();
    assert!(root.stat(b"f").unwrap().is_none());
    assert_eq!(file.finish(&entry("f", EntryKind::File)).unwrap(), Vec::<String>::new());
    let found = fs::metadata(path.join("f")).unwrap();
    assert_eq!((found.len(), found.permissions().mode() & 0o7777), (10_000_000, 0o4751));
    assert_eq!((found.mtime(), found.mtime_nsec()), (-5, 123_456_789));
    assert!(found.blocks() * 512 < 1_000_000);
    let unfinished = root.create_file(b"f", 3).unwrap();
    unfinished.write_at(0, b"new").unwrap();
    drop(unfinished);
    assert_eq!(fs::metadata(path.join("f")).unwrap().len(), 10_000_000);
    no_temporaries(&path);
}

#[test]
fn links_are_never_followed() {
    let (folder, _, root) = sink();
    let path = folder.path().join("a/b");
    let outside = folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "safe").unwrap();
    symlink(&outside, path.join("dir")).unwrap();
    symlink(outside.join("victim"), path.join("file")).unwrap();
    assert!(root.open_dir(b"dir", false).is_err());
    assert!(root.open_file(b"file").is_err());
    let file = root.create_file(b"file", 4).unwrap();
    file.write_at(0, b"evil").unwrap();
    file.finish(&entry("file", EntryKind::File)).unwrap();
    let (_, was_created) = root.open_dir(b"dir", true).unwrap();
    assert!(was_created && path.join("dir").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
    symlink(&outside, path.join("again")).unwrap();
    root.remove(b"again").unwrap();
    assert!(outside.join("victim").exists());
}

#[test]
fn hostile_names_are_refused() {
    let (_folder, _, root) = sink();
    for bad in [b"".as_slice(), b".", b"..", b"a/b", b"/etc", b"a\0b"] {
        assert!(root.open_dir(bad, true).is_err());
        assert!(root.create_file(bad, 0).is_err());
        assert!(root.stat(bad).is_err());
        assert!(root.remove(bad).is_err());
        assert!(!root.set_metadata(bad, &entry("x", EntryKind::File)).is_empty());
    }
}

#[test]
fn special_entries_and_hard_links() {
    let (folder, _, root) = sink();
    let path = folder.path().join("a/b");
    fs::write(path.join("fifo"), "in the way").unwrap();
    root.create_special(&entry("fifo", EntryKind::Fifo)).unwrap();
    root.create_special(&entry("socket", EntryKind::Socket)).unwrap();
    let mut link = entry("link", EntryKind::Symlink);
    link.details.link_target = Some(b"/no/where".to_vec());
    root.create_special(&link).unwrap();
    assert_eq!(root.set_metadata(b"link", &link), Vec::<String>::new());
    assert!(fs::symlink_metadata(path.join("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(path.join("socket")).unwrap().file_type().is_socket());
    let link = fs::symlink_metadata(path.join("link")).unwrap();
    assert_eq!(
        (link.mtime(), fs::read_link(path.join("link")).unwrap().to_str()),
        (-5, Some("/no/where"))
    );
    fs::write(path.join("one"), "1").unwrap();
    let (dir, _) = root.open_dir(b"sub", false).unwrap();
    dir.create_hard_link(b"two", &*root, b"one").unwrap();
    dir.create_hard_link(b"two", &*root, b"one").unwrap();
    assert_eq!(fs::metadata(path.join("sub/two")).unwrap().nlink(), 2);
    no_temporaries(&path.join("sub"));
}

#[test]
fn attributes_become_those_of_the_entry() {
    let (folder, _, root) = sink();
    let path = folder.path().join("a/b/f");
    fs::write(&path, "").unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "user.old", b"1", flags).is_err() {
        // this file system knows no attributes: then none may be needed either
        assert!(root.set_metadata(b"f", &entry("f", EntryKind::File)).is_empty());
        return;
    }
    let mut wanted = entry("f", EntryKind::File);
    wanted.details.xattrs = vec![(b"user.new".to_vec(), b"\0\xff".to_vec())];
    assert_eq!(root.set_metadata(b"f", &wanted), Vec::<String>::new());
    assert_eq!(root.details(b"f").unwrap().xattrs, wanted.details.xattrs);
}

#[test]
fn deep_trees_are_removed_with_few_descriptors() {
    let (folder, _, root) = sink();
    let mut dir = root.clone();
    for _ in 0..5_000 {
        dir.create_file(b"f", 0).unwrap().finish(&entry("f", EntryKind::File)).unwrap();
        dir = dir.open_dir(b"d", false).unwrap().0;
    }
    drop(dir);
    root.remove(b"d").unwrap();
    assert_eq!(root.names().unwrap(), [b"f".to_vec()]);
    root.remove(b"nothing").unwrap();
    drop(folder);
}
