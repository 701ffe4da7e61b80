//! What opens a repository can be listed, added, removed and replaced, and nobody is locked out.

mod agent;
mod rotate;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    Lab, Outcome, assert_same_tree,
    fixture::set_mode,
    lab::{PASSWORD, pseudo_random},
    repository::objects,
};

const SECOND: &str = "another-password-canary";

/// A repository whose passwords are cheap to hash, with one snapshot.
struct Keys {
    lab: Lab,
    recovery_key: String,
}

impl Keys {
    fn new() -> Self {
        Self::with(&[])
    }

    /// The same, made with these flags.
    fn with(flags: &[&str]) -> Self {
        let lab = Lab::new();
        let init = ["init", "--json", "--kdf-memory", "1MiB", "--kdf-passes", "1"];
        let made = lab.run([&init, flags].concat()).expect(0).json();
        let recovery_key = made["recovery_key"].as_str().unwrap().to_owned();
        lab.write("source/hello.txt", b"hello\n");
        lab.write("source/folder/leaf.bin", &pseudo_random(300_000, 1));
        lab.backup();
        Self { lab, recovery_key }
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.lab.run(args)
    }

    /// A file that holds a secret, for its owner only.
    fn secret(&self, name: &str, content: &[u8]) -> String {
        let path = self.lab.write(name, content);
        set_mode(&path, 0o600);
        path.to_str().unwrap().to_owned()
    }

    fn recovery_file(&self) -> String {
        self.secret("recovery", self.recovery_key.as_bytes())
    }

    /// Runs with this password.
    fn with_password(&self, password: &str, args: &[&str]) -> Outcome {
        Outcome::of(self.lab.command().env("STRONGROOM_PASSWORD", password).args(args))
    }

    /// Runs without a password in the environment.
    fn without_password(&self, args: &[&str]) -> Outcome {
        Outcome::of(self.lab.command().env_remove("STRONGROOM_PASSWORD").args(args))
    }

    /// Runs with what this flag says.
    fn with_file(&self, flag: &str, file: &str, args: &[&str]) -> Outcome {
        self.without_password(&[&[flag, file], args].concat())
    }

    /// The slots, as `key list --json` tells.
    fn slots(&self) -> Vec<Value> {
        self.run(&["key", "list", "--json"]).expect(0).objects()
    }

    /// The id of the only slot of this kind.
    fn slot(&self, kind: &str) -> String {
        let slots = self.slots();
        let ids: Vec<_> = slots.iter().filter(|slot| slot["kind"] == kind).collect();
        assert_eq!(ids.len(), 1, "{slots:?}");
        ids[0]["id"].as_str().unwrap().to_owned()
    }

    fn add_password(&self, password: &str) -> String {
        let file = self.secret("new password", password.as_bytes());
        let args = ["key", "add", "--json", "--label", "ops", "--new-password-file", &file];
        self.run(&args).expect(0).json()["id"].as_str().unwrap().to_owned()
    }

    /// Objects whose name holds this text, copies among them.
    fn named(&self, text: &str) -> Vec<PathBuf> {
        let all = objects(&self.lab.repository()).into_iter().map(|(path, _)| path);
        all.filter(|path| path.to_string_lossy().contains(text)).collect()
    }

    /// Proves that the newest snapshot comes back with this credential.
    fn assert_restores(&self, credential: &[&str]) {
        let proof = self.lab.path("proof");
        let _ = fs::remove_dir_all(&proof);
        let args = [credential, &["restore", "latest", "--target", "proof"]].concat();
        self.without_password(&args).expect(0);
        assert_same_tree(&self.lab.source(), &self.lab.restored("proof"));
    }
}

/// What a repository looks like to who has no key: names and bytes.
fn contents(repository: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = objects(repository).into_iter();
    all.map(|(path, _)| (path.clone(), fs::read(repository.join(path)).unwrap())).collect()
}

