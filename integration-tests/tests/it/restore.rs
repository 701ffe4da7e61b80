//! Restore: into new and existing trees, in part, without ever writing outside.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use crate::support::{Lab, assert_same_tree, fixture};

#[test]
fn an_existing_tree_becomes_the_snapshot() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    lab.backup_init();
    lab.restore("target").expect(0);
    let restored = lab.restored("target");
    fs::write(restored.join("contents/text"), b"changed").unwrap();
    fs::remove_file(restored.join("contents/zeros")).unwrap();
    fixture::set_mode(&restored.join("kinds/private"), 0o777);
    fs::remove_file(restored.join("kinds/fifo")).unwrap();
    fs::write(restored.join("kinds/fifo"), b"a file where a pipe was").unwrap();
    fs::remove_dir_all(restored.join("names")).unwrap();
    fs::write(restored.join("names"), b"a file where a folder was").unwrap();
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &restored);
}

#[test]
fn a_folder_in_the_way_goes_only_when_asked() {
    let lab = Lab::with_backup();
    let place = lab.restored("target").join("hello.txt");
    fs::create_dir_all(place.join("mine")).unwrap();
    let outcome = lab.restore("target").expect(3);
    assert!(outcome.stderr.contains("hello.txt"), "{outcome}");
    assert!(place.join("mine").exists());
    lab.run(["restore", "latest", "--target", "target", "--delete"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let lab = Lab::with_backup();
    lab.restore("target").expect(0);
    let leaf = lab.restored("target").join("folder/deeper/leaf.bin");
    let before = fs::metadata(&leaf).unwrap();
    fs::write(lab.restored("target").join("hello.txt"), b"changed").unwrap();
    lab.restore("target").expect(0);
    let after = fs::metadata(&leaf).unwrap();
    assert_eq!(
        (before.ino(), before.ctime(), before.ctime_nsec()),
        (after.ino(), after.ctime(), after.ctime_nsec()),
        "an equal file is left alone"
    );
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn extra_files_stay_unless_asked() {
    let lab = Lab::with_backup();
    lab.restore("target").expect(0);
    let extra = lab.restored("target").join("folder/extra/file");
    fs::create_dir(extra.parent().unwrap()).unwrap();
    fs::write(&extra, b"mine").unwrap();
    lab.restore("target").expect(0);
    assert_eq!(fs::read(&extra).unwrap(), b"mine");
    lab.run(["restore", "latest", "--target", "target", "--delete", "--dry-run"]).expect(0);
    assert!(extra.exists(), "a dry run deletes nothing");
    lab.run(["restore", "latest", "--target", "target", "--delete"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn overwriting_is_a_choice() {
    let lab = Lab::with_backup();
    let file = lab.restored("target").join("hello.txt");
    for (choice, time, expected) in [
        ("never", 0, &b"mine\n"[..]),
        ("if-newer", i64::from(u32::MAX), b"mine\n"),
        ("if-newer", 0, b"hello\n"),
        ("if-changed", 0, b"hello\n"),
        ("always", 0, b"hello\n"),
    ] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, b"mine\n").unwrap();
        fixture::set_time(&file, time, 0);
        lab.run(["restore", "latest", "--target", "target", "--overwrite", choice]).expect(0);
        assert_eq!(fs::read(&file).unwrap(), expected, "--overwrite {choice}, time {time}");
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = Lab::with_backup();
    lab.run(["restore", "latest", "--target", "target", "--dry-run"]).expect(0);
    assert!(!lab.path("target").exists());
}

#[test]
fn a_part_is_restored_by_path_or_pattern() {
    let lab = Lab::with_backup();
    let folder = lab.source().join("folder");
    let part = format!("latest:{}", folder.display());
    lab.run(["restore", &part, "--target", "part"]).expect(0);
    // The target's own mode and times are not the folder's: only its content comes back.
    fixture::set_mode(&lab.path("part"), 0o755);
    fixture::set_mode(&folder, 0o755);
    fixture::set_time(&lab.path("part"), 1, 1);
    fixture::set_time(&folder, 1, 1);
    assert_same_tree(&folder, &lab.path("part"));

    lab.run(["restore", "latest", "--target", "some", "--include", "*.txt"]).expect(0);
    assert!(lab.restored("some").join("folder/inner.txt").exists());
    assert!(!lab.restored("some").join("folder/deeper/leaf.bin").exists());

    lab.run(["restore", "latest", "--target", "rest", "--exclude", "*.txt"]).expect(0);
    assert!(!lab.restored("rest").join("hello.txt").exists());
    assert!(lab.restored("rest").join("folder/deeper/leaf.bin").exists());
}

#[test]
fn verify_after_restore_proves_what_was_written() {
    let lab = Lab::with_backup();
    lab.run(["restore", "latest", "--target", "target", "--verify"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn links_in_the_target_never_lead_outside() {
    let lab = Lab::with_backup();
    let outside = lab.path("outside");
    let restored = lab.restored("target");
    for victim in ["folder", "folder/deeper", "hello.txt", "folder/inner.txt"] {
        let _ = fs::remove_dir_all(lab.path("target"));
        let _ = fs::remove_dir_all(&outside);
        fs::create_dir_all(outside.join("deeper")).unwrap();
        for name in ["hello.txt", "inner.txt", "deeper/leaf.bin"] {
            fs::write(outside.join(name), b"precious").unwrap();
        }
        let place = restored.join(victim);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let is_file = victim.ends_with(".txt");
        symlink(if is_file { outside.join("hello.txt") } else { outside.clone() }, &place).unwrap();

        let outcome = lab.restore("target");
        assert!([0, 3].contains(&outcome.code), "{victim}: {outcome}");
        for name in ["hello.txt", "inner.txt", "deeper/leaf.bin"] {
            assert_eq!(fs::read(outside.join(name)).unwrap(), b"precious", "{victim}: {name}");
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 3, "{victim}: something was added");
        if outcome.code == 0 {
            assert_same_tree(&lab.source(), &restored);
        }
    }
}

#[test]
fn deleting_extras_never_follows_links() {
    let lab = Lab::with_backup();
    lab.restore("target").expect(0);
    lab.write("outside/precious", b"precious");
    symlink(lab.path("outside"), lab.restored("target").join("folder/extra")).unwrap();
    lab.run(["restore", "latest", "--target", "target", "--delete"]).expect(0);
    assert_eq!(fs::read(lab.path("outside/precious")).unwrap(), b"precious");
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn the_target_itself_may_be_a_link() {
    let lab = Lab::with_backup();
    fs::create_dir(lab.path("real")).unwrap();
    symlink(lab.path("real"), lab.path("target")).unwrap();
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("real"));
}
