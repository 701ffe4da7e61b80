//! Depth and descriptors: trees that no path can name, with few descriptors to spare.

use std::fs;

use rustix::fs::{Mode, OFlags};
use strongroom_core::{entry::EntryKind, source::Sink};
use strongroom_sources::{
    files::FileSourceOptions,
    sink::{FileSink, FileSinkOptions},
};

use crate::support::{
    entry, is_inside, make_chain, scratch, sink, source, tree_path, walk, write_file,
};

use strongroom_core::{entry::TreePath, source::Source};

const FEW_DESCRIPTORS: &[&str] = &["sh", "-c", "ulimit -n 256 && exec \"$0\" \"$@\""];
const DEPTH: usize = 5_000;

/// Where a chain of folders leads, below `base`.
fn deep_path(base: &std::path::Path, depth: usize) -> TreePath {
    let mut path = tree_path(base).as_bytes().to_vec();
    path.extend(b"/d".repeat(depth));
    TreePath::parse(&path).unwrap()
}

#[test]
fn depth_is_walked_and_removed_with_few_descriptors() {
    if !is_inside("limits::depth_is_walked_and_removed_with_few_descriptors", FEW_DESCRIPTORS) {
        return;
    }
    let (_guard, base) = scratch();
    let target = base.join("target");
    fs::create_dir(&target).unwrap();
    let bottom = make_chain(&target, "d", DEPTH);
    // Comes after the deep folder: the walk must find its way back.
    fs::create_dir_all(target.join("d/d/e/late")).unwrap();
    let flags = OFlags::WRONLY | OFlags::CREATE;
    drop(rustix::fs::openat(&bottom, "file", flags, Mode::RWXU).unwrap());
    drop(bottom);

    let source = source(FileSourceOptions { roots: vec![base.clone()], ..Default::default() });
    let mut scan = source.scan().unwrap();
    let (mut count, mut files, mut deepest) = (0, 0, 0);
    while let Some(batch) = scan.next_batch().unwrap() {
        assert!(batch.problems.is_empty(), "{:?}", batch.problems);
        deepest = deepest.max(batch.path.names().count());
        count += 1;
        for found in batch.entries.iter().filter(|found| found.stat.kind == EntryKind::File) {
            batch.folder.details(found).unwrap();
            batch.folder.open(found).unwrap();
            files += 1;
        }
    }
    let above = tree_path(&target).names().count();
    assert_eq!((count, files, deepest), (1 + above + DEPTH + 2, 1, above + DEPTH));

    let root = sink(&base);
    root.remove(b"target").unwrap();
    assert_eq!(root.names().unwrap(), Vec::<Vec<u8>>::new());
}

#[test]
fn depth_is_restored_with_few_descriptors() {
    if !is_inside("limits::depth_is_restored_with_few_descriptors", FEW_DESCRIPTORS) {
        return;
    }
    let (_guard, base) = scratch();
    let sink = FileSink::new(base.clone(), FileSinkOptions::default());
    let path = TreePath::parse("d/".repeat(DEPTH).trim_end_matches('/').as_bytes()).unwrap();
    let folder = sink.folder(&path).unwrap();
    write_file(&*folder, &entry(b"file", EntryKind::File), b"deep");
    drop(folder);

    // Found again from the root.
    let folder = sink.folder(&path).unwrap();
    let mut content = [0; 9];
    assert_eq!(folder.open_file(b"file").unwrap().read_at(0, &mut content).unwrap(), 4);
    let walked = walk_batches(&base);
    assert_eq!(walked.last(), Some(&deep_path(&base, DEPTH)));
    sink.root().unwrap().remove(b"d").unwrap();
}

fn walk_batches(root: &std::path::Path) -> Vec<TreePath> {
    let source = source(FileSourceOptions { roots: vec![root.to_owned()], ..Default::default() });
    let mut scan = source.scan().unwrap();
    let mut paths = Vec::new();
    while let Some(batch) = scan.next_batch().unwrap() {
        paths.push(batch.path);
    }
    paths
}

