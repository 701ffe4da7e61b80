//! Owners, modes, extended attributes and times in a target.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::{FileType, XattrFlags, lsetxattr};
use strongroom_core::{
    entry::{Entry, EntryKind, FileTime},
    source::SinkDir,
};
use strongroom_sources::sink::{FileSinkOptions, OwnerPolicy};

use crate::{
    details::{ACL, CAPABILITY},
    support::{
        Walked, as_nobody, entry, give_to_nobody, make_node, run, scratch, sink, sink_with, walk,
        write_file,
    },
};

const NO_PROBLEMS: Vec<String> = Vec::new();

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// A tree with every kind of entry and metadata.
fn fixture(base: &Path) {
    let at = |name: &str| base.join(name);
    fs::create_dir_all(at("folder/sub")).unwrap();
    for name in ["file", "setuid", "capable", "acl", "readonly", "folder/sub/file"] {
        fs::write(at(name), name).unwrap();
    }
    fs::File::create(at("sparse")).unwrap().set_len(1 << 23).unwrap();
    symlink("folder/sub/file", at("link")).unwrap();
    make_node(&at("pipe"), FileType::Fifo, (0, 0));
    make_node(&at("socket"), FileType::Socket, (0, 0));
    make_node(&at("null"), FileType::CharacterDevice, (1, 3));
    make_node(&at("disk"), FileType::BlockDevice, (259, 70_000));
    for name in ["setuid", "capable", "folder", "link", "pipe", "null"] {
        run(&["chown", "-h", "4001:4002", at(name).to_str().unwrap()]);
    }
    set_xattr(&at("capable"), "security.capability", CAPABILITY);
    set_xattr(&at("acl"), "system.posix_acl_access", ACL);
    set_xattr(&at("folder"), "system.posix_acl_default", ACL);
    set_xattr(&at("readonly"), "user.note", b"\xffbinary\0");
    set_xattr(&at("link"), "trusted.note", b"on the link");
    set_xattr(&at("pipe"), "trusted.note", b"on the pipe");
    for (name, mode) in
        [("setuid", 0o6755), ("readonly", 0o444), ("folder", 0o3775), ("folder/sub", 0o555)]
    {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (name, time) in [
        ("file", "1901-12-13 20:45:52.5 UTC"),
        ("link", "2001-02-03 04:05:06.789012345 UTC"),
        ("pipe", "2038-01-20 00:00:00.000000001 UTC"),
        ("folder/sub", "1970-01-01 00:00:00 UTC"),
        ("folder", "1999-12-31 23:59:59.999999999 UTC"),
    ] {
        run(&["touch", "-h", "-d", time, at(name).to_str().unwrap()]);
    }
}

/// Restores what was walked below `from`, through the traits only, and gives all problems.
fn restore(walked: &Walked, from: &Path, target: &dyn SinkDir, inner: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let folder: PathBuf = from.components().chain(inner.components()).collect();
    for name in direct_names(walked, &folder) {
        let path = inner.join(&name);
        let seen = walked.seen(&from.join(&path));
        let entry = Entry {
            name: name.clone().into_bytes(),
            stat: seen.found.stat,
            details: walked.details(&from.join(&path)).unwrap(),
            content: Default::default(),
            is_torn: false,
        };
        match entry.stat.kind {
            EntryKind::File => {
                let file = target.create_file(&entry.name, entry.stat.size).unwrap();
                if entry.stat.allocated_bytes > 0 {
                    let content = walked.read(&from.join(&path)).unwrap();
                    file.write_at(0, &content).unwrap();
                }
                problems.extend(file.finish(&entry).unwrap());
                continue;
            }
            EntryKind::Dir => {
                let (folder, _) = target.open_dir(&entry.name, true).unwrap();
                problems.extend(restore(walked, from, &*folder, &path));
            }
            _ => target.create_special(&entry).unwrap(),
        }
        problems.extend(target.set_metadata(&entry.name, &entry));
    }
    problems
}

fn direct_names(walked: &Walked, folder: &Path) -> Vec<String> {
    walked.below(folder).into_iter().filter(|path| !path.contains('/')).collect()
}

fn assert_same(original: &Path, restored: &Path) {
    // Both in one call, so that nothing but the names can differ.
    let output = std::process::Command::new("rsync")
        .args(["-naHAXS", "--checksum", "--delete", "--itemize-changes"])
        .args([original.join("."), restored.join(".")])
        .output()
        .unwrap();
    let changes = String::from_utf8_lossy(&output.stdout);
    let changes: Vec<&str> = changes.lines().filter(|line| !line.ends_with(" ./")).collect();
    assert_eq!(changes, [""; 0]);
}

#[test]
fn every_kind_of_entry_comes_back_as_it_was() {
    let (_guard, base) = scratch();
    let (original, restored) = (base.join("original"), base.join("restored"));
    fs::create_dir(&original).unwrap();
    fixture(&original);
    let walked = walk(&original);
    assert_eq!(restore(&walked, &original, &*sink(&restored), Path::new("")), NO_PROBLEMS);
    let again = walk(&restored);
    assert_eq!(again.below(&restored), walked.below(&original));
    for path in walked.below(&original) {
        let (old, new) = (original.join(&path), restored.join(&path));
        let comparable = |walked: &Walked, path: &Path| {
            let stat = walked.stat(path);
            let identity = (stat.kind, stat.mode, stat.uid, stat.gid, stat.size, stat.mtime);
            (identity, stat.device_number, walked.details(path).unwrap())
        };
        assert_eq!(comparable(&again, &new), comparable(&walked, &old), "{path}");
    }
    assert!(again.stat(&restored.join("sparse")).allocated_bytes == 0);
    assert_same(&original, &restored);

    // And once more over what is there.
    assert_eq!(restore(&walked, &original, &*sink(&restored), Path::new("")), NO_PROBLEMS);
    assert_same(&original, &restored);
}

#[test]
fn owners_are_those_of_the_names_then_of_the_ids() {
    let (_guard, base) = scratch();
    let mut wanted = entry(b"file", EntryKind::File);
    (wanted.stat.uid, wanted.stat.gid) = (4_001, 4_002);
    wanted.details.user = Some(b"daemon".to_vec());
    wanted.details.group = Some(b"no such group".to_vec());
    let daemon = nix_id("daemon");
    let owner = |policy: OwnerPolicy| {
        let options = FileSinkOptions { owner: policy, ..Default::default() };
        let problems = write_file(&*sink_with(&base, options), &wanted, b"");
        assert_eq!(problems, NO_PROBLEMS);
        let metadata = fs::metadata(base.join("file")).unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!(owner(OwnerPolicy::Names), (daemon, 4_002));
    assert_eq!(owner(OwnerPolicy::Numeric), (4_001, 4_002));
    assert_eq!(owner(OwnerPolicy::None), (0, 0));
}

fn nix_id(user: &str) -> u32 {
    let output = std::process::Command::new("id").args(["-u", user]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn privileged_bits_need_the_owner_they_are_meant_for() {
    let (_guard, base) = scratch();
    let mut wanted = entry(b"file", EntryKind::File);
    (wanted.stat.uid, wanted.stat.gid, wanted.stat.mode) = (4_001, 4_002, 0o6755);
    let mode = || fs::metadata(base.join("file")).unwrap().mode() & 0o7777;
    assert_eq!(write_file(&*sink(&base), &wanted, b"x"), NO_PROBLEMS);
    assert_eq!(mode(), 0o6755);
    let options = FileSinkOptions { owner: OwnerPolicy::None, ..Default::default() };
    let problems = write_file(&*sink_with(&base, options), &wanted, b"x");
    assert_eq!(problems.len(), 2);
    assert_eq!(mode(), 0o755);
    // An owner that means "leave it" to the system is none.
    (wanted.stat.uid, wanted.stat.gid) = (u32::MAX, u32::MAX);
    assert_eq!(write_file(&*sink(&base), &wanted, b"x").len(), 3);
    assert_eq!(mode(), 0o755);
}

#[test]
fn without_rights_owners_are_reported_only_if_asked_for() {
    let (_guard, base) = scratch();
    give_to_nobody(&base);
    as_nobody(move || {
        let mut wanted = entry(b"file", EntryKind::File);
        (wanted.stat.uid, wanted.stat.mode) = (0, 0o4444);
        wanted.details.xattrs = vec![(b"user.note".to_vec(), b"x".to_vec())];
        let problems = write_file(&*sink(&base), &wanted, b"x");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("set-user-id"), "{problems:?}");
        let metadata = fs::metadata(base.join("file")).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (65_534, 0o444));
        // Read-only as it is, it got its attributes.
        assert_eq!(sink(&base).details(b"file").unwrap().xattrs, wanted.details.xattrs);

        let options = FileSinkOptions { report_owner_failures: true, ..Default::default() };
        let problems = write_file(&*sink_with(&base, options), &wanted, b"x");
        assert_eq!(problems.len(), 2, "{problems:?}");
        // What a user may not make is an error, as for every entry.
        assert!(sink(&base).create_special(&entry(b"disk", EntryKind::BlockDevice)).is_err());
    });
}

#[test]
fn what_cannot_be_set_is_told_and_the_rest_is_set() {
    let (_guard, base) = scratch();
    let mut wanted = entry(b"file", EntryKind::File);
    wanted.stat.mode = 0o604;
    wanted.stat.mtime = FileTime { seconds: 77, nanoseconds: 7 };
    wanted.details.xattrs = vec![
        (b"nonsense".to_vec(), b"".to_vec()),
        (b"system.posix_acl_access".to_vec(), b"no acl".to_vec()),
        (b"user.fine".to_vec(), b"x".to_vec()),
        (b"user.nul\0".to_vec(), b"x".to_vec()),
    ];
    let problems = write_file(&*sink(&base), &wanted, b"x");
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("nonsense"), "{problems:?}");
    let metadata = fs::metadata(base.join("file")).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.mtime(), metadata.mtime_nsec()), (0o604, 77, 7));
    let found = sink(&base).details(b"file").unwrap().xattrs;
    assert_eq!(found, [(b"user.fine".to_vec(), b"x".to_vec())]);
}

