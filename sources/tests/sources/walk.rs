//! What a walk finds, in which order, and what it says about what it cannot find.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::PathBuf,
};

use proptest::prelude::*;
use rustix::fs::FileType;
use strongroom_core::{
    entry::{EntryKind, FileTime, TreePath},
    source::Source,
};
use strongroom_sources::files::{FileSourceOptions, FolderId};

use crate::support::{
    Walked, as_nobody, bytes_path, give_to_nobody, make_node, scratch, source, walk, walk_with,
};

#[test]
fn every_kind_of_entry_is_found_with_its_stat() {
    let (_guard, base) = scratch();
    fs::write(base.join("file"), b"content").unwrap();
    fs::create_dir(base.join("folder")).unwrap();
    symlink("nowhere", base.join("link")).unwrap();
    let _socket = UnixListener::bind(base.join("socket")).unwrap();
    make_node(&base.join("pipe"), FileType::Fifo, (0, 0));
    make_node(&base.join("null"), FileType::CharacterDevice, (1, 3));
    make_node(&base.join("disk"), FileType::BlockDevice, (259, 70_000));
    let time = FileTime { seconds: -86_400, nanoseconds: 123_456_789 };
    crate::support::run(&[
        "touch",
        "-h",
        "-d",
        "1969-12-31 00:00:00.123456789 UTC",
        base.join("file").to_str().unwrap(),
    ]);
    fs::set_permissions(base.join("file"), fs::Permissions::from_mode(0o6751)).unwrap();

    let walked = walk(&base);
    let kind = |name: &str| walked.stat(&base.join(name)).kind;
    assert_eq!(kind("file"), EntryKind::File);
    assert_eq!(kind("folder"), EntryKind::Dir);
    assert_eq!(kind("link"), EntryKind::Symlink);
    assert_eq!(kind("socket"), EntryKind::Socket);
    assert_eq!(kind("pipe"), EntryKind::Fifo);
    let file = walked.stat(&base.join("file"));
    assert_eq!((file.size, file.mode, file.links, file.mtime), (7, 0o6751, 1, time));
    assert_eq!(file.device_number, 0);
    let null = walked.stat(&base.join("null"));
    assert_eq!((null.kind, null.device_number), (EntryKind::CharDevice, 1 << 32 | 3));
    let disk = walked.stat(&base.join("disk"));
    assert_eq!((disk.kind, disk.device_number), (EntryKind::BlockDevice, 259 << 32 | 70_000));
    assert!(walked.problems.is_empty(), "{:?}", walked.problems);
    for name in ["folder", "link", "socket", "pipe", "null", "disk"] {
        let seen = walked.seen(&base.join(name));
        assert!(seen.folder.open(&seen.found).is_err(), "{name} was opened as a file");
        assert_eq!(seen.found.stat.size, 0, "{name}");
    }
    assert_eq!(walked.read(&base.join("file")).unwrap(), b"content");
}

#[test]
fn folders_come_before_what_lies_in_them_and_siblings_by_name() {
    let (_guard, base) = scratch();
    for folder in ["a/x", "a b", "a.d/y", "B", "ab/c/d"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    fs::write(base.join("a-file"), b"").unwrap();
    let walked = walk(&base);
    let expected = ["B", "a", "a/x", "a b", "a-file", "a.d", "a.d/y", "ab", "ab/c", "ab/c/d"];
    assert_eq!(walked.below(&base), expected);
    assert!(walked.batches.is_sorted());
}

#[test]
fn above_the_roots_only_the_way_to_them_is_found() {
    let (_guard, base) = scratch();
    for folder in ["one/root/in", "one/other", "two"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    fs::write(base.join("two/file"), b"x").unwrap();
    fs::write(base.join("two/ignored"), b"x").unwrap();
    let roots = vec![base.join("two/file"), base.join("one/root")];
    let source = source(FileSourceOptions { roots, ..Default::default() });
    let walked = Walked::of(&source);
    assert_eq!(walked.below(&base), ["one", "one/root", "one/root/in", "two", "two/file"]);
    assert_eq!(walked.batches[0], TreePath::root());
    assert_eq!(walked.stat(&base).kind, EntryKind::Dir);
    assert!(walked.problems.is_empty());
    let shown = |name: &str| base.join(name).to_str().unwrap().to_owned();
    assert_eq!(source.roots(), [shown("one/root"), shown("two/file")]);
}

#[test]
fn links_are_followed_above_a_root_and_nowhere_else() {
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("real/root")).unwrap();
    fs::write(base.join("real/root/file"), b"x").unwrap();
    symlink("real", base.join("link")).unwrap();
    symlink("..", base.join("real/root/up")).unwrap();

    let walked = walk(&base.join("link/root"));
    assert_eq!(walked.stat(&base.join("link")).kind, EntryKind::Dir);
    assert_eq!(walked.below(&base.join("link/root")), ["file", "up"]);
    assert_eq!(walked.stat(&base.join("link/root/up")).kind, EntryKind::Symlink);

    let walked = walk(&base.join("link"));
    assert_eq!(walked.stat(&base.join("link")).kind, EntryKind::Symlink);
    assert_eq!(walked.problems.len(), 1);
    assert!(!walked.problems[0].is_error);
}

#[test]
fn a_missing_root_is_a_problem_and_the_others_are_taken() {
    let (_guard, base) = scratch();
    fs::create_dir(base.join("there")).unwrap();
    let roots = vec![base.join("missing"), base.join("there")];
    let walked = Walked::of(&source(FileSourceOptions { roots, ..Default::default() }));
    assert_eq!(walked.below(&base), ["there"]);
    assert_eq!(walked.problems.len(), 1);
    assert!(walked.problems[0].is_error);
    assert_eq!(walked.problems[0].item, base.join("missing").to_str().unwrap());
}

#[test]
fn without_any_root_there_is_nothing_to_scan() {
    let (_guard, base) = scratch();
    let roots = vec![base.join("missing")];
    let source = source(FileSourceOptions { roots, ..Default::default() });
    let error = source.scan().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with(base.to_str().unwrap()), "{error}");
}

