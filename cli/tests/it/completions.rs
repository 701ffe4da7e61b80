//! Completion scripts and the version.

use crate::{output_of, strongroom, verbs};

#[test]
fn every_shell_gets_a_script_that_knows_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = output_of(&["completions", shell]);
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn the_version_is_said_for_people_and_programs() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(output_of(&["version"]).starts_with(&format!("strongroom {version} (format 1, ")));
    assert_eq!(output_of(&["--version"]), format!("strongroom {version}\n"));
    let json: serde_json::Value = serde_json::from_str(&output_of(&["version", "--json"])).unwrap();
    assert_eq!(json["message_type"], "version");
    assert_eq!(json["version"], version);
}

#[test]
fn a_full_disk_behind_standard_output_is_said() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let mut command = std::process::Command::new(strongroom().get_program());
    let output = command.arg("version").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("strongroom: cannot write the output: "), "{said}");
}
