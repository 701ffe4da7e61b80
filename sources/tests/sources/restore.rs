//! How content and names appear in a target.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt, symlink},
    path::Path,
};

use strongroom_core::{
    entry::EntryKind,
    source::{Sink, SinkDir},
};
use strongroom_sources::sink::{FileSink, FileSinkOptions};

use crate::support::{entry, run, scratch, sink, write_file};

fn names(folder: &dyn SinkDir) -> Vec<String> {
    let names = folder.names().unwrap();
    names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
}

fn entries_on_disk(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn a_missing_target_is_created_for_its_user_alone() {
    let (_guard, base) = scratch();
    let target = base.join("a/b");
    let file_sink = FileSink::new(&target, FileSinkOptions::default());
    assert!(file_sink.available_bytes().unwrap() > 0);
    assert!(!file_sink.exists() && !target.exists());
    file_sink.root().unwrap();
    assert!(file_sink.exists());
    assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o700);
    fs::write(base.join("file"), b"").unwrap();
    let blocked = FileSink::new(base.join("file"), FileSinkOptions::default());
    assert!(blocked.root().is_err());
}

#[test]
fn a_file_appears_when_it_is_complete() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let file = root.create_file(b"file", 10).unwrap();
    file.write_at(5, b"world").unwrap();
    assert_eq!(root.stat(b"file").unwrap(), None);
    assert_eq!(names(&*root), [""; 0], "an unfinished file shows");
    file.write_at(0, b"hello").unwrap();
    assert_eq!(file.finish(&entry(b"file", EntryKind::File)).unwrap(), Vec::<String>::new());
    assert_eq!(fs::read(base.join("file")).unwrap(), b"helloworld");
    assert_eq!(entries_on_disk(&base), 1);
}

#[test]
fn a_file_that_is_not_finished_leaves_what_was_there() {
    let (_guard, base) = scratch();
    fs::write(base.join("file"), b"old").unwrap();
    let root = sink(&base);
    for name in [b"file".as_slice(), b"new"] {
        let file = root.create_file(name, 3).unwrap();
        file.write_at(0, b"new").unwrap();
        drop(file);
    }
    assert_eq!(fs::read(base.join("file")).unwrap(), b"old");
    assert_eq!(entries_on_disk(&base), 1);
}

#[test]
fn a_file_replaces_a_file_as_a_new_one() {
    let (_guard, base) = scratch();
    fs::write(base.join("file"), b"old").unwrap();
    fs::hard_link(base.join("file"), base.join("other name")).unwrap();
    write_file(&*sink(&base), &entry(b"file", EntryKind::File), b"new");
    assert_eq!(fs::read(base.join("file")).unwrap(), b"new");
    assert_eq!(fs::read(base.join("other name")).unwrap(), b"old");
}

#[test]
fn a_folder_is_never_replaced_by_a_file() {
    let (_guard, base) = scratch();
    fs::create_dir(base.join("name")).unwrap();
    let root = sink(&base);
    let file = root.create_file(b"name", 0).unwrap();
    assert!(file.finish(&entry(b"name", EntryKind::File)).is_err());
    assert!(root.create_special(&entry(b"name", EntryKind::Fifo)).is_err());
    assert!(base.join("name").is_dir());
    assert_eq!(entries_on_disk(&base), 1);
}

#[test]
fn ranges_that_are_not_written_are_holes() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let size = 1 << 40;
    let file = root.create_file(b"sparse", size).unwrap();
    file.write_at(1 << 39, b"in the middle").unwrap();
    file.finish(&entry(b"sparse", EntryKind::File)).unwrap();
    let metadata = fs::metadata(base.join("sparse")).unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20);
    let mut content = [0; 13];
    fs::File::open(base.join("sparse")).unwrap().read_exact_at(&mut content, 1 << 39).unwrap();
    assert_eq!(&content, b"in the middle");
}

#[test]
fn nothing_is_written_beyond_the_end() {
    let (_guard, base) = scratch();
    let file = sink(&base).create_file(b"file", 4).unwrap();
    for (offset, bytes) in [(1, b"1234".as_slice()), (5, b""), (u64::MAX, b"1")] {
        assert_eq!(file.write_at(offset, bytes).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    file.write_at(4, b"").unwrap();
}

#[test]
fn a_file_is_written_from_several_threads() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let file = root.create_file(b"file", 64 * 1_000).unwrap();
    std::thread::scope(|scope| {
        for part in (0..64_u8).rev() {
            let file = &file;
            scope.spawn(move || {
                file.write_at(u64::from(part) * 1_000, &[part; 1_000]).unwrap();
            });
        }
    });
    file.finish(&entry(b"file", EntryKind::File)).unwrap();
    let expected: Vec<u8> = (0..64).flat_map(|part| [part; 1_000]).collect();
    assert_eq!(fs::read(base.join("file")).unwrap(), expected);
}

#[test]
fn many_files_and_listings_at_once_do_not_disturb_each_other() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = &root;
            scope.spawn(move || {
                for number in 0..100 {
                    let name = format!("{thread}-{number}");
                    write_file(&**root, &entry(name.as_bytes(), EntryKind::File), b"x");
                    let seen = names(&**root);
                    assert!(seen.contains(&name));
                    assert!(seen.iter().all(|name| !name.starts_with('.')));
                }
            });
        }
    });
    assert_eq!(entries_on_disk(&base), 400);
}

