//! Nobody else reads it: canaries in passwords, contents and names are printed nowhere and stored
//! nowhere in the clear.

use std::fs;

use crate::support::{Lab, Outcome, lab::PASSWORD, repository::objects};

const CONTENT: &str = "content-canary-5f1c";
const NAME: &str = "name-canary-93ab";

fn holds(bytes: &[u8], canary: &str) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
}

#[test]
fn no_verb_prints_a_password_even_at_trace_level() {
    let lab = Lab::with_backup();
    let verbs: &[&[&str]] = &[
        &["backup", "source", "-v"],
        &["snapshots"],
        &["ls", "latest"],
        &["verify", "--read-data"],
        &["restore", "latest", "--target", "target"],
        &["restore", "nothing", "--target", "target"],
        &["init"],
        &["no-such-verb"],
        &["--help"],
    ];
    for verb in verbs {
        for password in [PASSWORD, "another-canary"] {
            let mut command = lab.command();
            command
                .args(*verb)
                .env("STRONGROOM_PASSWORD", password)
                .env("STRONGROOM_LOG", "trace")
                .env("RUST_LOG", "trace");
            let outcome = Outcome::of(&mut command);
            assert!(!outcome.stderr.contains(password), "{outcome}");
            assert!(!outcome.text().contains(password), "{outcome}");
        }
    }
}

#[test]
fn commands_that_we_start_do_not_see_the_password() {
    let lab = Lab::with_backup();
    lab.run(["backup", "--stdin-filename", "environment", "--stdin-from-command", "--", "env"])
        .expect(0);
    let seen = lab.run(["dump", "latest", "/environment"]).expect(0);
    assert!(holds(&seen.stdout, "PATH="), "{seen}");
    assert!(!holds(&seen.stdout, PASSWORD), "{seen}");
}

#[test]
fn nothing_stands_in_the_repository_in_the_clear() {
    let lab = Lab::new();
    lab.write(format!("source/{NAME}"), CONTENT.repeat(1_000).as_bytes());
    lab.run(["backup", "--init", "--tag", "tag-canary-1d", "--host", "host-canary-2e", "source"])
        .expect(0);
    for (object, _) in objects(&lab.repository()) {
        let bytes = fs::read(lab.repository().join(&object)).unwrap();
        for canary in [CONTENT, NAME, PASSWORD, "tag-canary-1d", "host-canary-2e", "source"] {
            assert!(!holds(&bytes, canary), "{canary} stands in {}", object.display());
            assert!(!object.to_string_lossy().contains(canary), "{}", object.display());
        }
    }
}

#[test]
fn a_local_repository_and_its_cache_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::with_backup();
    for folder in [lab.repository(), lab.path("home")] {
        for (object, _) in objects(&folder) {
            let path = folder.join(&object);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        }
    }
    let mode = fs::metadata(lab.repository()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn the_recovery_key_is_printed_once_and_opens_the_repository() {
    let lab = Lab::new();
    let report = lab.run(["init", "--json"]).expect(0).json();
    let key = report["recovery_key"].as_str().unwrap().to_owned();
    lab.run(["backup", "source"]).expect(0);
    let file = lab.write("recovery key", key.as_bytes());
    let mut command = lab.command();
    command.args(["snapshots", "--recovery-key-file"]).arg(file).env_remove("STRONGROOM_PASSWORD");
    let outcome = Outcome::of(&mut command).expect(0);
    assert!(!outcome.text().contains(&key) && !outcome.stderr.contains(&key));
    for (object, _) in objects(&lab.repository()) {
        assert!(!holds(&fs::read(lab.repository().join(&object)).unwrap(), &key));
    }
    let file = lab.write("wrong key", key.replace(|c: char| c.is_ascii_digit(), "2").as_bytes());
    let mut command = lab.command();
    command.args(["snapshots", "--recovery-key-file"]).arg(file).env_remove("STRONGROOM_PASSWORD");
    Outcome::of(&mut command).expect_error(12, &["key"]);
}