#[test]
fn a_walk_makes_do_with_the_descriptors_that_are_left() {
    let wrapper = ["sh", "-c", "ulimit -n 24 && exec \"$0\" \"$@\""];
    if !is_inside("limits::a_walk_makes_do_with_the_descriptors_that_are_left", &wrapper) {
        return;
    }
    let (_guard, base) = scratch();
    ladder(&base);
    let (steps, problems) = walk_ladder(&base, || {});
    assert_eq!((steps, problems), (100, Vec::new()));
    sink(&base).remove(b"d").unwrap();
}

#[test]
fn paths_longer_than_the_system_takes_are_walked() {
    let (_guard, base) = scratch();
    let name = "n".repeat(255);
    let bottom = make_chain(&base, &name, 40);
    let flags = OFlags::WRONLY | OFlags::CREATE;
    drop(rustix::fs::openat(bottom, &*name, flags, Mode::RWXU).unwrap());
    let walked = walk(&base);
    assert!(walked.problems.is_empty(), "{:?}", walked.problems);
    let (path, seen) = walked.entries.last_key_value().unwrap();
    assert!(path.as_bytes().len() > 10_000);
    assert_eq!(seen.found.stat.kind, EntryKind::File);
    seen.folder.open(&seen.found).unwrap();
    sink(&base).remove(name.as_bytes()).unwrap();
}

/// A chain of 100 folders, with a folder `z` beside each of them.
fn ladder(base: &std::path::Path) {
    let mut path = base.to_owned();
    for _ in 0..100 {
        fs::create_dir(path.join("z")).unwrap();
        path.push("d");
        fs::create_dir(&path).unwrap();
    }
}

/// Walks a ladder, calls `disturb` at its bottom; gives the number of folders `z` that were
/// entered and all problems.
fn walk_ladder(
    base: &std::path::Path,
    disturb: impl FnOnce(),
) -> (usize, Vec<strongroom_core::monitor::Problem>) {
    let source = source(FileSourceOptions { roots: vec![base.to_owned()], ..Default::default() });
    let mut scan = source.scan().unwrap();
    let bottom = deep_path(base, 100);
    let mut disturb = Some(disturb);
    let (mut steps, mut problems) = (0, Vec::new());
    while let Some(batch) = scan.next_batch().unwrap() {
        let is_step = batch.path.names().next_back() == Some(b"z".as_slice());
        steps += usize::from(is_step && batch.problems.is_empty());
        problems.extend(batch.problems);
        if batch.path == bottom {
            disturb.take().unwrap()();
        }
    }
    assert!(disturb.is_none(), "the bottom was not reached");
    (steps, problems)
}

#[test]
fn a_folder_moved_during_the_walk_does_not_lead_it_astray() {
    let (_guard, base) = scratch();
    fs::create_dir(base.join("walked")).unwrap();
    ladder(&base.join("walked"));
    let moved = base.join("walked/d/d/d");
    let elsewhere = base.join("elsewhere");
    let walked = base.join("walked");
    let (steps, problems) = walk_ladder(&walked, || fs::rename(&moved, &elsewhere).unwrap());
    assert_eq!((steps, problems), (100, Vec::new()));
}

#[test]
fn folders_that_cannot_be_found_again_are_reported() {
    let (_guard, base) = scratch();
    fs::create_dir(base.join("walked")).unwrap();
    ladder(&base.join("walked"));
    let walked = base.join("walked");
    let (steps, problems) = walk_ladder(&walked, || {
        fs::rename(base.join("walked/d/d/d"), base.join("elsewhere")).unwrap();
        fs::rename(base.join("walked/d/d"), base.join("walked/other")).unwrap();
        fs::create_dir_all(base.join("walked/d/d/z")).unwrap();
    });
    // The step in `walked/d/d` is lost; those below were entered from the moved folder, those
    // above from the top again.
    assert_eq!(steps, 99);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].item, walked.join("d/d/z").to_str().unwrap());
    assert!(problems[0].is_error);
}
