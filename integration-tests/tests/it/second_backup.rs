//! A second backup costs what has changed and nothing more.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::{
    Lab, Outcome, assert_same_tree,
    fixture::{self, set_mode, set_time},
    lab::{binary, pseudo_random},
    repository::{objects, packs},
};

fn number(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {summary}"))
}

#[test]
fn an_unchanged_backup_has_nothing_new() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    let first = lab.backup_init();
    let second = lab.backup();
    // The folders above the source are entries too, and other tests come and go in one of them.
    assert!(number(&second, "dirs_changed") <= 1, "{second}");
    for key in ["files_new", "files_changed", "dirs_new", "data_blobs"] {
        assert_eq!(number(&second, key), 0, "{key}: {second}");
    }
    assert_eq!(number(&second, "files_unmodified"), number(&first, "files_new"), "{second}");
    assert_eq!(number(&second, "total_files_processed"), number(&first, "files_new"), "{second}");
    lab.assert_sound();
}

/// strace is the witness. The files are the system's own: files written a moment ago would be
/// read again for good reason, as their times may hide a change.
#[test]
fn an_unchanged_backup_reads_no_file_and_adds_no_pack() {
    let source = Path::new("/usr/share/zoneinfo");
    assert!(source.is_dir(), "no old files to test with");
    let lab = Lab::new();
    lab.run(["backup", "--init", "/usr/share/zoneinfo"]).expect(0);
    let before = packs(&lab.repository());
    let trace = lab.path("trace");
    let mut command = Command::new("strace");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", crate::support::lab::PASSWORD)
        .args(["-f", "-y", "-qq", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace)
        .arg(binary())
        .args(["backup", "/usr/share/zoneinfo"]);
    Outcome::of(&mut command).expect(0);
    assert_eq!(packs(&lab.repository()), before);
    let trace = fs::read_to_string(trace).unwrap();
    let opened: Vec<_> = trace
        .lines()
        .filter(|line| !line.contains("O_DIRECTORY") && !line.contains("O_PATH"))
        .filter(|line| {
            let result = line.rsplit_once(" = ").map_or("", |(_, result)| result);
            result.contains("</usr/share/zoneinfo/")
        })
        .collect();
    assert!(trace.contains("zoneinfo"), "the trace shows the scan:\n{trace}");
    assert!(opened.is_empty(), "files were opened:\n{}", opened.join("\n"));
}

#[test]
fn a_changed_byte_adds_about_one_chunk() {
    let lab = Lab::new();
    let mut bytes = pseudo_random(48 << 20, 5);
    lab.write("source/large", &bytes);
    lab.backup_init();
    bytes[20_000_000] ^= 1;
    lab.write("source/large", &bytes);
    let summary = lab.backup();
    assert_eq!(number(&summary, "files_changed"), 1, "{summary}");
    assert!((1..=3).contains(&number(&summary, "data_blobs")), "{summary}");
    assert!(number(&summary, "data_added") < 8 << 20, "{summary}");
    lab.assert_sound();
}

#[test]
fn bytes_inserted_at_the_start_add_about_one_chunk() {
    let lab = Lab::new();
    let mut bytes = pseudo_random(48 << 20, 6);
    lab.write("source/large", &bytes);
    lab.backup_init();
    bytes.splice(0..0, *b"something in front");
    lab.write("source/large", &bytes);
    let summary = lab.backup();
    assert!((1..=3).contains(&number(&summary, "data_blobs")), "{summary}");
    lab.assert_sound();
}

#[test]
fn moved_and_copied_content_is_not_stored_again() {
    let lab = Lab::new();
    lab.write("source/first", &pseudo_random(3 << 20, 7));
    lab.backup_init();
    fs::rename(lab.path("source/first"), lab.path("source/moved")).unwrap();
    fs::copy(lab.path("source/moved"), lab.path("source/copied")).unwrap();
    let summary = lab.backup();
    assert_eq!(number(&summary, "data_blobs"), 0, "{summary}");
    assert_eq!(number(&summary, "files_new"), 2, "{summary}");
    lab.assert_sound();
}

#[test]
fn metadata_alone_may_change() {
    let lab = Lab::with_backup();
    set_mode(&lab.path("source/hello.txt"), 0o4711);
    set_time(&lab.path("source/folder/inner.txt"), -5, 5);
    let summary = lab.backup();
    assert_eq!(number(&summary, "data_blobs"), 0, "{summary}");
    assert_eq!(number(&summary, "files_changed"), 2, "{summary}");
    lab.assert_sound();
}

#[test]
fn same_size_and_time_do_not_hide_a_change() {
    let lab = Lab::with_backup();
    set_time(&lab.path("source/hello.txt"), 1_000, 0);
    lab.backup();
    lab.write("source/hello.txt", b"HELLO\n");
    set_time(&lab.path("source/hello.txt"), 1_000, 0);
    let summary = lab.backup();
    assert_eq!(number(&summary, "files_changed"), 1, "the change time tells: {summary}");
    lab.assert_sound();
}

#[test]
fn every_snapshot_stays_as_it_was() {
    let lab = Lab::with_backup();
    fs::remove_file(lab.path("source/hello.txt")).unwrap();
    lab.write("source/folder/inner.txt", b"second");
    lab.write("source/new", b"new");
    lab.backup();
    lab.run(["restore", "latest~1", "--target", "old"]).expect(0);
    assert_eq!(fs::read(lab.restored("old").join("hello.txt")).unwrap(), b"hello\n");
    assert_eq!(fs::read(lab.restored("old").join("folder/inner.txt")).unwrap(), b"inner\n");
    assert!(!lab.restored("old").join("new").exists());
    lab.restore("new").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("new"));
}

#[test]
fn a_full_backup_reads_everything_and_still_stores_nothing_twice() {
    let lab = Lab::with_backup();
    let summary = lab.run(["backup", "--type", "full", "--json", "source"]).expect(0).summary();
    assert_eq!(number(&summary, "data_blobs"), 0, "{summary}");
    assert!(number(&summary, "bytes_read") >= 300_012, "everything was read: {summary}");
    let snapshots = lab.snapshots();
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[1]["type"], "full");
    lab.assert_sound();
}

#[test]
fn a_dry_run_stores_nothing() {
    let lab = Lab::with_backup();
    let before = objects(&lab.repository());
    lab.write("source/new", b"new");
    let summary = lab.run(["backup", "--dry-run", "--json", "source"]).expect(0).summary();
    assert_eq!(number(&summary, "files_new"), 1, "{summary}");
    assert_eq!(objects(&lab.repository()), before);
}

#[test]
fn two_backups_at_once_both_count() {
    let lab = Lab::with_backup();
    lab.write("source/more", &pseudo_random(5 << 20, 8));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..4).map(|_| scope.spawn(|| lab.run(["backup", "--json", "source"]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for outcome in outcomes {
        outcome.expect(0).summary();
    }
    assert_eq!(lab.snapshots().len(), 5);
    lab.assert_sound();
}