#[test]
fn what_the_entry_does_not_have_is_removed() {
    let (_guard, base) = scratch();
    fs::create_dir(base.join("folder")).unwrap();
    set_xattr(&base.join("folder"), "system.posix_acl_default", ACL);
    let root = sink(&base);
    let (folder, _) = root.open_dir(b"folder", false).unwrap();
    let file = entry(b"file", EntryKind::File);
    // The new file inherits an ACL, which it did not have.
    assert_eq!(write_file(&*folder, &file, b"x"), NO_PROBLEMS);
    assert_eq!(folder.details(b"file").unwrap().xattrs, []);
    assert_eq!(folder.stat(b"file").unwrap().unwrap().mode, 0o644);

    set_xattr(&base.join("folder/file"), "user.later", b"x");
    let options = FileSinkOptions { skip_xattrs: true, ..Default::default() };
    let (careless, _) = sink_with(&base, options).open_dir(b"folder", false).unwrap();
    assert_eq!(careless.set_metadata(b"file", &file), NO_PROBLEMS);
    assert_eq!(folder.details(b"file").unwrap().xattrs.len(), 1);
    assert_eq!(folder.set_metadata(b"file", &file), NO_PROBLEMS);
    assert_eq!(folder.details(b"file").unwrap().xattrs, []);
    assert_eq!(root.set_metadata(b"folder", &entry(b"folder", EntryKind::Dir)), NO_PROBLEMS);
    assert_eq!(root.details(b"folder").unwrap().xattrs, []);
}

