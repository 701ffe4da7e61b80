//! Looking without restoring: snapshots, ls, find, diff, dump.

use std::{fs, process::Command};

use crate::support::{Lab, fixture};

#[test]
fn snapshots_are_listed_with_all_that_scripts_need() {
    let lab = Lab::with_backup();
    lab.run(["backup", "--tag", "nightly", "source"]).expect(0);
    lab.run(["backup", "--host", "elsewhere", "source"]).expect(0);
    let snapshots = lab.snapshots();
    assert_eq!(snapshots.len(), 3);
    for snapshot in &snapshots {
        for key in ["id", "short_id", "time", "host", "paths", "tags", "type"] {
            assert!(!snapshot[key].is_null(), "no {key} in {snapshot}");
        }
        let id = snapshot["id"].as_str().unwrap();
        assert!(id.starts_with(snapshot["short_id"].as_str().unwrap()), "{snapshot}");
        let paths = snapshot["paths"].as_array().unwrap();
        assert_eq!(paths[0].as_str().unwrap(), lab.source().to_str().unwrap());
    }
    let [first, second, third] = &snapshots[..] else { panic!("three snapshots") };
    assert_eq!(second["parent"], first["id"], "{second}");
    assert_eq!(second["tags"], serde_json::json!(["nightly"]));
    assert_eq!(third["host"], "elsewhere");
    assert!(third["parent"].is_null(), "a parent is of the same host: {third}");
    assert!(second["time"].as_str() > first["time"].as_str(), "oldest first");
    let listed = lab.run(["snapshots"]).expect(0).text();
    for snapshot in &snapshots {
        assert!(listed.contains(snapshot["short_id"].as_str().unwrap()), "{listed}");
    }
}

#[test]
fn a_snapshot_is_named_in_four_ways() {
    let lab = Lab::with_backup();
    lab.write("source/second", b"second");
    lab.backup();
    let snapshots = lab.snapshots();
    let (first, second) = (&snapshots[0], &snapshots[1]);
    let by_time = format!("@{}", first["time"].as_str().unwrap());
    for (name, has_second) in [
        (first["id"].as_str().unwrap(), false),
        (first["short_id"].as_str().unwrap(), false),
        (second["short_id"].as_str().unwrap(), true),
        ("latest", true),
        ("latest~1", false),
        (&by_time, false),
        ("@2199-01-01T00:00:00Z", true),
    ] {
        let listed = lab.run(["ls", name]).expect(0).text();
        assert_eq!(listed.contains("source/second"), has_second, "{name}: {listed}");
    }
}

#[test]
fn ls_shows_a_folder_or_everything() {
    let lab = Lab::with_backup();
    let all = lab.run(["ls", "latest"]).expect(0).text();
    for name in ["source/hello.txt", "source/folder/inner.txt", "source/folder/deeper/leaf.bin"] {
        assert!(all.contains(name), "{all}");
    }
    let folder = lab.source().join("folder");
    let part = lab.run(["ls", "latest", folder.to_str().unwrap()]).expect(0).text();
    assert!(part.contains("inner.txt") && !part.contains("hello.txt"), "{part}");
    let objects = lab.run(["ls", "latest", "--json"]).expect(0).objects();
    let leaf = objects
        .iter()
        .find(|object| object["path"].as_str().is_some_and(|path| path.ends_with("leaf.bin")))
        .unwrap();
    assert_eq!(leaf["size"], 300_000, "{leaf}");
    assert_eq!(leaf["type"], "file", "{leaf}");
}

#[test]
fn odd_names_cannot_fake_lines_or_drive_a_terminal() {
    let lab = Lab::new();
    fixture::names(&lab.source());
    lab.backup_init();
    for verb in [&["ls", "latest"][..], &["find", "*"], &["ls", "latest", "--json"]] {
        let outcome = lab.run(verb).expect(0);
        let text = String::from_utf8(outcome.stdout.clone()).unwrap();
        assert!(!text.contains('\x1b') && !text.contains('\x7f'), "{outcome}");
        assert!(!text.lines().any(|line| line == "line"), "a newline was printed: {outcome}");
    }
}

#[test]
fn find_searches_every_snapshot() {
    let lab = Lab::with_backup();
    fs::remove_file(lab.path("source/hello.txt")).unwrap();
    lab.backup();
    let found = lab.run(["find", "hello*"]).expect(0).text();
    assert!(found.contains("source/hello.txt"), "{found}");
    let short_id = lab.snapshots()[0]["short_id"].as_str().unwrap().to_owned();
    assert!(found.contains(&short_id), "says in which snapshot: {found}");
    let nothing = lab.run(["find", "no-such-name"]).expect(0).text();
    assert!(!nothing.contains("source/"), "{nothing}");
}

#[test]
fn diff_names_what_came_went_and_changed() {
    let lab = Lab::with_backup();
    fs::remove_file(lab.path("source/hello.txt")).unwrap();
    lab.write("source/folder/inner.txt", b"changed");
    lab.write("source/folder/new.txt", b"new");
    lab.backup();
    fixture::set_mode(&lab.path("source/folder/deeper/leaf.bin"), 0o600);
    lab.backup();
    let diff = lab.run(["diff", "latest~2", "latest"]).expect(0).text();
    for (mark, name) in [
        ("-", "source/hello.txt"),
        ("M", "source/folder/inner.txt"),
        ("+", "source/folder/new.txt"),
    ] {
        assert!(
            diff.lines().any(|line| line.trim_start().starts_with(mark) && line.contains(name)),
            "{mark} {name}: {diff}"
        );
    }
    assert!(!diff.contains("leaf.bin"), "its content is equal: {diff}");
    let diff = lab.run(["diff", "--metadata", "latest~2", "latest"]).expect(0).text();
    assert!(diff.lines().any(|line| line.starts_with('U') && line.contains("leaf.bin")), "{diff}");
}

#[test]
fn dump_writes_files_and_archives() {
    let lab = Lab::with_backup();
    let file = lab.source().join("folder/inner.txt");
    let dumped = lab.run(["dump", "latest", file.to_str().unwrap()]).expect(0);
    assert_eq!(dumped.stdout, b"inner\n");
    let folder = lab.source().join("folder");
    for (format, list) in
        [("tar", &["tar", "-tf"][..]), ("zip", &["python3", "-m", "zipfile", "-l"])]
    {
        let args = ["dump", "latest", folder.to_str().unwrap(), "--archive", format];
        let archive = lab.write("archive", &lab.run(args).expect(0).stdout);
        let listed = Command::new(list[0]).args(&list[1..]).arg(archive).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("inner.txt") && listed.contains("deeper/leaf.bin"), "{listed}");
    }
}

/// What tar makes of the dump is the tree that was backed up.
#[test]
fn a_dumped_tar_unpacks_to_the_same_tree() {
    let lab = Lab::new();
    fixture::contents(&lab.source());
    fixture::links(&lab.source().join("links"), 3);
    lab.backup_init();
    let source = lab.source();
    let place = format!("latest:{}", source.display());
    let args = ["dump", &place, "/", "--archive", "tar"];
    let archive = lab.write("archive.tar", &lab.run(args).expect(0).stdout);
    fs::create_dir(lab.path("unpacked")).unwrap();
    let status = Command::new("tar")
        .args(["-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(lab.path("unpacked"))
        .status()
        .unwrap();
    assert!(status.success());
    let status = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([source, lab.path("unpacked")])
        .status()
        .unwrap();
    assert!(status.success());
}
