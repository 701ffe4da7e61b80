//! What a storage lost is set right as far as that can be done: the index is written anew, the
//! next backup brings lost content back, damaged snapshots are saved again without it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    Lab, assert_same_tree,
    lab::pseudo_random,
    repository::{flip_bit, objects, packs},
};

/// A repository without parity, of several files that do not compress. The newest of its two
/// snapshots has its table in a pack of its own, and the content of `data` in the largest one.
fn lab() -> Lab {
    let lab = Lab::with_backup_and(&["--parity", "off"]);
    for file in 0..6u64 {
        lab.write(format!("source/data/file-{file}"), &pseudo_random(400_000, 20 + file));
    }
    lab.backup();
    lab.write("source/data/last", b"last\n");
    let between = lab.snapshots().pop().unwrap();
    lab.backup();
    lab.run(["forget", between["id"].as_str().unwrap()]).expect(0);
    lab
}

fn below(lab: &Lab, folder: &str) -> Vec<PathBuf> {
    let mut all: Vec<_> = objects(&lab.repository()).into_iter().map(|(path, _)| path).collect();
    all.retain(|path| path.starts_with(folder));
    all
}

/// The largest pack, which holds the content of `data`, and its size.
fn largest_pack(lab: &Lab) -> (PathBuf, u64) {
    packs(&lab.repository()).into_iter().max_by_key(|(_, size)| *size).unwrap()
}

fn lose(lab: &Lab, object: &Path) {
    fs::remove_file(lab.repository().join(object)).unwrap();
}

