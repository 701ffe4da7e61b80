//! An outsider reads what the binary writes: the Python reference, written from the format document
//! alone, opens the slots, packs and records of a real repository.

use std::{ffi::OsStr, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    support::{Lab, Outcome, fixture, lab::PASSWORD, lab::pseudo_random, repository::objects},
    tidy::project_root,
};

/// Where the id stands in the object `repository`, and where its sealed settings begin.
const ID: std::ops::Range<usize> = 8..24;
const DESCRIPTOR_HEAD_BYTES: usize = 40;
const COMMIT: &str = "4";
const REFERENCES: &str = "9";
const SETTINGS: &str = "10";
const EPOCH: &str = "13";

/// A repository, and what the reference needs to open it.
struct Opened {
    lab: Lab,
    id: String,
    master: String,
    recovery_key: String,
}

impl Opened {
    fn new() -> Self {
        let lab = Lab::new();
        lab.write("source/small", b"small");
        lab.write("source/text", "all work and no play\n".repeat(10_000).as_bytes());
        lab.write("source/large", &pseudo_random(3 << 20, 1));
        let init = lab.run(["init", "--json"]).expect(0).json();
        let recovery_key = init["recovery_key"].as_str().unwrap().to_owned();
        lab.backup();
        let id = hex::encode(&fs::read(lab.repository().join("repository")).unwrap()[ID]);
        let mut opened = Self { lab, id, master: String::new(), recovery_key };
        let by_password = opened.masters("--password", PASSWORD);
        assert_eq!(by_password.len(), 1, "one slot opens with the password");
        opened.master = by_password[0]["0"].as_str().unwrap().to_owned();
        opened
    }

    /// The objects below a folder.
    fn below(&self, folder: &str) -> Vec<String> {
        let mut objects = objects(&self.lab.repository());
        objects.retain(|(path, _)| path.starts_with(folder));
        assert!(!objects.is_empty(), "no object below {folder}");
        objects.into_iter().map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
    }

    /// The master keys by epoch, of each slot that this secret opens.
    fn masters(&self, flag: &str, secret: &str) -> Vec<Value> {
        self.below("meta/keys")
            .iter()
            .map(|slot| {
                self.reference(&["open-slot", flag, secret], &self.lab.repository().join(slot))
            })
            .filter(|outcome| outcome.code == 0)
            .map(|outcome| outcome.json())
            .collect()
    }

    fn reference(&self, args: &[&str], file: &Path) -> Outcome {
        // scripts/test makes an environment that has the reference's packages.
        let python = std::env::var_os("STRONGROOM_TEST_PYTHON").unwrap_or("python3".into());
        let mut command = Command::new(python);
        self.lab.isolate(&mut command);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(project_root().join("integration-tests/reference/sealing.py"))
            .args(args)
            .args(["--repository", &self.id])
            .arg(file);
        Outcome::of(&mut command)
    }

    fn open_record(&self, kind: &str, name: &str, file: &Path) -> Outcome {
        self.reference(
            &["open-record", "--type", kind, "--name", name, "--master", &self.master],
            file,
        )
    }

    fn open_pack(&self, session: &str, counter: &str, file: &Path) -> Outcome {
        self.reference(
            &["open-pack", "--session", session, "--counter", counter, "--master", &self.master],
            file,
        )
    }
}

#[test]
fn password_and_recovery_key_open_the_same_master_key() {
    let opened = Opened::new();
    let by_recovery = opened.masters("--recovery-key", &opened.recovery_key);
    assert_eq!(by_recovery.len(), 1, "one slot opens with the recovery key");
    assert_eq!(by_recovery[0]["0"], opened.master.as_str());
    assert!(opened.masters("--password", "wrong").is_empty());
}

