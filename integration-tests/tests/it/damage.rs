//! Damage is found and named, wherever it is: flipped bits, missing, truncated, emptied and
//! swapped objects.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    Lab, Outcome,
    lab::pseudo_random,
    repository::{self, flip_bit, objects, overwrite},
};

/// How many bits of each object are flipped, one after the other.
const BITS_PER_OBJECT: u64 = 8;

/// A repository with several packs, two snapshots, and neither a local cache nor parity to fall
/// back on.
fn damaged_lab() -> (Lab, Vec<(PathBuf, u64)>) {
    let lab = Lab::with_backup_and(&["--parity", "off"]);
    lab.write("source/second", &pseudo_random(200_000, 11));
    lab.backup();
    repository::copy(&lab.repository(), &lab.path("intact"));
    let objects = objects(&lab.repository());
    (lab, objects)
}

/// Puts the object back as it was.
fn mend(lab: &Lab, object: &Path) {
    let intact = fs::read(lab.path("intact").join(object)).unwrap();
    let path = lab.repository().join(object);
    if path.exists() { overwrite(&path, &intact) } else { fs::write(path, intact).unwrap() }
}

fn names(outcome: &Outcome, object: &Path) -> bool {
    let said = format!("{}{}", outcome.text(), outcome.stderr);
    said.contains(object.to_str().unwrap())
}

/// Does `harm` to every object in turn; verify must find it and name the object.
fn each_object(harm: impl Fn(&Path, u64)) {
    let (lab, objects) = damaged_lab();
    let mut silent = Vec::new();
    for (object, size) in &objects {
        harm(&lab.repository().join(object), *size);
        let outcome = lab.run(["verify", "--read-data"]);
        if outcome.code != 13 || !names(&outcome, object) {
            silent.push(format!("{}: {outcome}", object.display()));
        }
        mend(&lab, object);
    }
    assert!(silent.is_empty(), "{} of {}\n{}", silent.len(), objects.len(), silent.join("\n"));
    lab.assert_sound();
}

#[test]
fn a_flipped_bit_in_any_object_is_found_and_named() {
    let (lab, objects) = damaged_lab();
    let mut silent = Vec::new();
    let mut flips = 0;
    for (object, size) in &objects {
        let bits = size * 8;
        // First, last, and evenly between, each at another place in its byte.
        for step in 0..BITS_PER_OBJECT {
            let bit = (bits - 1) * step / (BITS_PER_OBJECT - 1);
            flip_bit(&lab.repository().join(object), bit);
            let outcome = lab.run(["verify", "--read-data"]);
            if outcome.code != 13 || !names(&outcome, object) {
                silent.push(format!("bit {bit} of {}: {outcome}", object.display()));
            }
            mend(&lab, object);
            flips += 1;
        }
    }
    assert!(flips >= 30, "only {flips} bits were flipped in {objects:?}");
    assert!(silent.is_empty(), "{} of {flips}\n{}", silent.len(), silent.join("\n"));
    lab.assert_sound();
}

#[test]
fn a_truncated_object_is_found_and_named() {
    each_object(|path, size| {
        let half = usize::try_from(size / 2).unwrap();
        overwrite(path, &fs::read(path).unwrap()[..half]);
    });
}

#[test]
fn an_emptied_object_is_found_and_named() {
    each_object(|path, _| overwrite(path, b""));
}

#[test]
fn an_extended_object_is_found_and_named() {
    each_object(|path, _| {
        let mut bytes = fs::read(path).unwrap();
        bytes.push(0);
        overwrite(path, &bytes);
    });
}

#[test]
fn a_missing_pack_is_named() {
    let (lab, objects) = damaged_lab();
    for (object, _) in objects.iter().filter(|(path, _)| path.starts_with("packs")) {
        fs::remove_file(lab.repository().join(object)).unwrap();
        let outcome = lab.run(["verify"]).expect(13);
        assert!(names(&outcome, object), "{outcome}");
        mend(&lab, object);
    }
    lab.assert_sound();
}

#[test]
fn swapped_packs_are_named() {
    let (lab, objects) = damaged_lab();
    let packs: Vec<_> = objects.iter().filter(|(path, _)| path.starts_with("packs")).collect();
    let [(first, _), (second, _), ..] = packs[..] else { panic!("fewer than two packs") };
    for (object, source) in [(first, second), (second, first)] {
        let bytes = fs::read(lab.path("intact").join(source)).unwrap();
        overwrite(&lab.repository().join(object), &bytes);
    }
    let outcome = lab.run(["verify", "--read-data"]).expect(13);
    assert!(names(&outcome, first) && names(&outcome, second), "{outcome}");
}

#[test]
fn no_damage_makes_the_program_panic_or_restore_wrong_bytes() {
    let (lab, objects) = damaged_lab();
    for (round, (object, size)) in objects.iter().enumerate() {
        flip_bit(&lab.repository().join(object), size * 4);
        for verb in [&["snapshots"][..], &["ls", "latest"], &["find", "*"], &["backup", "source"]] {
            let outcome = lab.run(verb);
            assert!(!outcome.stderr.contains("panicked") && outcome.code >= 0, "{outcome}");
        }
        let target = format!("target-{round}");
        let outcome = lab.restore(&target);
        assert!(!outcome.stderr.contains("panicked") && outcome.code >= 0, "{outcome}");
        for file in ["hello.txt", "folder/inner.txt", "folder/deeper/leaf.bin", "second"] {
            let Ok(restored) = fs::read(lab.restored(&target).join(file)) else { continue };
            let is_whole = restored == fs::read(lab.source().join(file)).unwrap();
            assert!(is_whole || outcome.code != 0, "{file} came back wrong: {outcome}");
        }
        // A backup may have added objects that know the damaged one: start afresh.
        fs::remove_dir_all(lab.repository()).unwrap();
        repository::copy(&lab.path("intact"), &lab.repository());
    }
}
