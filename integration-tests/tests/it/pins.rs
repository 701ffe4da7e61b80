//! A storage that goes back in time, or hides snapshots, is found out and named.

use std::{fs, path::Path, process::Command};

use crate::support::Lab;

fn copy(from: &Path, to: &Path) {
    let _ = Command::new("rm").arg("-rf").arg(to).status();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_rollback_is_refused_and_named_until_it_is_accepted() {
    let lab = Lab::with_backup();
    let old = lab.path("old");
    copy(&lab.repository(), &old);
    lab.write("source/new", b"new");
    let newest = lab.backup();
    let newest = newest["snapshot_id"].as_str().unwrap();
    copy(&old, &lab.repository());
    for verb in [&["snapshots"][..], &["backup", "source"], &["prune"]] {
        let refused = lab.run(verb).expect(13);
        assert!(refused.stderr.contains(newest), "{verb:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("--accept-rollback"), "{verb:?}: {}", refused.stderr);
    }
    let verified = lab.run(["verify"]).expect(13);
    assert!(verified.text().contains(newest), "{}", verified.text());
    // another machine has not seen it
    let stranger = lab.path("stranger");
    lab.run(["snapshots", "--state-dir", stranger.to_str().unwrap()]).expect(0);
    lab.run(["backup", "source", "--accept-rollback"]).expect(0);
    lab.assert_sound();
}

#[test]
fn a_hidden_snapshot_is_named() {
    let lab = Lab::with_backup_and(&[]);
    lab.write("source/new", b"new");
    lab.backup();
    let hidden = lab.snapshots()[0]["id"].as_str().unwrap().to_owned();
    for place in ["meta/snapshots", "copies/1/meta/snapshots", "copies/2/meta/snapshots"] {
        fs::remove_file(lab.repository().join(place).join(&hidden)).unwrap();
    }
    let refused = lab.run(["backup", "source"]).expect(13);
    assert!(refused.stderr.contains(&format!("snapshot {hidden} is missing")), "{refused:?}");
    // what is forgotten by those who may is no surprise
    let lab = Lab::with_backup_and(&[]);
    lab.write("source/new", b"new");
    lab.backup();
    lab.run(["forget", "--keep-last", "1", "--prune", "--fence-after", "1s"]).expect(0);
    assert_eq!(lab.snapshots().len(), 1);
    lab.assert_sound();
}

#[test]
fn a_new_machine_can_be_told_what_to_expect() {
    let lab = Lab::with_backup();
    let old = lab.path("old");
    copy(&lab.repository(), &old);
    lab.write("source/new", b"new");
    let head = lab.backup()["head"].as_str().unwrap().to_owned();
    assert_eq!(head.len(), 64);
    let text = lab.run(["backup", "source"]).expect(0).text();
    let said = lab.run(["backup", "source"]).expect(0).stderr;
    assert!(said.contains("\nhead ") || text.contains("\nhead "), "{said}{text}");
    let stranger = lab.path("stranger");
    let expect = |head: &str, code| {
        let flags = ["snapshots", "--expect-head", head, "--state-dir"];
        lab.run(flags.iter().map(|flag| flag.as_ref()).chain([stranger.as_os_str()])).expect(code)
    };
    expect(&head, 0);
    expect(&head[..12].to_uppercase(), 0);
    expect("12345", 2);
    expect("no-hash!", 2);
    copy(&old, &lab.repository());
    let _ = fs::remove_dir_all(&stranger);
    assert!(expect(&head, 13).stderr.contains(&head));
}