#[test]
fn every_pack_opens_and_holds_the_source_once() {
    let opened = Opened::new();
    let mut lengths = 0;
    for name in opened.below("packs") {
        let [_, session, counter] = name.split('/').collect::<Vec<_>>()[..] else {
            panic!("{name}")
        };
        let file = opened.lab.repository().join(&name);
        let pack = opened.open_pack(session, counter, &file).expect(0).json();
        for segment in pack["segments"].as_array().unwrap() {
            for chunk in segment["chunks"].as_array().unwrap() {
                lengths += chunk["length"].as_u64().unwrap();
            }
        }
        let other = opened.open_pack(session, "77", &file);
        assert_eq!(other.code, 1, "a pack under another name is refused: {other}");
    }
    let source = 5 + 210_000 + (3 << 20);
    assert!((source..source + 100_000).contains(&lengths), "{lengths} bytes in chunks");
}

#[test]
fn commits_and_settings_open() {
    let opened = Opened::new();
    for name in opened.below("meta/snapshots") {
        let sealed = fs::read(opened.lab.repository().join(&name)).unwrap();
        let (records, length) = sealed.split_last_chunk::<4>().unwrap();
        let commit_bytes = records.len() - u32::from_le_bytes(*length) as usize;
        let (commit, references) = records.split_at(commit_bytes);
        let file = opened.lab.write("references", references);
        opened.open_record(REFERENCES, &name, &file).expect(0);
        let file = opened.lab.write("commit", commit);
        let commit = opened.open_record(COMMIT, &name, &file).expect(0);
        let source = opened.lab.source();
        let path = source.to_str().unwrap().as_bytes();
        let says_path = commit.stdout.windows(path.len()).any(|window| window == path);
        assert!(says_path, "the commit names what was backed up");
    }
    let sealed = fs::read(opened.lab.repository().join("repository")).unwrap();
    let file = opened.lab.write("settings", &sealed[DESCRIPTOR_HEAD_BYTES..]);
    assert!(!opened.open_record(SETTINGS, "repository", &file).expect(0).stdout.is_empty());
}

#[test]
fn after_a_rotation_slots_notes_and_the_epoch_open() {
    let mut opened = Opened::new();
    let content = pseudo_random(64, 2);
    let key_file = opened.lab.write("key file", &content);
    fixture::set_mode(&key_file, 0o600);
    opened.lab.run(["key", "rotate", "--remove-others", "--label", "ops"]).expect(0);
    let add = ["key", "add", "--label", "machine", "--new-key-file"];
    opened.lab.run(add.map(OsStr::new).into_iter().chain([key_file.as_os_str()])).expect(0);
    let file = key_file.to_str().unwrap().to_owned();
    let mut labels = Vec::new();
    for (flag, secret) in [("--password", PASSWORD), ("--key-file", file.as_str())] {
        let slots = opened.below("meta/keys");
        let slots: Vec<_> = slots.iter().filter(|name| !name.contains("epochs")).collect();
        assert_eq!(slots.len(), 3);
        let reports = slots.iter().filter_map(|name| {
            let slot = opened.lab.repository().join(name);
            let outcome = opened.reference(&["open-slot", flag, secret, "--name", name], &slot);
            (outcome.code == 0).then(|| outcome.json())
        });
        let reports: Vec<Value> = reports.collect();
        assert_eq!(reports.len(), 1, "one slot opens with {flag}");
        assert_eq!(reports[0]["0"], opened.master.as_str(), "the first key is still there");
        labels.push(reports[0]["note"].as_str().unwrap().to_owned());
        opened.master = reports[0]["1"].as_str().unwrap().to_owned();
        let record = opened.lab.repository().join("meta/keys/epochs/1");
        let args = ["open-record", "--type", EPOCH, "--name", "meta/keys/epochs/1"];
        let args = [&args[..], &["--epoch", "1", "--master", &opened.master]].concat();
        opened.reference(&args, &record).expect(0);
        opened.master = reports[0]["0"].as_str().unwrap().to_owned();
    }
    assert!(labels[0].ends_with(&hex::encode(b"ops")), "{labels:?}");
    assert!(labels[1].ends_with(&hex::encode(b"machine")), "{labels:?}");
}
