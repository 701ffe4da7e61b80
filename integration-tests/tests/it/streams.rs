//! Data that comes in through a pipe or from a command.

use std::fs;

use crate::support::{Lab, lab::pseudo_random};

#[test]
fn standard_input_becomes_a_file() {
    let lab = Lab::with_backup();
    let data = pseudo_random(5_000_001, 21);
    lab.run_with_input(["backup", "--stdin", "--stdin-filename", "dump.sql"], &data).expect(0);
    let dumped = lab.run(["dump", "latest", "/dump.sql"]).expect(0);
    assert!(dumped.stdout == data, "what went in comes out");
    lab.run(["restore", "latest", "--target", "target"]).expect(0);
    assert!(fs::read(lab.path("target/dump.sql")).unwrap() == data);
    lab.run(["verify", "--read-data"]).expect(0);
}

#[test]
fn an_empty_standard_input_is_an_empty_file() {
    let lab = Lab::with_backup();
    lab.run(["backup", "--stdin", "--stdin-filename", "empty"]).expect(0);
    assert!(lab.run(["dump", "latest", "/empty"]).expect(0).stdout.is_empty());
}

#[test]
fn the_output_of_a_command_becomes_a_file() {
    let lab = Lab::with_backup();
    let script = "printf 'from a command'; printf 'talk of the command' >&2";
    lab.run([
        "backup",
        "--stdin-filename",
        "out",
        "--stdin-from-command",
        "--",
        "sh",
        "-c",
        script,
    ])
    .expect(0);
    assert_eq!(lab.run(["dump", "latest", "/out"]).expect(0).stdout, b"from a command");
}

#[test]
fn arguments_of_a_command_are_not_read_by_a_shell() {
    let lab = Lab::with_backup();
    let nasty = "a; touch pwned $(touch pwned) `touch pwned` > pwned";
    lab.run(["backup", "--stdin-filename", "out", "--stdin-from-command", "--", "echo", nasty])
        .expect(0);
    assert_eq!(lab.run(["dump", "latest", "/out"]).expect(0).text().trim_end(), nasty);
    assert!(!lab.path("pwned").exists());
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let lab = Lab::with_backup();
    let base = ["backup", "--stdin-filename", "out", "--stdin-from-command", "--"];
    for (command, named) in [
        (&["sh", "-c", "echo partial; exit 7"][..], "7"),
        (&["sh", "-c", "echo partial; kill -9 $$"], "9"),
        (&["no-such-command-anywhere"], "no-such-command-anywhere"),
    ] {
        lab.run(base.iter().chain(command)).expect_error(1, &[named]);
        assert_eq!(lab.snapshots().len(), 1, "{command:?}");
    }
    lab.run(["verify"]).expect(0);
}

#[test]
fn a_stream_that_grows_at_its_end_is_stored_once() {
    let lab = Lab::with_backup();
    let mut data = pseudo_random(20 << 20, 22);
    lab.run_with_input(["backup", "--stdin", "--stdin-filename", "log"], &data).expect(0);
    data.extend_from_slice(b"one more line\n");
    let arguments = ["backup", "--json", "--stdin", "--stdin-filename", "log"];
    let summary = lab.run_with_input(arguments, &data).expect(0).summary();
    assert!(summary["data_blobs"].as_u64().unwrap() <= 2, "{summary}");
}
