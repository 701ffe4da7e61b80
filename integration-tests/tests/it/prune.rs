//! Prune through the binary: what it says, what it gives back, and backups that it gave up.

use std::{
    fs,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Lab, pseudo_random};

/// A repository with two snapshots of files of 1 MB; the second lacks half of them.
fn lab() -> Lab {
    let lab = Lab::new();
    for file in 0..8 {
        lab.write(format!("source/{file}"), &pseudo_random(1_000_000, file));
    }
    lab.run(["init"]).expect(0);
    lab.backup();
    for file in 0..4 {
        fs::remove_file(lab.path(format!("source/{}", file * 2))).unwrap();
    }
    lab.backup();
    lab
}

fn prune(lab: &Lab, flags: &[&str]) -> Value {
    lab.run([&["prune", "--json"], flags].concat()).expect(0).json()
}

fn stored_bytes(lab: &Lab) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![lab.repository().join("packs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.metadata().unwrap() {
                found if found.is_dir() => folders.push(entry.path()),
                found => bytes += found.len(),
            }
        }
    }
    bytes
}

#[test]
fn a_plan_is_made_and_then_carried_out() {
    let lab = lab();
    let before = stored_bytes(&lab);
    assert_eq!(prune(&lab, &[])["packs_removed"], 0, "nothing was forgotten");
    lab.run(["forget", "--keep-last", "1"]).expect(0);
    let plan = prune(&lab, &["--dry-run"]);
    assert_eq!((&plan["dry_run"], &plan["packs_rewritten"]), (&true.into(), &1.into()), "{plan}");
    assert!(plan["requests_estimated"].as_u64().unwrap() > 0, "{plan}");
    assert_eq!(stored_bytes(&lab), before, "a dry run changes nothing");
    let text = lab.run(["prune", "-n"]).expect(0).text();
    assert!(text.contains("1 pack (") && text.contains("would be rewritten"), "{text}");
    let unlimited = prune(&lab, &["--max-unused", "unlimited"]);
    assert_eq!(unlimited["packs_rewritten"], 0, "{unlimited}");
    let none = prune(&lab, &["--repack-size", "1K"]);
    assert_eq!(none["packs_rewritten"], 0, "{none}");
    let done = prune(&lab, &[]);
    assert_eq!(done["packs_rewritten"], plan["packs_rewritten"], "{done}");
    assert!(done["moved_bytes"].as_u64().unwrap() >= 4_000_000, "{done}");
    let after = stored_bytes(&lab);
    assert!(before > 8_000_000 && (4_000_000..5_000_000).contains(&after), "{before} {after}");
    lab.assert_sound();
    lab.run(["forget", "--force", "latest", "--prune"]).expect(0);
    assert_eq!(stored_bytes(&lab), 0, "no snapshot needs anything");
    assert_eq!(lab.snapshots().len(), 0);
    lab.backup();
    lab.assert_sound();
}

#[test]
fn bad_limits_are_refused_before_any_work() {
    let lab = Lab::new();
    for flags in [["--max-unused", "half"], ["--repack-size", "-1"], ["--fence-after", "soon"]] {
        lab.run(["prune", flags[0], flags[1]]).expect(2);
    }
    lab.run(["prune"]).expect(10);
}

/// A backup that waits in its middle: it reads a pipe that stays open.
fn waiting_backup(lab: &Lab) -> Child {
    let mut command = lab.command();
    command.args(["backup", "--json", "--stdin", "--stdin-filename", "stream"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = child.spawn().unwrap();
    let sessions = lab.repository().join("meta/sessions");
    while fs::read_dir(&sessions).map_or(0, Iterator::count) == 0 {
        std::thread::yield_now();
    }
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_backup_that_shows_no_sign_of_life_is_given_up_and_says_so() {
    let lab = lab();
    // announcements of ended backups stay until the next one of the same client
    prune(&lab, &["--fence-after", "1s"]);
    let child = waiting_backup(&lab);
    signal(&child, Signal::STOP);
    lab.run(["forget", "--keep-last", "1"]).expect(0);
    let done = prune(&lab, &["--fence-after", "1s"]);
    assert_eq!(done["sessions_given_up"], 1, "{done}");
    signal(&child, Signal::CONT);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(11), "{said}");
    assert!(said.contains("given up"), "{said}");
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_sound();
}

#[test]
fn what_a_killed_backup_left_is_collected() {
    let lab = lab();
    prune(&lab, &["--fence-after", "1s"]);
    let before = stored_bytes(&lab);
    let mut child = waiting_backup(&lab);
    let mut stream = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stream, &pseudo_random(40_000_000, 77)).unwrap();
    while stored_bytes(&lab) == before {
        std::thread::yield_now();
    }
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let done = prune(&lab, &["--fence-after", "1s"]);
    assert_eq!(done["sessions_given_up"], 1, "{done}");
    assert!(done["packs_removed"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(stored_bytes(&lab), before);
    lab.assert_sound();
}