fn repair(lab: &Lab, args: &[&str], code: i32) -> Value {
    lab.run([&["repair", "--json"], args].concat()).expect(code).summary()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// Restores the snapshot `id`, and compares it with the source.
fn assert_comes_back(lab: &Lab, id: &Value, target: &str) {
    lab.run(["restore", id.as_str().unwrap(), "--target", target]).expect(0);
    assert_same_tree(&lab.source(), &lab.restored(target));
}

#[test]
fn a_lost_index_is_written_anew() {
    let lab = lab();
    let lost = below(&lab, "meta/index");
    lost.iter().for_each(|object| lose(&lab, object));
    lab.run(["verify"]).expect(13);
    let before = objects(&lab.repository());
    let planned = repair(&lab, &["index", "--dry-run"], 13);
    assert_eq!(objects(&lab.repository()), before, "a dry run writes nothing");
    // that of the forgotten snapshot is no longer named by anything, but its pack is indexed
    assert_eq!(texts(&planned["lost"]).len(), lost.len() - 1);
    assert_eq!(planned["packs"], lost.len());
    let done = repair(&lab, &["index"], 0);
    assert_eq!(done["packs"], planned["packs"]);
    assert_eq!(texts(&done["written"]).len(), 1);
    let again = repair(&lab, &["index"], 0);
    assert_eq!(again["packs"], 0);

    // a file that was moved is known by its content
    fs::rename(lab.path("source/data/file-0"), lab.path("source/moved")).unwrap();
    let summary = lab.backup();
    assert_eq!(summary["data_blobs"], 0, "{summary}");
    lab.assert_sound();
}

#[test]
fn lost_content_is_brought_back_by_the_next_backup() {
    let lab = lab();
    let snapshots = lab.snapshots();
    let (pack, _) = largest_pack(&lab);
    lose(&lab, &pack);
    lab.run(["restore", "latest", "--target", "partial"]).expect(3);
    let verify = lab.run(["verify"]).expect(13);
    assert!(verify.text().contains("repair packs"), "{verify}");

    let planned = repair(&lab, &["packs", "--dry-run"], 13);
    assert_eq!((&planned["packs_new"], &planned["record"]), (&1.into(), &Value::Null));
    assert!(below(&lab, "meta/damage").is_empty());
    let done = repair(&lab, &["packs"], 13);
    let damage = &done["damage"][0];
    assert_eq!(damage["object"], pack.to_str().unwrap());
    assert!(texts(&damage["files"]).iter().any(|file| file.ends_with("data/file-3")), "{done}");
    assert_eq!(below(&lab, "meta/damage"), [PathBuf::from(done["record"].as_str().unwrap())]);

    // no file has changed, but those that lost something are read again
    let summary = lab.backup();
    assert!(summary["data_blobs"].as_u64().unwrap() > 0, "{summary}");
    lab.run(["verify", "--read-data"]).expect(0);
    lab.run(["repair", "packs", "--read-data"]).expect(0);
    assert_comes_back(&lab, &snapshots[1]["id"], "older");
    lab.assert_sound();

    // it stays when the snapshot that brought it back is forgotten
    let newest = lab.snapshots().pop().unwrap();
    lab.run(["forget", newest["id"].as_str().unwrap()]).expect(0);
    lab.run(["prune", "--max-unused", "0"]).expect(0);
    assert_comes_back(&lab, &snapshots[1]["id"], "later");
    lab.run(["verify", "--read-data"]).expect(0);
}

#[test]
fn a_damaged_snapshot_is_saved_again_without_what_is_lost() {
    let lab = lab();
    let (pack, size) = largest_pack(&lab);
    flip_bit(&lab.repository().join(&pack), size * 4);
    // the structure is sound: the pack must be read
    repair(&lab, &["snapshots"], 0);
    let before = objects(&lab.repository());
    let planned = repair(&lab, &["snapshots", "--read-data", "--dry-run"], 13);
    assert_eq!(objects(&lab.repository()), before);
    let planned = &planned["snapshots"][0];
    assert_eq!((&planned["repaired"], &planned["forgotten"]), (&Value::Null, &false.into()));
    let lost = texts(&planned["left_out"]);
    assert!(!lost.is_empty() && lost.iter().all(|file| file.contains("/data/file-")), "{lost:?}");

    let damaged = lab.snapshots().pop().unwrap();
    let done = repair(&lab, &["snapshots", "--read-data", "--forget"], 0);
    let one = &done["snapshots"][0];
    assert_eq!((&one["snapshot"], &one["forgotten"]), (&damaged["id"], &true.into()));
    assert_eq!(texts(&one["left_out"]), lost);
    let repaired = lab.snapshots().pop().unwrap();
    assert_eq!(repaired["id"], one["repaired"]);
    assert_eq!(repaired["time"], damaged["time"]);
    assert_eq!(repaired["tags"], serde_json::json!(["repaired"]));
    lab.run(["verify", "--read-data"]).expect(0);
    lab.run(["restore", "latest", "--target", "rest"]).expect(0);
    for file in &lost {
        fs::remove_file(file).unwrap();
    }
    fs::remove_dir_all(lab.path("rest")).unwrap();
    lab.run(["restore", "latest", "--target", "rest"]).expect(0);
    let names = |folder: PathBuf| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(lab.path("source/data")), names(lab.restored("rest").join("data")));
    lab.run(["prune"]).expect(0);
    lab.run(["verify", "--read-data"]).expect(0);
}

#[test]
fn an_unreadable_commit_is_forgotten_by_its_id() {
    let lab = lab();
    let first = lab.snapshots().remove(0);
    let id = first["id"].as_str().unwrap();
    let commit = lab.repository().join(format!("meta/snapshots/{id}"));
    flip_bit(&commit, fs::metadata(&commit).unwrap().len() * 4);
    lab.run(["prune"]).expect(13);
    let said = lab.run(["repair", "snapshots"]).expect(13);
    assert!(said.text().contains(&format!("strongroom forget {id}")), "{said}");
    lab.run(["forget", id]).expect(13);
    lab.run(["prune"]).expect(0);
    lab.run(["verify"]).expect(0);
    repair(&lab, &["snapshots"], 0);
    lab.restore("proof").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("proof"));
}

#[test]
fn a_sound_repository_needs_nothing() {
    let lab = lab();
    let before = objects(&lab.repository());
    for verb in ["index", "packs", "snapshots"] {
        repair(&lab, &[verb], 0);
        repair(&lab, &[verb, "--dry-run"], 0);
    }
    assert_eq!(objects(&lab.repository()), before);
    lab.run(["repair", "packs", "packs/none/1"]).expect(2);
    lab.run(["repair", "snapshots", "--forget", "--dry-run"]).expect(2);
}