#[test]
fn slots_are_listed_added_and_removed() {
    let keys = Keys::new();
    let id = keys.add_password(SECOND);
    let slots = keys.slots();
    let said = |kind: &str| slots.iter().filter(|slot| slot["kind"] == kind).count();
    assert_eq!((said("password"), said("recovery key")), (2, 1), "{slots:?}");
    let in_use: Vec<_> = slots.iter().filter(|slot| slot["in_use"] == true).collect();
    assert_eq!(in_use.len(), 1, "{slots:?}");
    let added = slots.iter().find(|slot| slot["id"] == id.as_str()).unwrap();
    assert_eq!(added["label"], "ops");
    assert_eq!(added["kdf"]["memory_kib"], 1024, "costs what the slot in use costs");
    assert!(added["created"].as_str().unwrap().starts_with("20"), "{added}");
    let text = keys.run(&["key", "list"]).expect(0).text();
    assert!(text.contains("ops") && text.contains("3 key slots"), "{text}");
    keys.with_password(SECOND, &["snapshots"]).expect(0);

    let before = contents(&keys.lab.repository());
    keys.run(&["key", "remove", &id, "--dry-run"]).expect(0);
    assert_eq!(contents(&keys.lab.repository()), before, "a dry run changes nothing");
    assert!(keys.named(&id).len() > 1, "copies stand beside");
    let said = keys.run(&["key", "remove", &id[..8]]).expect(0);
    assert!(said.text().contains("key rotate"), "says what it does not do: {said}");
    assert!(keys.named(&id).is_empty(), "the copies are gone, too");
    keys.with_password(SECOND, &["snapshots"]).expect_error(12, &["password"]);
    keys.run(&["repair", "parity"]).expect(0);
    keys.with_password(SECOND, &["snapshots"]).expect_error(12, &["password"]);
    keys.lab.assert_sound();
}

#[test]
fn the_last_slot_and_the_one_in_use_stay() {
    let keys = Keys::new();
    let (own, recovery) = (keys.slot("password"), keys.slot("recovery key"));
    keys.run(&["key", "remove", &own]).expect_error(2, &["opened this run"]);
    keys.run(&["key", "remove", "zz"]).expect_error(2, &["zz"]);
    keys.run(&["key", "remove", &recovery]).expect(0);
    for force in [&[][..], &["--force"]] {
        let args = [&["key", "remove", &own], force].concat();
        keys.run(&args).expect_error(2, &["last one"]);
    }
    keys.add_password(SECOND);
    keys.run(&["key", "remove", &own, "--force"]).expect(0);
    keys.run(&["snapshots"]).expect_error(12, &["password"]);
    keys.with_password(SECOND, &["verify"]).expect(0);
}

#[test]
fn a_new_password_replaces_the_old_one_and_the_recovery_key_stays() {
    let keys = Keys::new();
    let new = keys.secret("new", SECOND.as_bytes());
    let change = ["key", "password", "--new-password-file", &new];
    keys.with_password("wrong", &change).expect_error(12, &["password"]);
    keys.run(&change).expect(0);
    keys.run(&["snapshots"]).expect_error(12, &["password"]);
    keys.with_password(SECOND, &["snapshots"]).expect(0);
    let recovery = keys.recovery_file();
    keys.assert_restores(&["--recovery-key-file", &recovery]);

    // who forgot the password sets another one with the recovery key
    let third = keys.secret("third", b"third-password-canary");
    let change = ["key", "password", "--new-password-file", &third];
    keys.with_file("--recovery-key-file", &recovery, &change).expect(0);
    keys.with_password(SECOND, &["snapshots"]).expect_error(12, &["password"]);
    keys.assert_restores(&["--password-file", &third]);
    keys.assert_restores(&["--recovery-key-file", &recovery]);
    let other = keys.secret("other", Keys::new().recovery_key.as_bytes());
    let wrong = keys.with_file("--recovery-key-file", &other, &["snapshots"]);
    wrong.expect_error(12, &["recovery key"]);
}

