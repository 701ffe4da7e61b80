//! What is left out on purpose.

use std::{fs, path::Path};

use strongroom_core::error::ErrorKind;
use strongroom_sources::files::{FileSource, FileSourceOptions, Tag};

use crate::support::{scratch, walk_with};

const SIGNATURE: &str = "Signature: 8a477f597d28d172789f06886806bc55\n# more";

fn tree(base: &Path, files: &[&str]) {
    for file in files {
        let path = base.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"content").unwrap();
    }
}

fn patterns(base: &Path, patterns: &[&str]) -> Vec<String> {
    let exclude_patterns =
        patterns.iter().map(|pattern| pattern.replace("BASE", base.to_str().unwrap())).collect();
    let options = FileSourceOptions { exclude_patterns, ..Default::default() };
    walk_with(base, options).below(base)
}

#[test]
fn patterns_leave_out_files_and_whole_folders() {
    let (_guard, base) = scratch();
    tree(&base, &["a.o", "a.c", "target/x", "sub/b.o", "sub/target/y", "sub/keep"]);
    assert_eq!(patterns(&base, &["*.o", "target/"]), ["a.c", "sub", "sub/keep"]);
    assert_eq!(
        patterns(&base, &["BASE/target", "*.o"]),
        ["a.c", "sub", "sub/keep", "sub/target", "sub/target/y"]
    );
    assert_eq!(
        patterns(&base, &["sub/target", "a.*", "!a.c"]),
        ["a.c", "sub", "sub/b.o", "sub/keep", "target", "target/x"]
    );
    // Nothing comes back out of a folder that is left out.
    let left = patterns(&base, &["target", "!target/x"]);
    assert_eq!(left, ["a.c", "a.o", "sub", "sub/b.o", "sub/keep"]);
}

#[test]
fn roots_are_taken_whatever_the_patterns() {
    let (_guard, base) = scratch();
    tree(&base, &["cache/file", "cache/cache/file"]);
    let root = base.join("cache");
    let exclude_patterns = vec!["cache".to_owned()];
    let options = FileSourceOptions { exclude_patterns, ..Default::default() };
    assert_eq!(walk_with(&root, options).below(&root), ["file"]);
}

#[test]
fn of_caches_only_the_folder_and_its_tag_are_taken() {
    let (_guard, base) = scratch();
    tree(&base, &["cache/a", "cache/sub/b", "fake/a", "folder/CACHEDIR.TAG/x"]);
    fs::write(base.join("cache/CACHEDIR.TAG"), SIGNATURE).unwrap();
    fs::write(base.join("fake/CACHEDIR.TAG"), "Signature: something else").unwrap();
    let expected_else = ["fake", "fake/CACHEDIR.TAG", "fake/a"];
    let folder = ["folder", "folder/CACHEDIR.TAG", "folder/CACHEDIR.TAG/x"];

    let options = FileSourceOptions { exclude_caches: true, ..Default::default() };
    let found = walk_with(&base, options).below(&base);
    let expected = [["cache", "cache/CACHEDIR.TAG"].as_slice(), &expected_else, &folder].concat();
    assert_eq!(found, expected);

    let found = walk_with(&base, FileSourceOptions::default()).below(&base);
    assert_eq!(found.len(), expected.len() + 3);
}

#[test]
fn of_folders_with_a_tag_only_the_folder_and_the_tag_are_taken() {
    let (_guard, base) = scratch();
    tree(&base, &["a/.nobackup", "a/x", "b/.nobackup", "b/x", "c/x"]);
    fs::write(base.join("b/.nobackup"), b"other").unwrap();
    let with = |header: &[u8]| {
        let tag = Tag { name: c".nobackup".to_owned(), header: header.to_vec() };
        let options = FileSourceOptions { exclude_if_present: vec![tag], ..Default::default() };
        walk_with(&base, options).below(&base)
    };
    assert_eq!(with(b""), ["a", "a/.nobackup", "b", "b/.nobackup", "c", "c/x"]);
    assert_eq!(with(b"cont"), ["a", "a/.nobackup", "b", "b/.nobackup", "b/x", "c", "c/x"]);
}

#[test]
fn long_files_are_left_out() {
    let (_guard, base) = scratch();
    tree(&base, &["folder/seven"]);
    fs::write(base.join("eight"), b"12345678").unwrap();
    let options = FileSourceOptions { exclude_larger_than_bytes: Some(7), ..Default::default() };
    assert_eq!(walk_with(&base, options).below(&base), ["folder", "folder/seven"]);
}

#[test]
fn wrong_options_are_refused_before_any_work() {
    let roots = vec!["/".into()];
    let refused = |options: FileSourceOptions| {
        let error = FileSource::new(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    };
    refused(FileSourceOptions::default());
    let exclude_patterns = vec!["fine".into(), "[z-a]".into()];
    let message =
        refused(FileSourceOptions { roots: roots.clone(), exclude_patterns, ..Default::default() });
    assert!(message.contains("`[z-a]`"), "{message}");
    let tag = Tag { name: c"a/b".to_owned(), header: Vec::new() };
    let message =
        refused(FileSourceOptions { roots, exclude_if_present: vec![tag], ..Default::default() });
    assert!(message.starts_with("a/b: "), "{message}");
}
