//! What scripts and people read: JSON keys, help, completions, silence in a pipe.

use std::{collections::BTreeSet, process::Command};

use crate::{
    support::{Lab, lab::pseudo_random},
    tidy::project_root,
};

#[test]
fn the_backup_summary_has_the_keys_that_scripts_know() {
    let lab = Lab::new();
    lab.write("source/a", b"a");
    lab.write("source/folder/b", &pseudo_random(100_000, 1));
    let summary = lab.backup_init();
    let keys: BTreeSet<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    for key in [
        "message_type",
        "files_new",
        "files_changed",
        "files_unmodified",
        "dirs_new",
        "dirs_changed",
        "dirs_unmodified",
        "data_blobs",
        "tree_blobs",
        "data_added",
        "data_added_packed",
        "total_files_processed",
        "total_bytes_processed",
        "total_duration",
        "snapshot_id",
        "requests",
        "errors",
    ] {
        assert!(keys.contains(key), "no `{key}` in {summary}");
    }
    assert_eq!(summary["files_new"], 2);
    assert_eq!(summary["total_files_processed"], 2);
    assert_eq!(summary["total_bytes_processed"], 100_001);
    assert_eq!(summary["snapshot_id"], lab.snapshots()[0]["id"]);
    assert!(summary["requests"].is_object(), "{summary}");
}

#[test]
fn stdout_is_data_and_stderr_is_talk() {
    let lab = Lab::with_backup();
    for verb in [&["snapshots", "--json"][..], &["ls", "latest"], &["find", "*.txt"]] {
        let outcome = lab.run(verb).expect(0);
        assert!(!outcome.stdout.is_empty(), "{outcome}");
        assert!(outcome.stderr.is_empty(), "quiet in a pipe: {outcome}");
    }
    let outcome = lab.run(["backup", "source"]).expect(0);
    assert!(!outcome.stderr.contains('\r') && !outcome.stderr.contains('\x1b'), "{outcome}");
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let lab = Lab::with_backup();
    lab.write("source/more", &pseudo_random(30 << 20, 2));
    let outcome = lab.run(["backup", "--progress", "json", "source"]).expect(0);
    for line in outcome.stderr.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
}

/// The verbs that `--help` lists.
fn verbs(lab: &Lab) -> Vec<String> {
    let help = lab.run(["--help"]).expect(0).text();
    let verbs: Vec<_> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect();
    assert!(verbs.len() >= 10, "{help}");
    verbs
}

#[test]
fn every_verb_has_help_with_examples() {
    let lab = Lab::new();
    for verb in verbs(&lab) {
        let help = lab.run([&verb, "--help"]).expect(0).text();
        assert!(help.contains("Examples:"), "{verb}: {help}");
        assert!(help.contains(&format!("strongroom {verb}")), "{verb}: {help}");
    }
}

#[test]
fn every_verb_is_in_the_documentation() {
    let lab = Lab::new();
    let root = project_root();
    let documents: String = ["README.md", "docs/operations.md", "docs/cli.md"]
        .iter()
        .map(|path| std::fs::read_to_string(root.join(path)).unwrap_or_default())
        .collect();
    let missing: Vec<_> =
        verbs(&lab).into_iter().filter(|verb| !documents.contains(&format!("`{verb}"))).collect();
    assert!(missing.is_empty(), "README.md and docs/ do not mention {missing:?}");
}

#[test]
fn completions_are_made_for_every_shell() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = lab.run(["completions", shell]).expect(0).text();
        assert!(script.contains("strongroom") && script.contains("restore"), "{shell}");
    }
    let script = lab.run(["completions", "bash"]).expect(0).stdout;
    let path = lab.write("completions.bash", &script);
    assert!(Command::new("bash").arg("-n").arg(path).status().unwrap().success());
}

#[test]
fn the_version_names_the_program_and_the_format() {
    let lab = Lab::new();
    for args in [&["version"][..], &["--version"]] {
        let text = lab.run(args).expect(0).text();
        assert!(text.contains("strongroom") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn a_closed_pipe_is_not_a_panic() {
    let lab = Lab::with_backup();
    let mut command = Command::new("sh");
    lab.isolate(&mut command);
    let status = command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", crate::support::lab::PASSWORD)
        .env("strongroom", crate::support::lab::binary())
        .args(["-c", "\"$strongroom\" ls latest 2>talk | true; ! grep panicked talk"])
        .status()
        .unwrap();
    assert!(status.success());
}
