//! Are the witnesses honest: a true copy passes, and every single change is seen. A comparison
//! that sees nothing would let every other test pass.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::support::{
    Lab, assert_same_tree, differences,
    fixture::{self, set_mode, set_time},
    is_root, rsync_differences,
};

fn copy(lab: &Lab) {
    let status = Command::new("cp")
        .args(["-a", "--reflink=never"])
        .args([lab.source(), lab.path("copy")])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn a_true_copy_of_everything_is_the_same() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    copy(&lab);
    assert_same_tree(&lab.source(), &lab.path("copy"));
}

#[test]
fn a_true_copy_of_a_terabyte_of_holes_is_the_same() {
    let lab = Lab::new();
    fixture::sparse(&lab.source(), 1 << 40);
    copy(&lab);
    assert_eq!(differences(&lab.source(), &lab.path("copy")), Vec::<String>::new());
}

#[test]
fn depth_does_not_matter() {
    let lab = Lab::new();
    // No program at hand copies paths of 10,000 bytes, so the same tree is built twice.
    fixture::deep(&lab.source(), 5_000);
    fixture::deep(&lab.path("copy"), 5_000);
    assert_eq!(differences(&lab.source(), &lab.path("copy")), Vec::<String>::new());
    fixture::deep(&lab.path("short"), 4_999);
    let found = differences(&lab.source(), &lab.path("short"));
    assert!(found.iter().any(|line| line.contains("missing")), "{found:?}");
}

#[test]
fn every_change_is_seen() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 12] = [
        ("a missing file", |copy| fs::remove_file(copy.join("kinds/empty")).unwrap()),
        ("an extra file", |copy| fs::write(copy.join("extra"), b"").unwrap()),
        ("a missing socket", |copy| fs::remove_file(copy.join("kinds/socket")).unwrap()),
        ("other content, same size and time", |copy| {
            let path = copy.join("times/1970");
            fs::write(&path, b"1971").unwrap();
            set_time(&path, 0, 123_456_789);
        }),
        ("another mode", |copy| set_mode(&copy.join("kinds/private"), 0o640)),
        ("a lost setuid bit", |copy| set_mode(&copy.join("kinds/setuid"), 0o755)),
        ("one nanosecond", |copy| set_time(&copy.join("times/1923"), -1_500_000_000, 123_456_790)),
        ("the time of a folder", |copy| set_time(&copy.join("times/folder"), 1_000_000_000, 2)),
        ("a link that leads elsewhere", |copy| {
            let link = copy.join("kinds/dangling link");
            fs::remove_file(&link).unwrap();
            symlink("nowhere/at ALL", link).unwrap();
        }),
        ("a lost attribute", |copy| {
            rustix::fs::removexattr(copy.join("metadata/attributes"), "user.empty").unwrap();
        }),
        ("a lost ACL", |copy| {
            rustix::fs::removexattr(copy.join("metadata/acl"), "system.posix_acl_access").unwrap();
        }),
        ("a broken hard link", |copy| {
            let name = copy.join("links/2");
            fs::copy(&name, copy.join("links/own")).unwrap();
            fs::rename(copy.join("links/own"), name).unwrap();
        }),
    ];
    for (what, change) in changes {
        let lab = Lab::new();
        let source = lab.source();
        fixture::kinds(&source.join("kinds"));
        fixture::metadata(&source.join("metadata"));
        fixture::links(&source.join("links"), 5);
        fixture::times(&source.join("times"));
        copy(&lab);
        change(&lab.path("copy"));
        assert!(!differences(&source, &lab.path("copy")).is_empty(), "{what}: our comparer");
        assert!(!rsync_differences(&source, &lab.path("copy")).is_empty(), "{what}: rsync");
    }
}

#[test]
fn a_filled_hole_is_seen() {
    let lab = Lab::new();
    fixture::sparse(&lab.source(), 1 << 20);
    copy(&lab);
    fs::write(lab.path("copy/only a hole"), vec![0; 1 << 20]).unwrap();
    let found = differences(&lab.source(), &lab.path("copy"));
    assert!(found.iter().any(|line| line.contains("has data at")), "{found:?}");
}

#[test]
fn the_fixture_holds_what_only_root_can_make() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    let made =
        Command::new("getcap").arg(lab.source().join("metadata/capability")).output().unwrap();
    assert_eq!(!made.stdout.is_empty(), is_root(), "capabilities are set by root only");
    assert_eq!(lab.source().join("kinds/null").exists(), is_root());
}
