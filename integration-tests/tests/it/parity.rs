//! Repositories on folders heal: flipped bits, truncated, emptied and missing objects come back
//! while they are read, or by `repair parity`, which needs no password.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::support::{
    Lab, Outcome,
    lab::{binary, pseudo_random},
    repository::{flip_bit, objects, overwrite, packs},
};

fn lab() -> Lab {
    let lab = Lab::with_backup();
    lab.write("source/second", &pseudo_random(2_000_000, 11));
    lab.backup();
    lab
}

/// As the storage's keeper runs it: without the password.
fn repair(lab: &Lab, flags: &[&str]) -> Outcome {
    let mut command = Command::new(binary());
    lab.isolate(&mut command);
    command.arg("-r").arg(lab.repository()).args(["repair", "parity"]).args(flags);
    Outcome::of(&mut command)
}

fn repair_json(lab: &Lab, flags: &[&str], code: i32) -> Value {
    repair(lab, &[&["--json"], flags].concat()).expect(code).summary()
}

/// Objects of the repository itself, which have parity or copies.
fn protected(lab: &Lab) -> Vec<(PathBuf, u64)> {
    let mut all = objects(&lab.repository());
    all.retain(|(path, _)| {
        let is_own = ["parity", "copies", "meta/sessions"].iter().any(|own| path.starts_with(own));
        !is_own
    });
    all
}

fn contents(lab: &Lab) -> Vec<(PathBuf, Vec<u8>)> {
    let all = objects(&lab.repository()).into_iter();
    all.map(|(path, _)| (path.clone(), fs::read(lab.repository().join(path)).unwrap())).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn a_folder_gets_parity_unless_it_is_asked_not_to() {
    let lab = Lab::with_backup();
    for folder in ["parity", "copies/1/meta/snapshots", "copies/2/meta/keys"] {
        assert!(lab.repository().join(folder).is_dir(), "{folder}");
    }
    assert!(lab.repository().join("copies/2/repository").is_file());
    let plain = Lab::new();
    plain.write("source/a", b"a");
    plain.run(["backup", "--init", "--parity", "off", "source"]).expect(0);
    assert!(!plain.repository().join("parity").exists());
    assert!(!plain.repository().join("copies").exists());
    repair(&plain, &[]).expect_error(1, &["made without parity"]);
    plain.assert_sound();
    plain.run(["backup", "--parity", "on", "source"]).expect(2);
    let empty = Lab::new();
    fs::create_dir(empty.repository()).unwrap();
    repair(&empty, &[]).expect_error(10, &["no repository"]);
}

#[test]
fn what_is_damaged_heals_while_it_is_read() {
    let lab = lab();
    for (object, size) in protected(&lab) {
        let path = lab.repository().join(&object);
        let intact = fs::read(&path).unwrap();
        let harms: [&dyn Fn(); 3] = [
            &|| flip_bit(&path, size * 4),
            &|| overwrite(&path, &[&intact[..], b"more"].concat()),
            &|| overwrite(&path, &intact[..intact.len() - 1]),
        ];
        for (number, harm) in harms.iter().enumerate() {
            harm();
            let report = lab.run(["verify", "--read-data", "--json"]).expect(0).summary();
            assert_eq!(fs::read(&path).unwrap(), intact, "harm {number} to {}", object.display());
            let healed = texts(&report["healed"]);
            // the descriptor and slots heal when the repository is opened
            let opens = object.starts_with("repository") || object.starts_with("meta/keys");
            assert!(healed == [object.to_str().unwrap()] || opens, "{healed:?}");
        }
    }
    lab.assert_sound();
}

#[test]
fn a_restore_heals_what_it_reads() {
    let lab = lab();
    for (pack, size) in packs(&lab.repository()) {
        flip_bit(&lab.repository().join(&pack), size * 4 + 3);
    }
    lab.restore("healed").expect(0);
    crate::support::assert_same_tree(&lab.source(), &lab.restored("healed"));
    lab.assert_sound();
}

#[test]
fn any_small_object_may_be_lost() {
    let lab = lab();
    for (object, _) in protected(&lab).iter().filter(|(path, _)| !path.starts_with("packs")) {
        let path = lab.repository().join(object);
        let intact = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(lab.snapshots().len(), 2, "without {}", object.display());
        fs::remove_file(&path).ok();
        lab.run(["verify"]).expect(0);
        assert_eq!(fs::read(&path).unwrap(), intact, "{} is back", object.display());
    }
    lab.assert_sound();
}

#[test]
fn repair_heals_without_the_password_and_a_dry_run_only_says_so() {
    let lab = lab();
    let intact = contents(&lab);
    let (pack, size) = packs(&lab.repository()).pop().unwrap();
    flip_bit(&lab.repository().join(&pack), size * 4);
    fs::remove_file(lab.repository().join("copies/1/repository")).unwrap();
    fs::remove_file(lab.repository().join("repository")).unwrap();
    let damaged = contents(&lab);
    let dry = repair_json(&lab, &["--dry-run"], 13);
    assert_eq!(contents(&lab), damaged);
    assert_eq!(texts(&dry["healed"]), [pack.to_str().unwrap(), "repository"]);
    let text = repair(&lab, &["-n"]).expect(13);
    assert!(text.text().contains("would be healed: repository"), "{text}");
    let done = repair_json(&lab, &[], 0);
    assert_eq!(done["healed"], dry["healed"]);
    assert!(contents(&lab) == intact, "byte for byte");
    let again = repair_json(&lab, &[], 0);
    assert_eq!(again["healed"], Value::Array(Vec::new()));
    assert!(again["packs"].as_u64().unwrap() >= 2, "{again}");
}

#[test]
fn what_is_beyond_healing_is_named_and_left_alone() {
    let lab = lab();
    let (pack, _) = packs(&lab.repository()).into_iter().max_by_key(|(_, size)| *size).unwrap();
    let path = lab.repository().join(&pack);
    let mut bytes = fs::read(&path).unwrap();
    bytes.fill(0);
    overwrite(&path, &bytes);
    let before = contents(&lab);
    let report = repair_json(&lab, &[], 13);
    assert_eq!(report["damaged"][0]["object"], pack.to_str().unwrap());
    assert!(contents(&lab) == before, "nothing was written");
    lab.run(["verify"]).expect(13);
    fs::remove_file(&path).unwrap();
    let report = repair_json(&lab, &["--remove-orphans"], 13);
    assert_eq!(texts(&report["orphans_removed"]), [pack.to_str().unwrap()]);
    repair(&lab, &[]).expect(0);
}

#[test]
fn every_copy_of_a_repository_repairs() {
    let lab = lab();
    let intact = contents(&lab);
    for (path, bytes) in &intact {
        let is_beside = path.starts_with("parity") || path.starts_with("copies");
        if !is_beside {
            continue;
        }
        flip_bit(&lab.repository().join(path), bytes.len() as u64 * 4);
        repair_json(&lab, &[], 0);
        assert!(contents(&lab) == intact, "{}", path.display());
        fs::remove_file(lab.repository().join(path)).unwrap();
        repair_json(&lab, &[], 0);
        assert!(contents(&lab) == intact, "{}", path.display());
    }
}