#[test]
fn folders_are_opened_or_created() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let (folder, created) = root.open_dir(b"folder", false).unwrap();
    assert!(created);
    assert_eq!(root.stat(b"folder").unwrap().unwrap().mode, 0o700);
    write_file(&*folder, &entry(b"file", EntryKind::File), b"x");
    let (folder, created) = root.open_dir(b"folder", true).unwrap();
    assert!(!created);
    assert_eq!(names(&*folder), ["file"]);
    fs::write(base.join("plain"), b"x").unwrap();
    assert!(root.open_dir(b"plain", false).is_err());
    assert!(root.open_dir(b"plain", true).unwrap().1);
}

#[test]
fn special_files_replace_anything_but_folders() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let mut link = entry(b"name", EntryKind::Symlink);
    link.details.link_target = Some(b"../\xff".to_vec());
    let mut device = entry(b"name", EntryKind::BlockDevice);
    device.stat.device_number = 259 << 32 | 70_000;
    for wanted in [
        &link,
        &entry(b"name", EntryKind::Fifo),
        &device,
        &link,
        &entry(b"name", EntryKind::Socket),
        &entry(b"name", EntryKind::CharDevice),
    ] {
        root.create_special(wanted).unwrap();
        let stat = root.stat(b"name").unwrap().unwrap();
        assert_eq!(stat.kind, wanted.stat.kind);
        assert_eq!(stat.device_number, wanted.stat.device_number);
        let target = root.details(b"name").unwrap().link_target;
        assert_eq!(target, wanted.details.link_target);
        assert_eq!(entries_on_disk(&base), 1);
    }
    assert!(root.create_special(&entry(b"file", EntryKind::File)).is_err());
    // A link without a target is what only a hostile tree holds.
    assert!(root.create_special(&entry(b"empty", EntryKind::Symlink)).is_err());
}

#[test]
fn hard_links_replace_anything_but_folders() {
    let (_guard, base) = scratch();
    let root = sink(&base);
    let (folder, _) = root.open_dir(b"folder", false).unwrap();
    write_file(&*folder, &entry(b"original", EntryKind::File), b"shared");
    symlink("nowhere", base.join("link")).unwrap();
    fs::write(base.join("file"), b"other").unwrap();
    // The last one is a link to the same inode already.
    for name in [b"new".as_slice(), b"link", b"file", b"new"] {
        root.create_hard_link(name, &*folder, b"original").unwrap();
    }
    assert_eq!(fs::metadata(base.join("folder/original")).unwrap().nlink(), 4);
    assert_eq!(names(&*root), ["file", "folder", "link", "new"]);
    assert_eq!(entries_on_disk(&base), 4);
    assert!(root.create_hard_link(b"folder", &*folder, b"original").is_err());
    assert!(root.create_hard_link(b"x", &*folder, b"missing").is_err());
    let (_other_guard, other) = scratch();
    assert!(sink(&other).create_hard_link(b"x", &*folder, b"original").is_ok());
}

#[test]
fn existing_files_are_read_for_comparison() {
    let (_guard, base) = scratch();
    fs::write(base.join("file"), b"0123456789").unwrap();
    let file = sink(&base).open_file(b"file").unwrap();
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(4, &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"4567");
    assert_eq!(file.read_at(8, &mut buffer).unwrap(), 2);
    assert_eq!(file.read_at(99, &mut buffer).unwrap(), 0);
    assert_eq!(sink(&base).open_file(b"none").err().unwrap().kind(), ErrorKind::NotFound);
}

#[test]
fn folders_are_removed_with_all_that_is_in_them() {
    let (_guard, base) = scratch();
    for number in 0..50 {
        let folder = base.join(format!("top/{}/{number}", number % 7));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), b"x").unwrap();
    }
    run(&["mkfifo", base.join("top/pipe").to_str().unwrap()]);
    let root = sink(&base);
    root.remove(b"top").unwrap();
    assert_eq!(entries_on_disk(&base), 0);
}