#[test]
fn names_are_bytes() {
    let (_guard, base) = scratch();
    let long = [b'n'; 255];
    let names: [&[u8]; 6] = [&long, b"\xff\xfe", b"new\nline", b" ", "n\u{e4}".as_bytes(), b"-rf"];
    for name in names {
        fs::write(bytes_path(&base, name), name).unwrap();
    }
    fs::write(base.join("na\u{308}"), b"decomposed").unwrap();
    let walked = walk(&base);
    for name in names {
        assert_eq!(walked.read(&bytes_path(&base, name)).unwrap(), name);
    }
    assert_eq!(walked.below(&base).len(), names.len() + 1);
}

#[test]
fn all_names_of_an_inode_are_found() {
    let (_guard, base) = scratch();
    fs::write(base.join("0"), b"shared").unwrap();
    for number in 1..10_000 {
        fs::hard_link(base.join("0"), base.join(number.to_string())).unwrap();
    }
    let walked = walk(&base);
    let first = walked.stat(&base.join("0"));
    assert_eq!(first.links, 10_000);
    let same = (0..10_000)
        .map(|number| walked.stat(&base.join(number.to_string())))
        .all(|stat| (stat.device, stat.inode) == (first.device, first.inode));
    assert!(same);
}

#[test]
fn the_repository_is_left_out_with_a_note() {
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("data/repository/packs")).unwrap();
    fs::write(base.join("data/file"), b"x").unwrap();
    let repository = base.join("data/repository");
    let skip_folders = vec![FolderId::of(&repository).unwrap()];
    let options = FileSourceOptions { skip_folders, ..Default::default() };
    let walked = walk_with(&base, options.clone());
    assert_eq!(walked.below(&base), ["data", "data/file"]);
    assert_eq!(walked.problems.len(), 1);
    assert!(!walked.problems[0].is_error);

    // Asked for by name it is more than a note.
    let walked = walk_with(&repository, options);
    assert!(walked.problems[0].is_error);
}

#[test]
fn what_may_not_be_read_is_a_problem_and_the_walk_goes_on() {
    let (_guard, base) = scratch();
    for folder in ["closed/in", "listed", "open"] {
        fs::create_dir_all(base.join(folder)).unwrap();
    }
    fs::write(base.join("closed-file"), b"secret").unwrap();
    fs::write(base.join("listed/unseen"), b"x").unwrap();
    fs::write(base.join("open/file"), b"x").unwrap();
    give_to_nobody(&base);
    for (name, mode) in [("closed", 0o000), ("closed-file", 0o000), ("listed", 0o400)] {
        fs::set_permissions(base.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    as_nobody(move || {
        let walked = walk(&base);
        let expected = ["closed", "closed-file", "listed", "open", "open/file"];
        assert_eq!(walked.below(&base), expected);
        let items: Vec<&str> = walked.problems.iter().map(|p| p.item.as_str()).collect();
        let shown = |name: &str| base.join(name).to_str().unwrap().to_owned();
        assert_eq!(items, [shown("closed"), shown("listed/unseen")]);
        assert!(walked.problems.iter().all(|problem| problem.is_error));
        // Every folder has a batch, even if nothing is in it.
        assert_eq!(
            walked.batches.iter().filter(|path| path.display().contains("closed")).count(),
            1
        );
        let error = walked.read(&base.join("closed-file")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        // The rest is known even so.
        assert!(walked.details(&base.join("closed-file")).is_ok());
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..Default::default() })]

    /// Whatever the tree: each entry once, folders before what lies in them, sorted by names, and
    /// one batch for each folder.
    #[test]
    fn any_tree_is_found_whole_and_in_order(
        paths in prop::collection::vec(prop::collection::vec("[a-c .\\-/\u{e4}]{1,3}", 1..5), 0..20)
    ) {
        let (_guard, base) = scratch();
        for parts in &paths {
            let valid = parts.iter().filter(|part| {
                strongroom_core::entry::is_valid_name(part.as_bytes())
            });
            fs::create_dir_all(base.join(valid.collect::<PathBuf>())).unwrap();
        }
        let walked = walk(&base);
        prop_assert!(walked.batches.is_sorted());
        let folders = walked.entries.keys().cloned();
        let expected: Vec<TreePath> = std::iter::once(TreePath::root()).chain(folders).collect();
        prop_assert_eq!(&walked.batches, &expected);
        let output = std::process::Command::new("find").arg(&base).output().unwrap();
        let count = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(walked.below(&base).len() + 1, count);
    }
}
