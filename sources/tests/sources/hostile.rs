//! Trees that try to get out of the target, targets that change under the restore, and sources
//! that change under the walk.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use rustix::fs::FileType;
use strongroom_core::{
    entry::{EntryKind, FileTime},
    source::{Folder, Found, Source},
};
use strongroom_sources::files::FileSourceOptions;

use crate::support::{entry, make_node, read_all, run, scratch, sink, source, walk, write_file};

const HOSTILE_NAMES: &[&[u8]] =
    &[b"", b".", b"..", b"/", b"a/b", b"/etc", b"../x", b"a/", b"nul\0", b"\0"];

#[test]
fn names_that_are_not_single_ones_are_refused_by_every_call() {
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("target/a")).unwrap();
    fs::write(base.join("x"), b"outside").unwrap();
    let root = sink(&base.join("target"));
    write_file(&*root, &entry(b"fine", EntryKind::File), b"");
    for name in HOSTILE_NAMES {
        let refused = |outcome: std::io::Result<()>| {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        };
        refused(root.stat(name).map(drop));
        refused(root.details(name).map(drop));
        refused(root.open_file(name).map(drop));
        refused(root.open_dir(name, false).map(drop));
        refused(root.open_dir(name, true).map(drop));
        refused(root.create_file(name, 0).map(drop));
        refused(root.create_special(&entry(name, EntryKind::Fifo)));
        refused(root.create_hard_link(name, &*root, b"fine"));
        refused(root.create_hard_link(b"link", &*root, name));
        refused(root.remove(name));
        assert_eq!(root.set_metadata(name, &entry(name, EntryKind::File)).len(), 1);
    }
    assert_eq!(root.names().unwrap(), [b"a".to_vec(), b"fine".to_vec()]);
    assert_eq!(fs::read(base.join("x")).unwrap(), b"outside");
}

/// A folder outside of the target with a file in it, and a target with a link `link` to it.
fn target_with_link(base: &Path) {
    fs::create_dir_all(base.join("outside/folder")).unwrap();
    fs::write(base.join("outside/file"), b"outside").unwrap();
    fs::set_permissions(base.join("outside/file"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(base.join("target")).unwrap();
    symlink("../outside", base.join("target/link")).unwrap();
    symlink("../outside/file", base.join("target/file-link")).unwrap();
}

fn assert_outside_untouched(base: &Path) {
    assert_eq!(fs::read(base.join("outside/file")).unwrap(), b"outside");
    let metadata = fs::metadata(base.join("outside/file")).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o600);
    assert_ne!(metadata.mtime(), 1);
    assert_eq!(fs::read_dir(base.join("outside")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(base.join("outside/folder")).unwrap().count(), 0);
}

#[test]
fn a_link_in_place_of_a_folder_is_refused_or_replaced() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    let root = sink(&base.join("target"));
    assert_eq!(root.open_dir(b"link", false).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert!(fs::symlink_metadata(base.join("target/link")).unwrap().is_symlink());

    let (folder, created) = root.open_dir(b"link", true).unwrap();
    assert!(created);
    write_file(&*folder, &entry(b"file", EntryKind::File), b"inside");
    assert_eq!(fs::read(base.join("target/link/file")).unwrap(), b"inside");
    assert_eq!(fs::metadata(base.join("target/link")).unwrap().mode() & 0o7777, 0o700);
    assert_outside_untouched(&base);
}

#[test]
fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    let root = sink(&base.join("target"));
    assert!(root.open_file(b"file-link").is_err());
    assert_eq!(root.stat(b"file-link").unwrap().unwrap().kind, EntryKind::Symlink);

    let mut wanted = entry(b"file-link", EntryKind::File);
    wanted.stat.mtime = FileTime { seconds: 1, nanoseconds: 0 };
    // The link itself is no file, so nothing is set on it or on what it leads to.
    assert_eq!(root.set_metadata(b"file-link", &wanted).len(), 1);
    assert_outside_untouched(&base);
    write_file(&*root, &wanted, b"inside");
    assert!(fs::symlink_metadata(base.join("target/file-link")).unwrap().is_file());
    assert_outside_untouched(&base);
}

#[test]
fn metadata_of_a_link_is_set_on_the_link() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    let root = sink(&base.join("target"));
    let mut link = entry(b"file-link", EntryKind::Symlink);
    link.stat.mtime = FileTime { seconds: 1, nanoseconds: 5 };
    (link.stat.uid, link.stat.gid) = (4_001, 4_002);
    link.details.xattrs = vec![(b"trusted.x".to_vec(), b"link".to_vec())];
    assert_eq!(root.set_metadata(b"file-link", &link), Vec::<String>::new());
    assert_outside_untouched(&base);
    let stat = root.stat(b"file-link").unwrap().unwrap();
    assert_eq!((stat.uid, stat.gid, stat.mtime), (4_001, 4_002, link.stat.mtime));
    let details = root.details(b"file-link").unwrap();
    assert_eq!(details.xattrs, link.details.xattrs);
    assert_eq!(details.link_target.as_deref(), Some(b"../outside/file".as_slice()));
    assert_eq!(walk(&base.join("outside")).details(&base.join("outside/file")).unwrap().xattrs, []);
}