#[test]
fn metadata_of_an_existing_file_is_set_without_its_content() {
    let (_guard, base) = scratch();
    fs::write(base.join("file"), b"kept").unwrap();
    let mut wanted = entry(b"file", EntryKind::File);
    (wanted.stat.uid, wanted.stat.gid, wanted.stat.mode) = (4_001, 4_002, 0o4755);
    wanted.stat.mtime = FileTime { seconds: -1, nanoseconds: 999_999_999 };
    wanted.details.xattrs = vec![(b"security.capability".to_vec(), CAPABILITY.to_vec())];
    let root = sink(&base);
    for _ in 0..2 {
        assert_eq!(root.set_metadata(b"file", &wanted), NO_PROBLEMS);
        let stat = root.stat(b"file").unwrap().unwrap();
        assert_eq!((stat.uid, stat.gid, stat.mode), (4_001, 4_002, 0o4755));
        assert_eq!(stat.mtime, wanted.stat.mtime);
        assert_eq!(root.details(b"file").unwrap().xattrs, wanted.details.xattrs);
    }
    assert_eq!(fs::read(base.join("file")).unwrap(), b"kept");
    assert_eq!(root.set_metadata(b"none", &wanted).len(), 1);
}

#[test]
fn folders_that_their_owner_made_read_only_can_be_restored_into() {
    let (_guard, base) = scratch();
    for folder in ["folder/sub", "folder/old/deep", "closed"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    fs::write(base.join("folder/old/deep/file"), b"x").unwrap();
    give_to_nobody(&base);
    for (folder, mode) in [("folder/old/deep", 0o500), ("folder/old", 0o500), ("closed", 0)] {
        fs::set_permissions(base.join(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(base.join("folder"), fs::Permissions::from_mode(0o555)).unwrap();
    as_nobody(move || {
        let root = sink(&base);
        let (folder, _) = root.open_dir(b"folder", false).unwrap();
        // Looking changes nothing.
        assert_eq!(folder.names().unwrap().len(), 2);
        assert_eq!(root.stat(b"folder").unwrap().unwrap().mode, 0o555);
        write_file(&*folder, &entry(b"file", EntryKind::File), b"x");
        folder.remove(b"old").unwrap();
        let mut wanted = entry(b"folder", EntryKind::Dir);
        wanted.stat.mode = 0o555;
        assert_eq!(root.set_metadata(b"folder", &wanted), NO_PROBLEMS);
        assert_eq!(root.stat(b"folder").unwrap().unwrap().mode, 0o555);
        assert_eq!(folder.names().unwrap(), [b"file".to_vec(), b"sub".to_vec()]);
        let (closed, created) = root.open_dir(b"closed", false).unwrap();
        assert!(!created);
        write_file(&*closed, &entry(b"file", EntryKind::File), b"x");
    });
}
