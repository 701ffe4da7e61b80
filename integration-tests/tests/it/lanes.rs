//! `backup` into several repositories at once: one reading, and each with its own result.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::support::{
    Lab, Outcome, assert_same_tree, fixture, is_root,
    lab::{PASSWORD, binary, is_error_line, pseudo_random},
};

/// Runs `verb` on one of the repositories.
fn on(lab: &Lab, repository: &str, verb: &[&str]) -> Outcome {
    lab.run([verb, &["-r", repository]].concat())
}

fn assert_restores(lab: &Lab, repository: &str) {
    on(lab, repository, &["verify", "--read-data"]).expect(0);
    let target = format!("proof-{repository}");
    on(lab, repository, &["restore", "latest", "--target", &target]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored(target));
}

/// What `backup --json` says of each repository.
fn summaries(outcome: &Outcome) -> Vec<Value> {
    let objects = outcome.objects();
    assert!(objects.iter().all(|object| object["message_type"] == "summary"), "{outcome}");
    objects
}

#[test]
fn every_repository_gets_the_whole_tree() {
    let lab = Lab::new();
    fixture::everything(&lab.source());
    let outcome = lab.run(["backup", "--init", "--json", "-r", "a", "-r", "b", "source"]).expect(0);
    let summaries = summaries(&outcome);
    assert_eq!(summaries.len(), 2, "{outcome}");
    for (summary, name) in summaries.iter().zip(["a", "b"]) {
        assert_eq!(summary["repository"], name);
        assert!(summary["recovery_key"].is_string() && summary["snapshot_id"].is_string());
    }
    assert_ne!(summaries[0]["recovery_key"], summaries[1]["recovery_key"]);
    assert_eq!(summaries[0]["bytes_read"], summaries[1]["bytes_read"]);
    assert_restores(&lab, "a");
    assert_restores(&lab, "b");
}