#[test]
fn a_folder_swapped_for_a_link_during_the_restore_leads_nowhere() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    let root = sink(&base.join("target"));
    let (folder, _) = root.open_dir(b"swapped", false).unwrap();
    let unfinished = folder.create_file(b"file", 6).unwrap();
    unfinished.write_at(0, b"inside").unwrap();
    fs::rename(base.join("target/swapped"), base.join("target/aside")).unwrap();
    symlink("../outside", base.join("target/swapped")).unwrap();

    unfinished.finish(&entry(b"file", EntryKind::File)).unwrap();
    write_file(&*folder, &entry(b"second", EntryKind::File), b"too");
    folder.open_dir(b"folder", true).unwrap();
    folder.create_special(&entry(b"pipe", EntryKind::Fifo)).unwrap();
    folder.remove(b"second").unwrap();
    assert_outside_untouched(&base);
    assert_eq!(fs::read(base.join("target/aside/file")).unwrap(), b"inside");
    // Nor does the metadata of the folder go through the link.
    let mut wanted = entry(b"swapped", EntryKind::Dir);
    wanted.stat.mtime = FileTime { seconds: 1, nanoseconds: 0 };
    assert_eq!(root.set_metadata(b"swapped", &wanted).len(), 1);
    assert_ne!(fs::metadata(base.join("outside")).unwrap().mtime(), 1);
}

#[test]
fn removal_takes_links_and_not_what_they_lead_to() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    fs::create_dir_all(base.join("target/folder/sub")).unwrap();
    symlink("../../../outside", base.join("target/folder/sub/link")).unwrap();
    let root = sink(&base.join("target"));
    root.remove(b"folder").unwrap();
    root.remove(b"link").unwrap();
    root.remove(b"file-link").unwrap();
    assert_eq!(root.names().unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(root.remove(b"folder").unwrap_err().kind(), ErrorKind::NotFound);
    assert_outside_untouched(&base);
}

#[test]
fn hard_links_are_made_to_links_and_not_to_what_they_lead_to() {
    let (_guard, base) = scratch();
    target_with_link(&base);
    let root = sink(&base.join("target"));
    root.create_hard_link(b"second", &*root, b"file-link").unwrap();
    assert_eq!(root.stat(b"second").unwrap().unwrap().kind, EntryKind::Symlink);
    assert_eq!(fs::metadata(base.join("outside/file")).unwrap().nlink(), 1);
}

#[test]
fn a_pipe_in_place_of_a_file_never_blocks() {
    let (_guard, base) = scratch();
    make_node(&base.join("pipe"), FileType::Fifo, (0, 0));
    let root = sink(&base);
    assert!(root.open_file(b"pipe").is_err());
    assert_eq!(root.set_metadata(b"pipe", &entry(b"pipe", EntryKind::File)).len(), 1);
    assert!(root.open_dir(b"pipe", false).is_err());
    write_file(&*root, &entry(b"pipe", EntryKind::File), b"file");
    assert_eq!(fs::read(base.join("pipe")).unwrap(), b"file");
}

/// The walk's view of one entry of a folder, which is then changed.
fn seen(path: &Path) -> (std::sync::Arc<dyn Folder>, Found) {
    let walked = walk(path);
    let seen = walked.seen(path);
    (std::sync::Arc::clone(&seen.folder), seen.found.clone())
}

#[test]
fn what_became_of_a_file_since_the_walk_is_told() {
    let (_guard, base) = scratch();
    let path = base.join("file");
    let change: [(&str, &dyn Fn()); 4] = [
        ("link", &|| symlink("other", &path).unwrap()),
        ("pipe", &|| make_node(&path, FileType::Fifo, (0, 0))),
        ("folder", &|| fs::create_dir(&path).unwrap()),
        ("nothing", &|| {}),
    ];
    fs::write(base.join("other"), b"other").unwrap();
    for (what, replace) in change {
        fs::write(&path, b"content").unwrap();
        let (folder, found) = seen(&path);
        fs::remove_file(&path).unwrap();
        replace();
        let error = read_all(&*folder, &found).expect_err(what);
        assert_eq!(error.kind() == ErrorKind::NotFound, what == "nothing", "{what}: {error}");
        run(&["rm", "-rf", path.to_str().unwrap()]);
    }
    // Another file under the same name is what the user wants; its stat shows that it is one.
    fs::write(&path, b"content").unwrap();
    let (folder, found) = seen(&path);
    fs::write(base.join("new"), b"new content").unwrap();
    fs::rename(base.join("new"), &path).unwrap();
    assert_eq!(read_all(&*folder, &found).unwrap(), b"new content");
    let stat = folder.open(&found).unwrap().stat().unwrap().unwrap();
    assert_ne!(stat.inode, found.stat.inode);
}

#[test]
fn folders_that_vanish_or_turn_into_links_are_not_entered() {
    let (_guard, base) = scratch();
    for folder in ["a", "gone", "swapped"] {
        fs::create_dir(base.join(folder)).unwrap();
    }
    let source = source(FileSourceOptions { roots: vec![base.clone()], ..Default::default() });
    let mut scan = source.scan().unwrap();
    let mut problems = Vec::new();
    while let Some(batch) = scan.next_batch().unwrap() {
        if batch.entries.iter().any(|found| found.name == b"swapped") {
            fs::remove_dir(base.join("gone")).unwrap();
            fs::remove_dir(base.join("swapped")).unwrap();
            symlink("/etc", base.join("swapped")).unwrap();
        }
        let is_inner = batch.path.names().next_back() == Some(b"swapped".as_slice());
        assert!(!is_inner || batch.entries.is_empty());
        problems.extend(batch.problems);
    }
    let told: Vec<(&str, bool)> =
        problems.iter().map(|problem| (problem.item.as_str(), problem.is_error)).collect();
    let shown = |name: &str| base.join(name).to_str().unwrap().to_owned();
    assert_eq!(told, [(shown("gone").as_str(), false), (shown("swapped").as_str(), true)]);
}
