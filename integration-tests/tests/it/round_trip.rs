//! The data comes back: exactly, all of it. Backup, restore, and two witnesses that compare.

use std::{fs, path::Path};

use crate::support::{Lab, assert_same_tree, differences, fixture};

#[test]
fn everything_that_a_file_system_can_hold_comes_back() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    let summary = lab.backup_init();
    assert_eq!(summary["errors"], 0, "{summary}");
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn an_empty_folder_comes_back() {
    let lab = Lab::new();
    lab.backup_init();
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn ten_thousand_names_of_one_inode_come_back_as_one_inode() {
    let lab = Lab::new();
    fixture::links(&lab.source(), 10_000);
    let summary = lab.backup_init();
    let stored = summary["data_added"].as_u64().unwrap();
    assert!(stored < 10_000_000, "one content is stored once: {summary}");
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

/// Beyond the reach of rsync, whose paths end at 4,096 bytes.
#[test]
fn folders_five_thousand_deep_come_back() {
    let lab = Lab::new();
    fixture::deep(&lab.source(), 5_000);
    lab.backup_init();
    lab.restore("target").expect(0);
    assert_eq!(differences(&lab.source(), &lab.restored("target")), Vec::<String>::new());
}

/// Compared by extents; a program that read the holes would run for hours.
#[test]
fn a_terabyte_of_holes_comes_back_as_holes() {
    let lab = Lab::new();
    fixture::sparse(&lab.source(), 1 << 40);
    let summary = lab.backup_init();
    assert!(summary["data_added"].as_u64().unwrap() < 1 << 20, "holes cost nothing: {summary}");
    lab.restore("target").expect(0);
    assert_eq!(differences(&lab.source(), &lab.restored("target")), Vec::<String>::new());
}

#[test]
fn real_files_of_this_machine_come_back() {
    let folders: Vec<_> =
        ["/usr/share/zoneinfo", "/usr/include/linux", "/usr/lib/git-core", "/usr/share/perl5"]
            .map(Path::new)
            .into_iter()
            .filter(|path| path.is_dir() && !path.is_symlink())
            .collect();
    assert!(!folders.is_empty(), "none of the folders of real files is here");
    let lab = Lab::new();
    let arguments = ["backup", "--init"].map(Path::new).into_iter().chain(folders.iter().copied());
    lab.run(arguments).expect(0);
    lab.run(["verify", "--read-data"]).expect(0);
    lab.restore("target").expect(0);
    for folder in folders {
        assert_same_tree(folder, &lab.path("target").join(folder.strip_prefix("/").unwrap()));
    }
}

#[test]
fn sources_of_one_name_stay_apart() {
    let lab = Lab::new();
    lab.write("source/a/data/file", b"from a");
    lab.write("source/b/data/file", b"from b");
    lab.run(["backup", "--init", "source/a/data", "source/b/data"]).expect(0);
    lab.restore("target").expect(0);
    for name in ["a", "b"] {
        let original = lab.source().join(name).join("data");
        assert_same_tree(&original, &lab.restored("target").join(name).join("data"));
    }
}

#[test]
fn a_single_file_is_a_source_too() {
    let lab = Lab::new();
    let file = lab.write("source/one file", b"alone");
    lab.write("source/another", b"not asked for");
    lab.run(["backup", "--init", "source/one file"]).expect(0);
    lab.restore("target").expect(0);
    assert_eq!(fs::read(lab.restored("target").join("one file")).unwrap(), b"alone");
    assert!(!lab.restored("target").join("another").exists());
    assert_eq!(
        fs::metadata(&file).unwrap().modified().unwrap(),
        fs::metadata(lab.restored("target").join("one file")).unwrap().modified().unwrap()
    );
}

#[test]
fn verify_by_restore_says_what_it_did() {
    let lab = Lab::with_backup();
    let report = lab.run(["verify", "--restore", "--json"]).expect(0).json();
    assert!(report.is_object(), "{report}");
    let said = lab.run(["verify", "--read-data"]).expect(0);
    assert!(!said.text().is_empty() || !said.stderr.is_empty(), "says what it did: {said}");
}
