//! `copy`: snapshots of one repository in another one with another password, the same tree in
//! both, nothing sent twice.

use std::{fs, process::Command};

use serde_json::Value;

use crate::support::{
    Lab, Outcome, assert_same_tree, fixture,
    lab::{PASSWORD, binary, pseudo_random},
    repository::{self, objects, packs},
};

const OTHER_PASSWORD: &str = "another-canary";

/// A lab with a backup and a second, empty repository `other`, that has another password.
fn lab_with_other() -> Lab {
    let lab = Lab::new();
    lab.write("other-password", OTHER_PASSWORD.as_bytes());
    other(&lab, &["init"]).expect(0);
    lab
}

/// Runs the binary on the second repository.
fn other(lab: &Lab, args: &[&str]) -> Outcome {
    let mut command = lab.command();
    command.args(args).args(["-r", "other", "--password-file", "other-password"]);
    Outcome::of(&mut command)
}

/// Copies from the first repository into the second.
fn copy(lab: &Lab, args: &[&str]) -> Outcome {
    lab.write("password", PASSWORD.as_bytes());
    let from = ["copy", "--from-repo", "repository", "--from-password-file", "password"];
    other(lab, &[&from[..], args].concat())
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {object}"))
}

/// All lines of `copy --json`: one a snapshot, then the summary.
fn results(outcome: &Outcome) -> (Vec<Value>, Value) {
    let mut objects = outcome.objects();
    let summary = objects.pop().unwrap();
    assert_eq!(summary["message_type"], "summary", "{outcome}");
    assert!(objects.iter().all(|object| object["message_type"] == "snapshot"), "{outcome}");
    (objects, summary)
}