#[test]
fn a_further_recovery_key_is_printed_once() {
    let keys = Keys::new();
    let added = keys.run(&["key", "add", "--recovery", "--json"]).expect(0).json();
    let file = keys.secret("further", added["recovery_key"].as_str().unwrap().as_bytes());
    keys.assert_restores(&["--recovery-key-file", &file]);
    keys.assert_restores(&["--recovery-key-file", &keys.recovery_file()]);
}

#[test]
fn a_key_file_opens_what_it_was_added_to_and_nothing_else() {
    let keys = Keys::new();
    let file = keys.secret("key file", &pseudo_random(64, 7));
    keys.run(&["key", "add", "--new-key-file", &file]).expect(0);
    keys.assert_restores(&["--key-file", &file]);
    let mut command = keys.lab.command();
    command.env_remove("STRONGROOM_PASSWORD").env("STRONGROOM_KEY_FILE", &file);
    Outcome::of(command.args(["backup", "source"])).expect(0);
    let other = keys.secret("other", &pseudo_random(64, 8));
    keys.with_file("--key-file", &other, &["snapshots"]).expect_error(12, &["key file"]);
    let longer = keys.secret("longer", &[pseudo_random(64, 7), b"\n".to_vec()].concat());
    keys.with_file("--key-file", &longer, &["snapshots"]).expect_error(12, &["key file"]);

    set_mode(Path::new(&file), 0o644);
    keys.with_file("--key-file", &file, &["snapshots"]).expect_error(2, &["everybody"]);
    keys.run(&["key", "add", "--new-key-file", &file]).expect_error(2, &["everybody"]);
    let short = keys.secret("short", &pseudo_random(31, 7));
    keys.run(&["key", "add", "--new-key-file", &short]).expect_error(2, &["31 bytes"]);
    assert_eq!(keys.slots().len(), 3);
}

#[test]
fn a_repository_can_be_made_with_a_key_file_alone() {
    let lab = Lab::new();
    let file = lab.write("key file", &pseudo_random(32, 3));
    set_mode(&file, 0o600);
    let run = |args: &[&str]| {
        let mut command = lab.command();
        command.env_remove("STRONGROOM_PASSWORD").args(args).arg("--key-file").arg(&file);
        Outcome::of(&mut command)
    };
    run(&["backup", "--init", "source"]).expect(0);
    run(&["verify", "--read-data"]).expect(0);
    lab.run(["snapshots"]).expect_error(12, &["no key slot takes a password"]);
}

#[test]
fn no_verb_of_keys_prints_a_secret() {
    let keys = Keys::new();
    let new = keys.secret("new", SECOND.as_bytes());
    let content = "key-file-canary-0123456789-abcdefghij";
    let file = keys.secret("key file", content.as_bytes());
    let verbs: [&[&str]; 6] = [
        &["key", "add", "--new-password-file", &new],
        &["key", "add", "--new-key-file", &file],
        &["key", "list"],
        &["key", "rotate", "--remove-others"],
        &["key", "password", "--new-password-file", &new],
        &["key", "list", "--json", "--password-file", &new],
    ];
    for verb in verbs {
        let mut command = keys.lab.command();
        command.args(verb).env("STRONGROOM_LOG", "trace").env("STRONGROOM_AGENT", "on");
        let outcome = Outcome::of(&mut command).expect(0);
        for secret in [PASSWORD, SECOND, content, &keys.recovery_key] {
            let is_said = outcome.text().contains(secret) || outcome.stderr.contains(secret);
            assert!(!is_said, "{outcome}");
        }
    }
    for (path, bytes) in contents(&keys.lab.repository()) {
        for secret in [PASSWORD, SECOND, content] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{}", path.display());
        }
    }
    let args = ["key", "lock"].map(OsStr::new);
    keys.lab.run(args).expect(0);
}