/// How often files of the source are opened, as strace tells.
fn opens(lab: &Lab, args: &[&str]) -> usize {
    let trace = lab.path("trace");
    let mut command = Command::new("strace");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .args(["-f", "-y", "-qq", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace)
        .arg(binary())
        .args(args);
    Outcome::of(&mut command).expect(0);
    let trace = fs::read_to_string(trace).unwrap();
    let source = format!("<{}/f", lab.source().display());
    let result = |line: &str| line.rsplit_once(" = ").map(|(_, result)| result.to_owned());
    trace.lines().filter_map(result).filter(|result| result.contains(&source)).count()
}

#[test]
fn every_file_is_opened_once() {
    let lab = Lab::new();
    for number in 0..50 {
        lab.write(format!("source/f{number}"), &pseudo_random(10_000 * number, number as u64));
    }
    for repository in ["a", "b", "c"] {
        on(&lab, repository, &["init"]).expect(0);
    }
    let alone = opens(&lab, &["backup", "-r", "a", "source"]);
    assert!(alone >= 50);
    assert_eq!(opens(&lab, &["backup", "-r", "b", "-r", "c", "source"]), alone);
    assert_restores(&lab, "b");
    assert_restores(&lab, "c");
}

#[test]
fn one_that_is_not_there_does_not_keep_the_other() {
    let lab = Lab::with_backup();
    lab.write("source/new", b"new");
    let repository = lab.repository();
    let repository = repository.to_str().unwrap();
    let args = ["backup", "--json", "-r", "nowhere", "-r", repository, "source"];
    let outcome = lab.run(args).expect(10);
    let found = summaries(&outcome);
    assert_eq!((&found[0]["repository"], &found[0]["code"]), (&"nowhere".into(), &10.into()));
    assert_eq!(found[1]["files_new"], 1, "{outcome}");
    assert!(outcome.stderr.contains("nowhere"), "{outcome}");
    let people = lab.run(["backup", "-r", repository, "-r", "nowhere", "source"]);
    people.expect_error(10, &["nowhere", "no repository"]);
    assert_eq!(lab.snapshots().len(), 3);
    lab.assert_sound();
}

#[test]
fn passwords_pair_up_with_repositories() {
    let lab = Lab::new();
    lab.write("source/file", b"content");
    lab.write("pa", b"password of a");
    lab.write("pb", b"password of b");
    let both = ["-r", "a", "-r", "b", "--password-file", "pa", "--password-file", "pb"];
    lab.run([&["backup", "--init", "source"], &both[..]].concat()).expect(0);
    on(&lab, "a", &["snapshots", "--password-file", "pa"]).expect(0);
    on(&lab, "b", &["snapshots", "--password-file", "pb"]).expect(0);
    on(&lab, "b", &["snapshots", "--password-file", "pa"]).expect_error(12, &["password"]);
    let one = ["backup", "-r", "a", "-r", "b", "--password-file", "pa", "source"];
    let outcome = lab.run(one).expect_error(12, &["b: ", "password"]);
    assert!(outcome.text().contains("snapshot "), "the other has one: {outcome}");
    let three = ["--password-file", "pa"];
    lab.run([&["backup", "source"], &both[..], &three].concat()).expect_error(2, &["3", "2"]);
}

#[test]
fn other_verbs_take_one_repository() {
    let lab = Lab::with_backup();
    for verb in [&["snapshots"][..], &["verify"], &["ls", "latest"]] {
        lab.run([verb, &["-r", "a", "-r", "b"]].concat()).expect_error(2, &["backup"]);
    }
    lab.run(["backup", "-r", "a", "-r", "a", "source"]).expect_error(2, &["twice"]);
    let both = ["backup", "-r", "repository", "-r", "./repository", "source"];
    lab.run(both).expect_error(2, &["./repository", "twice"]);
    assert_eq!(lab.snapshots().len(), 1);
}

/// Runs `script` with the second repository on a small disk of its own.
fn on_small_disk(lab: &Lab, args: &[&str]) -> Outcome {
    let mut command = Command::new("unshare");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .args(["--mount", "--propagation", "private", "sh", "-euc"])
        .arg("mount -t tmpfs -o size=6m,mode=700 none small; exec \"$0\" \"$@\"")
        .arg(binary())
        .args(args);
    Outcome::of(&mut command)
}

#[test]
fn a_full_repository_is_dropped_and_the_other_is_complete() {
    if !is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let lab = Lab::new();
    for number in 0..20 {
        lab.write(format!("source/f{number:02}"), &pseudo_random(3 << 20, number));
    }
    fs::create_dir(lab.path("small")).unwrap();
    let args = ["backup", "--init", "--json", "-r", "small", "-r", "large", "source"];
    let outcome = on_small_disk(&lab, &args).expect(14);
    let lines: Vec<_> = outcome.stderr.lines().filter(|line| line.contains("exit_error")).collect();
    assert!(lines.len() == 1 && lines[0].contains("small"), "{outcome}");
    let found = summaries(&outcome);
    assert_eq!(found[0]["code"], 14);
    assert!(found[0]["recovery_key"].is_string(), "it is not lost: {outcome}");
    assert!(found[1]["snapshot_id"].is_string());
    assert!(!outcome.stderr.lines().any(|line| is_error_line(line) && line.contains("large")));
    assert_restores(&lab, "large");
}

#[test]
fn a_stream_goes_to_all() {
    let lab = Lab::new();
    let content = pseudo_random(9_000_000, 4);
    let args = ["backup", "--init", "--stdin", "--stdin-filename", "s", "-r", "a", "-r", "b"];
    lab.run_with_input(args, &content).expect(0);
    for repository in ["a", "b"] {
        assert!(on(&lab, repository, &["dump", "latest", "s"]).expect(0).stdout == content);
    }
    let fails = ["backup", "-r", "a", "-r", "b", "--stdin-from-command", "--", "false"];
    let outcome = lab.run(fails).expect(1);
    assert_eq!(outcome.error_lines().len(), 2, "one line for each: {outcome}");
    for repository in ["a", "b"] {
        assert_eq!(on(&lab, repository, &["snapshots", "--json"]).expect(0).objects().len(), 1);
        assert!(Path::new(&lab.path(repository)).is_dir());
    }
}