#[test]
fn a_copy_restores_as_the_original_does() {
    let lab = lab_with_other();
    fixture::everything(&lab.source());
    lab.run(["backup", "--init", "--tag", "a,b", "--host", "elsewhere", "source"]).expect(0);
    let (copies, summary) = results(&copy(&lab, &["--json"]).expect(0));
    assert_eq!((copies.len(), number(&summary, "snapshots_copied")), (1, 1), "{summary}");
    let original = &lab.snapshots()[0];
    let snapshots = other(&lab, &["snapshots", "--json"]).expect(0).json();
    let made = &snapshots[0];
    assert_eq!(made["id"], copies[0]["snapshot_id"]);
    assert_eq!(made["original"]["snapshot_id"], original["id"]);
    for key in ["time", "hostname", "username", "paths", "tags", "type"] {
        assert_eq!(made[key], original[key], "{key}");
    }
    let backup_start = |snapshot: &Value| snapshot["summary"]["backup_start"].clone();
    assert_eq!(backup_start(made), backup_start(original));
    other(&lab, &["verify", "--read-data"]).expect(0);
    other(&lab, &["restore", "latest", "--target", "proof"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("proof"));
    // inode numbers and change times too, which a restored tree cannot show
    let entries = |outcome: Outcome| {
        let text = outcome.expect(0).text();
        // the first line tells the snapshot's id
        text.split_once('\n').unwrap().1.to_owned()
    };
    let list = ["ls", "latest", "--recursive", "--json"];
    assert!(entries(other(&lab, &list)) == entries(lab.run(list)));
    // the other password opens the other one, and only that
    let mut wrong = lab.command();
    Outcome::of(wrong.args(["snapshots", "-r", "other"])).expect_error(12, &["password"]);
}

#[test]
fn a_second_copy_skips_what_is_there_and_sends_what_is_new() {
    let lab = lab_with_other();
    lab.write("source/large", &pseudo_random(8 << 20, 1));
    lab.write("source/small", b"small");
    lab.backup_init();
    copy(&lab, &[]).expect(0);
    let before = objects(&lab.path("other"));
    let (again, summary) = results(&copy(&lab, &["--json"]).expect(0));
    assert_eq!((again[0]["status"].as_str(), again.len()), (Some("present"), 1));
    assert_eq!(number(&summary, "snapshots_present"), 1);
    assert_eq!(objects(&lab.path("other")), before);
    lab.write("source/new", &pseudo_random(100_000, 2));
    lab.backup();
    let (copies, _) = results(&copy(&lab, &["--json"]).expect(0));
    let states: Vec<_> = copies.iter().map(|copy| copy["status"].as_str().unwrap()).collect();
    assert_eq!(states, ["present", "copied"]);
    let added = &copies[1]["added"];
    assert!(number(added, "data_added") < 200_000, "{added}");
    assert!(number(added, "bytes_read") < 200_000, "unchanged files are not read: {added}");
    other(&lab, &["verify", "--read-data"]).expect(0);
    other(&lab, &["restore", "latest", "--target", "proof"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("proof"));
}

#[test]
fn snapshots_are_chosen_by_name_host_and_tag() {
    let lab = lab_with_other();
    lab.write("source/file", b"1");
    lab.run(["backup", "--init", "--host", "one", "--tag", "x", "source"]).expect(0);
    lab.run(["backup", "--host", "two", "source"]).expect(0);
    let (dry, _) = results(&copy(&lab, &["--json", "--dry-run"]).expect(0));
    assert!(dry.iter().all(|one| one["status"] == "would_copy"), "{dry:?}");
    assert!(packs(&lab.path("other")).is_empty());
    let count = |args: &[&str]| {
        let args = [args, &["--json"]].concat();
        number(&results(&copy(&lab, &args).expect(0)).1, "snapshots_copied")
    };
    assert_eq!(count(&["--host", "none"]), 0);
    assert_eq!(count(&["--tag", "x"]), 1);
    assert_eq!(count(&["latest"]), 1);
    assert_eq!(count(&[]), 0);
    copy(&lab, &["ffffffff"]).expect_error(1, &["ffffffff"]);
}

#[test]
fn what_cannot_be_copied_is_said() {
    let lab = lab_with_other();
    lab.write("source/file", &pseudo_random(300_000, 1));
    lab.backup_init();
    let from_itself = ["copy", "--from-repo", "repository", "-r", "./repository"];
    lab.run(from_itself).expect_error(2, &["same repository"]);
    lab.run(["copy"]).expect(2);
    let wrong = ["copy", "--from-repo", "repository"];
    other(&lab, &wrong).expect_error(12, &["password"]);
    let nowhere = ["copy", "--from-repo", "nowhere"];
    other(&lab, &nowhere).expect_error(10, &["nowhere"]);
    // the environment may say what opens it
    let mut command = lab.command();
    command.args(wrong).args(["-r", "other", "--password-file", "other-password"]);
    Outcome::of(command.env("STRONGROOM_FROM_PASSWORD", PASSWORD)).expect(0);
}

#[test]
fn a_damaged_snapshot_does_not_keep_the_others() {
    let lab = lab_with_other();
    lab.write("source/file", &pseudo_random(300_000, 1));
    lab.backup_init();
    let first = packs(&lab.repository());
    fs::remove_file(lab.path("source/file")).unwrap();
    lab.write("source/else", &pseudo_random(300_000, 2));
    lab.run(["backup", "--type", "full", "source"]).expect(0);
    // the first snapshot needs the first pack; the second one was read anew, but its folder
    // entries may lie there, too: so it is only sure that one of them cannot be copied
    fs::remove_file(lab.repository().join(&first[0].0)).unwrap();
    let outcome = copy(&lab, &["--json"]).expect(13);
    let (_, summary) = results(&outcome);
    assert!(number(&summary, "snapshots_failed") >= 1, "{outcome}");
    let listed = other(&lab, &["snapshots", "--json"]).expect(0).objects();
    assert_eq!(listed.len() as u64, number(&summary, "snapshots_copied"));
    other(&lab, &["verify", "--read-data"]).expect(0);
}

/// Runs a copy and kills it as it enters the `nth` writing call of any of its threads.
fn killed(lab: &Lab, nth: usize) -> Outcome {
    let calls = "?link,linkat,?rename,?renameat,renameat2,fsync,fdatasync,?mkdir,mkdirat";
    let mut command = Command::new("strace");
    lab.isolate(&mut command);
    command
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:signal=SIGKILL:when={nth}")])
        .arg(binary())
        .args(["copy", "-r", "other", "--password-file", "other-password"])
        .args(["--from-repo", "repository", "--from-password-file", "password"]);
    Outcome::of(&mut command)
}

#[test]
fn a_copy_killed_anywhere_needs_no_manual_step() {
    let lab = lab_with_other();
    lab.write("source/large", &pseudo_random(2 << 20, 1));
    lab.write("source/small", b"small");
    lab.backup_init();
    lab.write("password", PASSWORD.as_bytes());
    fs::rename(lab.path("other"), lab.path("empty")).unwrap();
    let mut kills = 0;
    for nth in (1..100).step_by(2) {
        repository::copy(&lab.path("empty"), &lab.path("other"));
        let code = killed(&lab, nth).code;
        let left = packs(&lab.path("other")).len() as u64;
        let (copies, _) = results(&copy(&lab, &["--json"]).expect(0));
        other(&lab, &["verify", "--read-data"]).expect(0);
        if copies[0]["status"] == "copied" {
            assert_eq!(number(&copies[0]["added"], "packs_adopted"), left);
        }
        if code == 0 {
            break;
        }
        assert_eq!(code, -1);
        kills += 1;
        // the empty repository comes back, which is no surprise here
        fs::remove_dir_all(lab.path("other")).unwrap();
        fs::remove_dir_all(lab.path("home/state/strongroom/pins")).unwrap();
    }
    assert!(kills >= 3, "only {kills} kill points: does strace see the calls?");
    other(&lab, &["restore", "latest", "--target", "proof"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("proof"));
}
