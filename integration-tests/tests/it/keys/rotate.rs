//! A new master key: nobody who has a right to is locked out, no run loses its work, whoever dies
//! midway needs no manual step, and prune brings everything under the new key.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;

use super::{Keys, SECOND, contents};
use crate::{
    crash::{at_every_writing_call, run_killed},
    support::{
        Lab, Outcome,
        lab::{PASSWORD, binary, pseudo_random},
        repository::{self, packs},
    },
};

/// Where a sealed object tells its key epoch.
const EPOCH: std::ops::Range<usize> = 8..12;

/// The key epochs of all packs, ascending.
fn epochs(repository: &Path) -> Vec<u32> {
    let all = packs(repository).into_iter().map(|(path, _)| {
        let head = fs::read(repository.join(path)).unwrap();
        u32::from_le_bytes(head[EPOCH].try_into().unwrap())
    });
    let mut all: Vec<u32> = all.collect();
    all.sort_unstable();
    all
}

/// Epochs in force, the first apart.
fn in_force(keys: &Keys) -> usize {
    keys.named("meta/keys/epochs").iter().filter(|path| path.starts_with("meta")).count()
}

#[test]
fn slots_that_cannot_follow_are_named_and_stay_until_they_are_given_up() {
    let keys = Keys::new();
    let second = keys.add_password(SECOND);
    let before = contents(&keys.lab.repository());
    let refused = keys.run(&["key", "rotate"]).expect_error(2, &[&second, "not at hand"]);
    assert!(refused.stderr.contains("--remove-others"), "{refused}");
    let plan = keys.run(&["key", "rotate", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan["left_behind"].as_array().unwrap().len(), 2, "{plan}");
    keys.with_password("wrong", &["key", "rotate", "--remove-others"]).expect(12);
    assert_eq!(contents(&keys.lab.repository()), before, "nothing was changed");

    let old_recovery = keys.recovery_file();
    let rotated = keys.run(&["key", "rotate", "--remove-others", "--json"]).expect(0).json();
    assert_eq!(rotated["epoch"], 1);
    assert_eq!(rotated["removed"].as_array().unwrap().len(), 3, "{rotated}");
    keys.with_password(SECOND, &["snapshots"]).expect_error(12, &["password"]);
    keys.with_file("--recovery-key-file", &old_recovery, &["snapshots"]).expect(12);
    let new = keys.secret("new recovery", rotated["recovery_key"].as_str().unwrap().as_bytes());
    keys.assert_restores(&["--recovery-key-file", &new]);
    let password = keys.secret("password", PASSWORD.as_bytes());
    keys.assert_restores(&["--password-file", &password]);
    // people who lost their slot get a new one
    keys.add_password(SECOND);
    keys.with_password(SECOND, &["snapshots"]).expect(0);

    let packs_before = packs(&keys.lab.repository()).len();
    keys.lab.write("source/new", &pseudo_random(50_000, 9));
    let summary = keys.lab.backup();
    assert_eq!(summary["files_new"], 1, "{summary}");
    let epochs = epochs(&keys.lab.repository());
    assert_eq!(epochs.iter().filter(|epoch| **epoch == 0).count(), packs_before);
    assert!(epochs.contains(&1), "{epochs:?}");
    keys.lab.assert_sound();
}

/// A backup that has stored a pack, and waits for the rest of what it is to store.
fn backup_under_way(lab: &Lab) -> Child {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        lab.path("rest"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    lab.write("first part", &pseudo_random(4 << 20, 5));
    let before = packs(&lab.repository()).len();
    let mut command = lab.command();
    command.args(["backup", "--stdin-filename", "long", "--stdin-from-command", "--"]);
    command.args(["cat", "first part", "rest"]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while packs(&lab.repository()).len() == before {
        assert!(run.try_wait().unwrap().is_none(), "ended before it had stored anything");
        thread::yield_now();
    }
    run
}

#[test]
fn a_backup_that_runs_meanwhile_loses_nothing() {
    let keys = Keys::with(&["--pack-size", "1MiB"]);
    let lab = &keys.lab;
    let mut run = backup_under_way(lab);
    keys.run(&["key", "rotate", "--remove-others"]).expect(0);
    // others work under the new key before it ends
    lab.write("source/new", &pseudo_random(50_000, 9));
    lab.backup();
    let rest = pseudo_random(2 << 20, 6);
    fs::OpenOptions::new().write(true).open(lab.path("rest")).unwrap().write_all(&rest).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0), "it finishes under the old key");
    let whole = [pseudo_random(4 << 20, 5), rest].concat();
    let snapshots = lab.snapshots();
    assert_eq!(snapshots.len(), 3);
    let is_long = |one: &&Value| one["paths"].to_string().contains("long");
    let long = snapshots.iter().find(is_long).unwrap()["id"].as_str().unwrap();
    assert!(lab.run(["dump", long, "/long"]).expect(0).stdout == whole);
    // that one began first, and so it is not the latest
    lab.assert_sound();
}

/// After any kill the password opens, nothing is lost, and the next rotation finishes.
fn assert_next_rotation_finishes(keys: &Keys) {
    let lab = &keys.lab;
    lab.run(["verify", "--read-data"]).expect(0);
    let rotated = keys.run(&["key", "rotate", "--remove-others", "--json"]).expect(0).json();
    let slots = keys.slots();
    assert_eq!(slots.len(), 2, "{slots:?}");
    assert!(slots.iter().all(|slot| slot["outdated"] == false), "{slots:?}");
    assert_eq!(rotated["epoch"], in_force(keys), "{rotated}");
    let file = keys.secret("recovery", rotated["recovery_key"].as_str().unwrap().as_bytes());
    keys.assert_restores(&["--recovery-key-file", &file]);
    lab.backup();
    lab.assert_sound();
}

#[test]
fn killed_at_every_writing_call_the_next_rotation_finishes() {
    let keys = Keys::with(&["--parity", "off"]);
    let pristine = keys.lab.path("pristine");
    repository::copy(&keys.lab.repository(), &pristine);
    let kills = at_every_writing_call(|nth| {
        fs::remove_dir_all(keys.lab.repository()).unwrap();
        repository::copy(&pristine, &keys.lab.repository());
        // this machine remembers more than a repository that went back in time has
        let _ = fs::remove_dir_all(keys.lab.path("home/state"));
        let outcome = run_killed(&keys.lab, nth, &["key", "rotate", "--remove-others"]);
        assert_next_rotation_finishes(&keys);
        outcome
    });
    assert!(kills >= 6, "only {kills} kill points: does strace see the calls?");
}

#[test]
fn killed_again_and_again_with_copies_beside_it_still_finishes() {
    let keys = Keys::new();
    for nth in [2, 5, 9, 14, 20, 27] {
        run_killed(&keys.lab, nth, &["key", "rotate", "--remove-others"]);
        keys.run(&["snapshots"]).expect(0);
    }
    assert_next_rotation_finishes(&keys);
    keys.run(&["repair", "parity"]).expect(0);
    assert_eq!(keys.slots().len(), 2, "no slot comes back");
}

/// Runs the binary on a storage that takes its time for each object.
fn slowly(lab: &Lab, args: &[&str]) -> Outcome {
    let mut command = Command::new("strace");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat,?renameat2"])
        .args(["-e", "inject=link,linkat,?renameat2:delay_enter=150000"])
        .arg(binary())
        .args(args);
    Outcome::of(&mut command)
}

#[test]
fn prune_brings_all_packs_under_the_new_key_and_shows_how_far_it_is() {
    let keys = Keys::with(&["--pack-size", "1MiB"]);
    let lab = &keys.lab;
    for (at, seed) in [(0, 1), (1, 2), (2, 3)] {
        lab.write(format!("source/{at}"), &pseudo_random(2 << 20, seed));
        lab.backup();
    }
    keys.run(&["key", "rotate", "--remove-others"]).expect(0);
    let before = epochs(&lab.repository());
    assert!(before.len() > 6 && before.iter().all(|epoch| *epoch == 0), "{before:?}");
    let plan = keys.run(&["prune", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(plan["packs_rewritten"], before.len(), "{plan}");

    let outcome = slowly(lab, &["prune", "--json", "--progress", "json"]).expect(0);
    let summary = outcome.json();
    assert_eq!(summary["packs_rewritten"], before.len(), "{summary}");
    let shown: Vec<Value> =
        outcome.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_midway = |one: &Value| {
        let (done, total) = (one["files_done"].as_u64(), one["total_files"].as_u64());
        one["phase"] == "pruning" && done > Some(0) && done < total
    };
    assert!(shown.iter().any(is_midway), "progress is shown: {outcome}");
    let after = epochs(&lab.repository());
    assert!(!after.is_empty() && after.iter().all(|epoch| *epoch == 1), "{after:?}");
    for (snapshot, files) in [("latest", 3), ("latest~1", 2), ("latest~2", 1), ("latest~3", 0)] {
        let target = format!("restored-{files}");
        lab.run(["restore", snapshot, "--target", &target]).expect(0);
        for at in 0..files {
            let source = fs::read(lab.source().join(at.to_string())).unwrap();
            assert!(fs::read(lab.restored(&target).join(at.to_string())).unwrap() == source);
        }
    }
    lab.assert_sound();
    let again = keys.run(&["prune", "--json"]).expect(0).json();
    assert_eq!(again["packs_rewritten"], 0, "there is nothing left to do: {again}");
}
