//! Secrets are printed nowhere but where the user asked for them.

use std::process::Output;

use crate::strongroom;

const CANARY: &str = "canary-4f1d";

fn assert_silent(output: &Output, what: &str) {
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        assert!(!text.contains(CANARY), "{what}: {text}");
    }
}

#[test]
fn help_shows_no_values_of_the_environment() {
    for args in [&["--help"][..], &["-h"], &["init", "--help"], &["backup", "-h"], &[]] {
        let mut command = strongroom();
        for name in ["PASSWORD", "PASSWORD_FILE", "PASSWORD_COMMAND", "REPOSITORY", "STATE_DIR"] {
            command.env(format!("STRONGROOM_{name}"), CANARY);
        }
        assert_silent(&command.args(args).output().unwrap(), &format!("{args:?}"));
    }
}

#[test]
fn no_log_level_shows_a_password() {
    let folder = tempfile::tempdir().unwrap();
    for verb in [&["init"][..], &["snapshots"], &["verify"], &["nothing"]] {
        let mut command = strongroom();
        command.args(verb).args(["-vv", "-r"]).arg(folder.path().join("repository"));
        command.env("STRONGROOM_PASSWORD", CANARY).env("STRONGROOM_LOG", "trace");
        assert_silent(&command.output().unwrap(), &format!("{verb:?}"));
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let url = format!("sftp://user:{CANARY}@host/path");
    let output = strongroom()
        .args(["snapshots", "-r", &url])
        .env("STRONGROOM_PASSWORD", CANARY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_silent(&output, &url);
}

#[test]
fn a_password_command_does_not_see_our_password_and_its_output_is_not_shown() {
    let command = format!("sh -c 'echo {CANARY}; exit 1'");
    let output = strongroom()
        .args(["snapshots", "-r", "/nonexistent", "--password-command"])
        .arg(command)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_silent(&output, "a failed password command");
    let seen = "test -z \"$STRONGROOM_PASSWORD\" && echo fine";
    let output = strongroom()
        .args(["snapshots", "-r", "/nonexistent", "--password-command"])
        .arg(format!("sh -c '{seen}'"))
        .env("STRONGROOM_PASSWORD", CANARY)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(10), "{output:?}");
}
