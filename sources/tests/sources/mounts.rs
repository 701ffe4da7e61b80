//! Mount points, loops of them, and file systems that hold no data. Each test has mounts of its
//! own, in a child.

use std::{fs, path::Path};

use rustix::fs::FileType;
use strongroom_core::source::Source;
use strongroom_sources::files::FileSourceOptions;

use crate::support::{Walked, is_inside, make_node, run, scratch, sink, source, walk, walk_with};

const OWN_MOUNTS: &[&str] = &["unshare", "--mount", "--propagation", "private"];

fn mount(arguments: &[&str], target: &Path) {
    let command: Vec<&str> =
        ["mount"].iter().chain(arguments).copied().chain(target.to_str()).collect();
    run(&command);
}

/// At once, even while descriptors are open in it.
fn unmount(target: &Path) {
    run(&["umount", "--lazy", target.to_str().unwrap()]);
}

#[test]
fn one_file_system_keeps_mount_points_and_nothing_in_them() {
    if !is_inside("mounts::one_file_system_keeps_mount_points_and_nothing_in_them", OWN_MOUNTS) {
        return;
    }
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("root/mounted")).unwrap();
    fs::create_dir(base.join("root/plain")).unwrap();
    mount(&["-t", "tmpfs", "none"], &base.join("root/mounted"));
    fs::write(base.join("root/mounted/file"), b"").unwrap();

    let all = walk(&base).below(&base);
    assert_eq!(all, ["root", "root/mounted", "root/mounted/file", "root/plain"]);
    let options = FileSourceOptions { one_file_system: true, ..Default::default() };
    let walked = walk_with(&base, options.clone());
    assert_eq!(walked.below(&base), ["root", "root/mounted", "root/plain"]);
    assert!(walked.problems.iter().all(|problem| !problem.is_error));

    // Each root has a file system of its own.
    let roots = vec![base.join("root/mounted"), base.join("root/plain")];
    let walked = Walked::of(&source(FileSourceOptions { roots, ..options }));
    assert_eq!(walked.below(&base), ["root", "root/mounted", "root/mounted/file", "root/plain"]);
    unmount(&base.join("root/mounted"));
}

#[test]
fn a_folder_within_itself_is_entered_once() {
    if !is_inside("mounts::a_folder_within_itself_is_entered_once", OWN_MOUNTS) {
        return;
    }
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("top/inner/loop")).unwrap();
    let inner = base.join("top/inner/loop");
    mount(&["--bind", base.join("top").to_str().unwrap()], &inner);
    let walked = walk(&base);
    assert_eq!(walked.below(&base), ["top", "top/inner", "top/inner/loop"]);
    assert_eq!(walked.problems.len(), 1);
    assert_eq!(walked.problems[0].item, inner.to_str().unwrap());
    assert!(!walked.problems[0].is_error);
    unmount(&inner);
}

#[test]
fn file_systems_that_hold_no_data_are_left_out_with_a_note() {
    if !is_inside("mounts::file_systems_that_hold_no_data_are_left_out_with_a_note", OWN_MOUNTS) {
        return;
    }
    let (_guard, base) = scratch();
    fs::create_dir(base.join("proc")).unwrap();
    mount(&["-t", "proc", "none"], &base.join("proc"));
    let walked = walk(&base);
    assert_eq!(walked.below(&base), ["proc"]);
    assert_eq!(walked.problems.len(), 1);
    assert!(walked.problems[0].message.contains("proc"), "{}", walked.problems[0]);
    assert!(!walked.problems[0].is_error);
    unmount(&base.join("proc"));

    // Asked for by name, a file there is read, although its size is 0.
    let walked = walk(Path::new("/proc/version"));
    assert!(walked.read(Path::new("/proc/version")).unwrap().starts_with(b"Linux"));
    assert_eq!(walked.stat(Path::new("/proc/version")).size, 0);
}

#[test]
fn the_devices_and_pipes_of_a_system_never_block_a_walk() {
    let (_guard, base) = scratch();
    make_node(&base.join("pipe"), FileType::Fifo, (0, 0));
    let roots = vec![base.clone(), "/dev".into()];
    let source = source(FileSourceOptions { roots, ..Default::default() });
    let walked = Walked::of(&source);
    for seen in walked.entries.values() {
        // Entries may vanish on a running system; this must just return.
        let _ = seen.folder.details(&seen.found);
    }
    assert!(source.roots().contains(&"/dev".to_owned()));
    assert!(walked.details(&base.join("pipe")).is_ok());
}

#[test]
fn removal_does_not_enter_other_file_systems() {
    if !is_inside("mounts::removal_does_not_enter_other_file_systems", OWN_MOUNTS) {
        return;
    }
    let (_guard, base) = scratch();
    fs::create_dir_all(base.join("target/old/mounted")).unwrap();
    let mounted = base.join("target/old/mounted");
    mount(&["-t", "tmpfs", "none"], &mounted);
    fs::write(mounted.join("precious"), b"").unwrap();
    let error = sink(&base.join("target")).remove(b"old").unwrap_err();
    assert!(error.to_string().contains("another file system"), "{error}");
    assert!(mounted.join("precious").exists());
    unmount(&mounted);
}
