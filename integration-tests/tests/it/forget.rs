//! Forgetting by policy and by name, undo, tags and holds: what the binary says and does.

use std::fs;

use serde_json::Value;

use crate::support::{Lab, assert_same_tree};

/// A repository with one snapshot for each time; each holds a file that says so.
fn lab_with(times: &[&str]) -> Lab {
    let lab = Lab::new();
    lab.run(["init"]).expect(0);
    for time in times {
        lab.write("source/file", time.as_bytes());
        lab.run(["backup", "source", "--host", "web1", "--time", time]).expect(0);
    }
    lab
}

const DAYS: [&str; 5] = [
    "2026-01-01T10:00:00Z",
    "2026-01-02T10:00:00Z",
    "2026-01-02T23:30:00Z",
    "2026-01-03T10:00:00Z",
    "2026-01-05T10:00:00Z",
];

fn ids(lab: &Lab) -> Vec<String> {
    lab.snapshots().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// The times of a list of snapshots in JSON.
fn times(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["time"].as_str().unwrap()).collect()
}

#[test]
fn a_policy_says_what_it_keeps_and_why_and_then_does_it() {
    let lab = lab_with(&DAYS);
    let flags = ["forget", "--keep-daily", "3", "--keep-last", "1", "--time-zone", "UTC"];
    let dry = lab.run(flags.iter().chain(&["--json", "--dry-run"])).expect(0).json();
    let group = &dry[0];
    assert_eq!(group["host"], "web1");
    assert_eq!(group["paths"][0], lab.source().to_str().unwrap());
    assert_eq!(group["time_zone"], "UTC");
    assert_eq!(times(&group["keep"]), [DAYS[4], DAYS[3], DAYS[2]]);
    assert_eq!(times(&group["remove"]), [DAYS[1], DAYS[0]]);
    let reasons = &group["reasons"];
    let newest = &reasons[0]["matches"];
    assert_eq!(newest[0], "last snapshot", "{reasons}");
    assert_eq!(newest[1], "daily snapshot of 2026-01-05", "{reasons}");
    assert_eq!(reasons[2]["matches"][0], "daily snapshot of 2026-01-02", "{reasons}");
    assert_eq!(lab.snapshots().len(), 5, "a dry run changes nothing");

    let text = lab.run(flags.iter().chain(&["-n"])).expect(0).text();
    assert!(text.contains("daily snapshot of 2026-01-02"), "{text}");
    assert!(text.contains("would forget 2 snapshots"), "{text}");
    let text = lab.run(flags).expect(0).text();
    assert!(text.contains("forgot 2 snapshots"), "{text}");
    assert_eq!(times(&Value::from(lab.snapshots())), DAYS[2..]);
    let text = lab.run(flags.iter().chain(&["-v"])).expect(0).text();
    assert!(text.contains("forgot 0 snapshots"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("requests: 0 put"), "{text}");
    lab.run(["verify", "--read-data"]).expect(0);
}

#[test]
fn the_time_zone_decides_which_day_it_is() {
    let lab = lab_with(&DAYS);
    // in Auckland, 2026-01-02T23:30Z is the same day as 2026-01-03T10:00Z
    let kept = |zone: &str| {
        let flags = ["forget", "--keep-daily", "9", "--time-zone", zone, "--json", "-n"];
        let plan = lab.run(flags).expect(0).json();
        times(&plan[0]["keep"]).iter().map(|&time| time.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kept("UTC"), [DAYS[4], DAYS[3], DAYS[2], DAYS[0]]);
    assert_eq!(kept("<+13>-13"), [DAYS[4], DAYS[3], DAYS[1], DAYS[0]]);
    lab.run(["forget", "--keep-last", "1", "--time-zone", "Mars/Olympus"]).expect(2);
}

#[test]
fn what_would_forget_everything_is_refused() {
    let lab = lab_with(&DAYS[..1]);
    for args in [
        &["forget"][..],
        &["forget", "--keep-daily", "x"],
        &["forget", "--keep-within", "3"],
        &["forget", "--keep-daily", "3", "latest"],
        &["forget", "--undo"],
        &["forget", "--undo", "--force", "latest"],
        &["forget", "--keep-last", "1", "--group-by", "size"],
        &["tag", "latest"],
        &["tag", "--set", "a", "--add", "b", "latest"],
        &["hold"],
        &["release"],
    ] {
        lab.run(args).expect(2);
    }
    let zero = lab.run(["forget", "--keep-daily", "0"]);
    zero.expect_error(2, &["a policy that keeps nothing"]);
    assert_eq!(lab.snapshots().len(), 1);
}

#[test]
fn the_last_of_a_group_goes_by_force_only() {
    let lab = lab_with(&DAYS[..2]);
    let ids = ids(&lab);
    let plan = lab.run(["forget", "--keep-tag", "none", "--json"]).expect(0).json();
    assert_eq!(plan[0]["reasons"][0]["matches"][0], "last of its group");
    assert_eq!(times(&Value::from(lab.snapshots())), [DAYS[1]]);
    lab.run(["forget", "latest"]).expect_error(2, &[&ids[1], "last"]);
    assert_eq!(lab.snapshots().len(), 1);
    lab.run(["forget", "latest", "--force"]).expect(0);
    assert!(lab.snapshots().is_empty());
}

#[test]
fn each_group_is_for_itself() {
    let lab = lab_with(&DAYS[..2]);
    lab.run(["backup", "source", "--host", "web2", "--time", DAYS[2]]).expect(0);
    let keep_one = ["forget", "--keep-last", "1", "--json", "--dry-run"];
    let groups = lab.run(keep_one).expect(0).objects();
    assert_eq!(groups.len(), 2);
    let one = lab.run(keep_one.iter().chain(&["--group-by", ""])).expect(0).json();
    assert_eq!(times(&one[0]["keep"]), [DAYS[2]]);
    assert_eq!(one[0]["host"], Value::Null);
    let filtered = lab.run(keep_one.iter().chain(&["--host", "web1"])).expect(0).json();
    assert_eq!(times(&filtered[0]["remove"]), [DAYS[0]]);
    assert_eq!(filtered.as_array().unwrap().len(), 1);
}

#[test]
fn held_snapshots_stay_until_they_are_released() {
    let lab = lab_with(&DAYS[..3]);
    let ids = ids(&lab);
    let held = lab.run(["hold", &ids[0], "--json"]).expect(0).json();
    assert_eq!((&held[0]["held"], &held[0]["changed"]), (&true.into(), &true.into()));
    let again = lab.run(["hold", &ids[0], "--json"]).expect(0).json();
    assert_eq!(again[0]["changed"], false);
    assert!(lab.run(["snapshots"]).expect(0).text().contains("held"));
    assert_eq!(lab.snapshots()[0]["held"], true);

    lab.run(["forget", &ids[0], &ids[1]]).expect_error(2, &[&ids[0], "held"]);
    lab.run(["forget", &ids[0], "--force"]).expect_error(2, &[&ids[0], "held"]);
    assert_eq!(lab.snapshots().len(), 3);
    let plan = lab.run(["forget", "--keep-last", "1", "--json"]).expect(0).json();
    assert_eq!(plan[0]["reasons"][1]["matches"][0], "held");
    assert_eq!(times(&Value::from(lab.snapshots())), [DAYS[0], DAYS[2]]);

    lab.run(["release", &ids[0]]).expect(0);
    lab.run(["forget", "--keep-last", "1"]).expect(0);
    assert_eq!(times(&Value::from(lab.snapshots())), [DAYS[2]]);
    assert!(!lab.run(["snapshots"]).expect(0).text().contains("held"));
}

#[test]
fn tags_change_without_a_new_snapshot() {
    let lab = lab_with(&DAYS[..3]);
    let before = ids(&lab);
    lab.run(["tag", "--add", "release,v2", "--add", "x", &before[0]]).expect(0);
    lab.run(["tag", "--set", "nightly", &before[1]]).expect(0);
    lab.run(["tag", "--remove", "x", "--add", "y", "--tag", "v2"]).expect(0);
    assert_eq!(ids(&lab), before);
    let snapshots = lab.snapshots();
    assert_eq!(snapshots[0]["tags"], serde_json::json!(["release", "v2", "y"]));
    assert_eq!(snapshots[1]["tags"], serde_json::json!(["nightly"]));
    lab.run(["tag", "--set", "", &before[1]]).expect(0);
    assert_eq!(lab.snapshots()[1]["tags"], serde_json::json!([]));
    lab.run(["tag", "--add", "a", "ffffffff"]).expect_error(1, &["ffffffff"]);

    let flags = ["forget", "--keep-tag", "release,v2", "--keep-tag", "nope", "--force", "--json"];
    let plan = lab.run(flags).expect(0).json();
    assert_eq!(plan[0]["reasons"][0]["matches"][0], "tagged release,v2");
    assert_eq!(times(&Value::from(lab.snapshots())), [DAYS[0]]);
}

#[test]
fn forgetting_by_name_twice_is_no_error() {
    let lab = lab_with(&DAYS[..3]);
    let ids = ids(&lab);
    let first = lab.run(["forget", &ids[0][..8], &ids[0], "--json"]).expect(0).summary();
    assert_eq!(first["forgotten"], serde_json::json!([ids[0]]));
    let second = lab.run(["forget", &ids[0][..8], &ids[1], "--json"]).expect(0).summary();
    assert_eq!(second["forgotten"], serde_json::json!([ids[1]]));
    assert_eq!(second["already_forgotten"], serde_json::json!([ids[0]]));
    lab.run(["forget", "ffffffff"]).expect_error(1, &["ffffffff"]);
    let dry = lab.run(["forget", "latest", "--force", "--dry-run", "--json"]).expect(0).summary();
    assert_eq!(dry["chosen"], serde_json::json!([ids[2]]));
    assert_eq!(lab.snapshots().len(), 1);
}

#[test]
fn undo_brings_forgotten_snapshots_back_as_new_ones() {
    let lab = lab_with(&DAYS[..3]);
    let first = ids(&lab)[0].clone();
    lab.run(["tag", "--add", "precious", &first]).expect(0);
    lab.run(["forget", "--keep-last", "1"]).expect(0);
    lab.run(["restore", &first, "--target", "gone"]).expect(1);
    let gone = lab.run(["snapshots", "--forgotten", "--json"]).expect(0).objects();
    assert_eq!(times(&Value::from(gone)), DAYS[..2]);

    let undone = lab.run(["forget", "--undo", &first[..8], "--json"]).expect(0).json();
    assert_eq!(undone[0]["forgotten"], first);
    let back = undone[0]["snapshot"].as_str().unwrap();
    assert_ne!(back, first);
    let again = lab.run(["forget", "--undo", &first, "--json"]).expect(0).json();
    assert_eq!((&again[0]["snapshot"], &again[0]["new"]), (&back.into(), &false.into()));
    let snapshots = lab.snapshots();
    assert_eq!(times(&Value::from(snapshots.clone())), [DAYS[0], DAYS[2]]);
    assert_eq!(snapshots[0]["original"]["snapshot_id"], first);
    assert_eq!(snapshots[0]["tags"], serde_json::json!(["precious"]));

    lab.write("source/file", DAYS[0].as_bytes());
    lab.run(["restore", back, "--target", "back"]).expect(0);
    let restored = fs::read(lab.restored("back").join("file")).unwrap();
    assert_eq!(restored, DAYS[0].as_bytes());
    lab.run(["verify", "--read-data"]).expect(0);
    lab.run(["forget", "--undo", "ffffffff"]).expect_error(1, &["ffffffff"]);
    // and life goes on
    lab.backup();
    lab.run(["restore", "latest", "--target", "now"]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored("now"));
}
