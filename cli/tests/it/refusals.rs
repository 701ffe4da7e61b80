//! What is refused before any work: exit code 2 (or 12 without a password), one message that
//! names the value, nothing on standard output.

use std::fs;

use serde_json::Value;

use crate::strongroom;

/// A command line and what its refusal must name.
const WRONG: &[(&[&str], &str)] = &[
    (&["no-such-verb"], "no-such-verb"),
    (&["ls"], "<SNAP>"),
    (&["ls", "abc"], "abc"),
    (&["ls", "latest", "a/../b"], "a/../b"),
    (&["ls", "latest", "--no-such-flag"], "--no-such-flag"),
    (&["ls", "latest~x"], "latest~x"),
    (&["ls", "@not-a-time"], "@not-a-time"),
    (&["snapshots", "--latest", "0"], "--latest"),
    (&["snapshots", "--tag", "a,,b"], "a,,b"),
    (&["snapshots", "--progress", "dance"], "dance"),
    (&["snapshots", "-q", "-v"], "--quiet"),
    (&["find"], "<PATTERN>"),
    (&["find", "[a"], "[a"),
    (&["find", "!a"], "!a"),
    (&["find", "a", "--oldest", "soon"], "soon"),
    (&["diff", "latest"], "<AFTER>"),
    (&["dump", "latest"], "<PATH>"),
    (&["dump", "latest", "x", "--archive", "rar"], "rar"),
    (&["restore", "latest"], "--target"),
    (&["restore", "latest:..", "--target", "t"], "latest:.."),
    (&["restore", "latest", "--target", "t", "--overwrite", "perhaps"], "perhaps"),
    (&["restore", "latest", "--target", "t", "--include", "[x"], "[x"),
    (&["restore", "latest", "--target", "t", "--workers", "0"], "0"),
    (&["restore", "latest", "--target", "t", "--verify", "--dry-run"], "--dry-run"),
    (&["verify", "--read-data=500%"], "500%"),
    (&["verify", "--read-data", "some"], "some"),
    (&["verify", "--scratch", "/tmp"], "--restore"),
    (&["backup"], "path"),
    (&["backup", ".", "--type", "sometimes"], "sometimes"),
    (&["backup", ".", "--time", "yesterday"], "yesterday"),
    (&["backup", ".", "--exclude", "[x"], "[x"),
    (&["backup", ".", "--exclude-file", "no-such-file"], "no-such-file"),
    (&["backup", ".", "--tag", "a b,"], "a b,"),
    (&["backup", ".", "--host", ""], "--host"),
    (&["backup", ".", "--compression", "20"], "20"),
    (&["backup", ".", "--parent", "zzzz"], "zzzz"),
    (&["backup", ".", "--stdin"], "--stdin"),
    (&["backup", ".", "--init", "--dry-run"], "--dry-run"),
    (&["backup", "--stdin-from-command"], "<PATH>"),
    (&["backup", "--stdin", "--stdin-filename", "a/../b"], "a/../b"),
    (&["init", "--pack-size", "12 apples"], "12 apples"),
    (&["init", "--pack-size", "1KiB"], "--pack-size"),
    (&["init", "--chunk-size", "1T"], "--chunk-size"),
    (&["init", "--kdf-passes", "0"], "--kdf-passes"),
    (&["init", "--recovery-key-file", "/dev/null"], "recovery key"),
    (&["snapshots", "-r", "gopher://host/x"], "gopher"),
    (&["snapshots", "-r", ""], "repository"),
    (&["snapshots", "--password-file", "no-such-file"], "no-such-file"),
    (&["snapshots", "--password-command", "'"], "quote"),
    (&["snapshots", "--password-command", "no-such-command"], "no-such-command"),
    (&["snapshots", "--password-file", "x", "--password-command", "y"], "--password-file"),
    (&["completions", "tcsh"], "tcsh"),
];

#[test]
fn wrong_values_are_named() {
    for (args, named) in WRONG {
        let mut command = strongroom();
        command.env("STRONGROOM_REPOSITORY", "/nonexistent/repository");
        if !args.iter().any(|arg| arg.starts_with("--password")) {
            command.env("STRONGROOM_PASSWORD", "secret");
        }
        let output = command.args(*args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(said.starts_with("strongroom: "), "{args:?}: {said}");
        assert!(said.contains(named), "{args:?}: {named} is not named: {said}");
    }
}

#[test]
fn programs_get_refusals_as_json() {
    for args in [&["ls", "abc", "--json"][..], &["--json", "snapshots"], &["--json", "nothing"]] {
        let output = strongroom().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["message_type"], "exit_error");
        assert_eq!(error["code"], 2);
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn without_a_repository_or_a_password_the_hint_says_how() {
    let output = strongroom().arg("snapshots").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\nhint: use -r/--repo or set STRONGROOM_REPOSITORY"), "{said}");
    let output = strongroom().args(["snapshots", "-r", "/nonexistent"]).output().unwrap();
    assert_eq!(output.status.code(), Some(12));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\nhint: set STRONGROOM_PASSWORD"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn two_passwords_and_empty_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let cases = [
        ("STRONGROOM_PASSWORD_FILE", empty.to_str().unwrap(), "is empty"),
        ("STRONGROOM_PASSWORD_COMMAND", "true", "printed nothing"),
        ("STRONGROOM_PASSWORD_COMMAND", "false", "exit status"),
    ];
    for (name, value, said) in cases {
        let mut command = strongroom();
        command.args(["snapshots", "-r", "/nonexistent"]).env(name, value);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(said), "{stderr}");
        let output = command.env("STRONGROOM_PASSWORD", "secret").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("are both set") && !stderr.contains("secret"), "{stderr}");
    }
}

#[test]
fn no_repository_has_its_own_exit_code_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    for place in [folder.path(), &missing] {
        for verb in [&["snapshots"][..], &["ls", "latest"], &["verify"], &["backup", "."]] {
            let mut command = strongroom();
            command.args(verb).env("STRONGROOM_PASSWORD", "secret");
            command.env("STRONGROOM_REPOSITORY", place);
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(10), "{verb:?}: {said}");
            assert!(said.contains(place.to_str().unwrap()), "{said}");
            assert!(said.contains("\nhint: "), "{said}");
        }
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
