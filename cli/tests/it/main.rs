//! The command line from outside, as far as it needs no repository: usage errors and their exit
//! codes, help, completions, secrets that stay secret. Knows the binary, none of its code.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod completions;
mod reference;
mod refusals;
mod secrets;

use assert_cmd::Command;

/// The binary in an empty environment.
fn strongroom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.env_clear().env("HOME", "/nonexistent").env("PATH", "/usr/bin:/bin");
    command
}

/// Standard output of a run that must succeed.
fn output_of(args: &[&str]) -> String {
    let assert = strongroom().args(args).env("COLUMNS", "100").assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// The verbs that `--help` lists.
fn verbs() -> Vec<String> {
    let help = output_of(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let verbs: Vec<_> = lines
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|verb| !verb.is_empty() && *verb != "help")
        .map(str::to_owned)
        .collect();
    assert!(verbs.len() >= 11, "{help}");
    verbs
}
