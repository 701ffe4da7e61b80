//! What goes wrong ends with the documented exit code and one line that says what failed, on
//! which object, and why.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{
    Lab, Outcome, assert_same_tree,
    fixture::set_mode,
    is_root,
    lab::{PASSWORD, binary, is_error_line, pseudo_random},
    repository::{objects, overwrite},
};

const FAILED: i32 = 1;
const WRONG_USAGE: i32 = 2;
const DONE_IN_PART: i32 = 3;
const NO_REPOSITORY: i32 = 10;
const WRONG_PASSWORD: i32 = 12;
const STORAGE: i32 = 14;

/// The verbs that need a repository, each with the least that it takes.
const READING: &[&[&str]] = &[
    &["snapshots"],
    &["ls", "latest"],
    &["find", "x"],
    &["diff", "latest", "latest"],
    &["dump", "latest", "x"],
    &["verify"],
    &["restore", "latest", "--target", "target"],
];

#[test]
fn a_wrong_password_is_refused_by_every_verb() {
    let lab = Lab::with_backup();
    for verb in READING.iter().chain(&[&["backup", "source"][..]]) {
        let mut command = lab.command();
        command.args(*verb).env("STRONGROOM_PASSWORD", "wrong");
        Outcome::of(&mut command).expect_error(WRONG_PASSWORD, &["password"]);
    }
    assert_eq!(lab.snapshots().len(), 1);
}

#[test]
fn no_repository_is_said_by_every_verb() {
    let lab = Lab::new();
    fs::create_dir(lab.repository()).unwrap();
    for verb in READING.iter().chain(&[&["backup", "source"][..]]) {
        lab.run(*verb).expect_error(NO_REPOSITORY, &["repository"]);
        assert_eq!(fs::read_dir(lab.repository()).unwrap().count(), 0, "{verb:?} left something");
    }
    fs::remove_dir(lab.repository()).unwrap();
    for verb in READING.iter().chain(&[&["backup", "source"][..]]) {
        lab.run(*verb).expect_error(NO_REPOSITORY, &["repository"]);
        assert!(!lab.repository().exists(), "{verb:?} made something");
    }
}

/// The head of the object `repository` has the same layout in all versions: magic, format
/// version, the oldest version that can read it, id, checksum (`docs/format.md`).
#[test]
fn a_repository_newer_than_the_program_is_said_to_be_so() {
    let lab = Lab::with_backup();
    let path = lab.repository().join("repository");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..6].copy_from_slice(&99_u16.to_le_bytes());
    bytes[6..8].copy_from_slice(&98_u16.to_le_bytes());
    let sum = blake3::hash(&bytes[..24]);
    bytes[24..40].copy_from_slice(&sum.as_bytes()[..16]);
    overwrite(&path, &bytes);
    for verb in READING.iter().chain(&[&["backup", "--init", "source"][..]]) {
        let outcome = lab.run(*verb).expect_error(FAILED, &["99", "newer than this program"]);
        assert!(outcome.stderr.contains("hint:"), "{outcome}");
    }
}

#[test]
fn a_repository_is_not_made_twice() {
    let lab = Lab::with_backup();
    lab.run(["init"]).expect_error(FAILED, &["repository"]);
    // But `backup --init` means: make it if it is not there.
    lab.run(["backup", "--init", "source"]).expect(0);
    assert_eq!(lab.snapshots().len(), 2);
}

#[test]
fn no_password_and_nobody_to_ask_is_one_line() {
    let lab = Lab::with_backup();
    let mut command = lab.command();
    command.arg("snapshots").env_remove("STRONGROOM_PASSWORD");
    let outcome = Outcome::of(&mut command).expect_error(WRONG_PASSWORD, &["password"]);
    assert!(outcome.stderr.contains("STRONGROOM_PASSWORD"), "the hint says how: {outcome}");
}

#[test]
fn no_repository_named_is_wrong_usage() {
    let lab = Lab::new();
    let mut command = lab.command();
    command.arg("snapshots").env_remove("STRONGROOM_REPOSITORY");
    Outcome::of(&mut command).expect_error(WRONG_USAGE, &["repo"]);
}

#[test]
fn the_password_may_come_from_a_file_or_a_command() {
    let lab = Lab::with_backup();
    let file = lab.write("password file", format!("{PASSWORD}\n").as_bytes());
    let file = file.to_str().unwrap();
    let run = |args: &[&str], variable: Option<(&str, &str)>| {
        let mut command = lab.command();
        command.args(args).env_remove("STRONGROOM_PASSWORD");
        command.envs(variable);
        Outcome::of(&mut command)
    };
    run(&["snapshots", "--password-file", file], None).expect(0);
    run(&["snapshots"], Some(("STRONGROOM_PASSWORD_FILE", file))).expect(0);
    let by_command = format!("cat '{file}'");
    run(&["snapshots", "--password-command", &by_command], None).expect(0);
    run(&["snapshots"], Some(("STRONGROOM_PASSWORD_COMMAND", &by_command))).expect(0);

    let missing = run(&["snapshots", "--password-file", "no such file"], None);
    assert_ne!(missing.code, 0, "{missing}");
    assert!(missing.stderr.contains("no such file"), "{missing}");
    let failing = run(&["snapshots", "--password-command", "exit 7"], None);
    assert_ne!(failing.code, 0, "{failing}");
}

#[test]
fn wrong_values_are_refused_before_any_work() {
    let lab = Lab::with_backup();
    lab.write("patterns", b"fine\n[unclosed\n");
    let wrong: &[(&[&str], &str)] = &[
        (&["backup"], "path"),
        (&["backup", "source", "--type", "sometimes"], "sometimes"),
        (&["backup", "source", "--time", "the day before"], "the day before"),
        (&["backup", "source", "--exclude", "[unclosed"], "[unclosed"),
        (&["backup", "source", "--exclude-file", "no-such-file"], "no-such-file"),
        (&["backup", "source", "--exclude-file", "patterns"], "[unclosed"),
        (&["backup", "source", "--no-such-flag"], "--no-such-flag"),
        (&["backup", "source", "--parent", "not/an/id"], "not/an/id"),
        (&["backup", "source", "--stdin"], "--stdin"),
        (&["restore", "latest"], "--target"),
        (&["restore", "latest", "--target", "t", "--overwrite", "perhaps"], "perhaps"),
        (&["restore", "@not-a-time", "--target", "t"], "not-a-time"),
        (&["verify", "--read-data=500%"], "500%"),
        (&["verify", "--read-data=some"], "some"),
        (&["snapshots", "--progress", "interpretive-dance"], "interpretive-dance"),
        (&["dump", "latest", "x", "--archive", "rar"], "rar"),
        (&["completions", "tcsh-like"], "tcsh-like"),
        (&["no-such-verb"], "no-such-verb"),
        (&["-r", "gopher://host/x", "snapshots"], "gopher"),
    ];
    let before = objects(&lab.repository());
    for (args, named) in wrong {
        let outcome = lab.run(*args).expect(WRONG_USAGE);
        assert!(outcome.stderr.contains(named), "`{named}` is not named: {outcome}");
        assert!(outcome.stdout.is_empty(), "{outcome}");
    }
    assert_eq!(objects(&lab.repository()), before);
    assert!(!lab.path("t").exists());
}

#[test]
fn a_snapshot_that_is_not_there_is_named() {
    let lab = Lab::with_backup();
    for snapshot in ["ffffffff", "latest~7", "@1999-01-01T00:00:00Z"] {
        lab.run(["ls", snapshot]).expect_error(FAILED, &[snapshot]);
        lab.run(["restore", snapshot, "--target", "t"]).expect_error(FAILED, &[snapshot]);
    }
    lab.run(["ls", "latest", "/no/such/path"]).expect_error(FAILED, &["no/such/path"]);
    lab.run(["dump", "latest", "/no/such/path"]).expect_error(FAILED, &["no/such/path"]);
    lab.run(["restore", "latest:/no/such/path", "--target", "t"])
        .expect_error(FAILED, &["no/such/path"]);
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let lab = Lab::with_backup();
    let outcome = lab.run(["backup", "no-such-source"]).expect(FAILED);
    assert!(outcome.stderr.contains("no-such-source"), "{outcome}");
    assert_eq!(lab.snapshots().len(), 1, "nothing to protect makes no snapshot");
    let outcome = lab.run(["backup", "source", "no-such-source"]).expect(DONE_IN_PART);
    assert!(outcome.stderr.contains("no-such-source"), "{outcome}");
    assert_eq!(lab.snapshots().len(), 2, "the rest is saved");
}

#[test]
fn a_target_that_is_not_a_folder_is_named() {
    let lab = Lab::new();
    lab.write("repository", b"a file stands here");
    let outcome = lab.run(["backup", "--init", "source"]);
    assert!([FAILED, STORAGE].contains(&outcome.code), "{outcome}");
    outcome.expect_error(STORAGE, &["repository"]);
    assert_eq!(fs::read(lab.repository()).unwrap(), b"a file stands here");
}

/// Runs the binary as root without root's right to read and write everything.
fn run_without_override(lab: &Lab, args: &[&str]) -> Outcome {
    let mut command = if is_root() { Command::new("capsh") } else { Command::new(binary()) };
    lab.isolate(&mut command);
    command.env("STRONGROOM_REPOSITORY", lab.repository()).env("STRONGROOM_PASSWORD", PASSWORD);
    if is_root() {
        command
            .args(["--drop=cap_dac_override,cap_dac_read_search", "--", "-c", "exec \"$0\" \"$@\""])
            .arg(binary());
    }
    Outcome::of(command.args(args))
}

#[test]
fn an_unreadable_target_is_named() {
    let lab = Lab::with_backup();
    set_mode(&lab.repository(), 0o000);
    for verb in [&["snapshots"][..], &["backup", "source"], &["verify"]] {
        run_without_override(&lab, verb).expect_error(STORAGE, &["repository", "denied"]);
    }
    set_mode(&lab.repository(), 0o700);
    lab.assert_sound();
}

#[test]
fn a_target_that_cannot_be_written_is_named_and_stays_readable() {
    let lab = Lab::with_backup();
    let status = Command::new("chmod").args(["-R", "a-w"]).arg(lab.repository()).status().unwrap();
    assert!(status.success());
    lab.write("source/new", b"new");
    run_without_override(&lab, &["backup", "source"]).expect_error(STORAGE, &["denied"]);
    run_without_override(&lab, &["restore", "latest", "--target", "target"]).expect(0);
    let status = Command::new("chmod").args(["-R", "u+w"]).arg(lab.repository()).status().unwrap();
    assert!(status.success());
    lab.backup();
    lab.assert_sound();
}

#[test]
fn sources_that_cannot_be_read_are_listed_and_the_rest_is_saved() {
    let lab = Lab::new();
    lab.write("source/readable", b"readable");
    let secret = lab.write("source/secret", b"secret");
    let closed = lab.write("source/closed/inner", b"inner");
    set_mode(&secret, 0o000);
    set_mode(closed.parent().unwrap(), 0o000);
    let outcome =
        run_without_override(&lab, &["backup", "--init", "--json", "source"]).expect(DONE_IN_PART);
    assert!(outcome.stderr.contains("secret") && outcome.stderr.contains("closed"), "{outcome}");
    assert_eq!(outcome.summary()["errors"], 2, "{outcome}");
    lab.restore("target").expect(0);
    assert_eq!(fs::read(lab.restored("target").join("readable")).unwrap(), b"readable");
    assert!(!lab.restored("target").join("secret").exists());
    set_mode(closed.parent().unwrap(), 0o700);
}

/// Runs `script` where `repository` is a file system of 24 MiB; root only.
fn on_a_small_disk(lab: &Lab, script: &str) -> Outcome {
    fs::create_dir(lab.repository()).unwrap();
    let mut command = Command::new("unshare");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .env("strongroom", binary())
        .args(["-m", "sh", "-euc"])
        .arg(format!("mount -t tmpfs -o size=24m,mode=700 none repository\n{script}"))
        .stdin(Stdio::null());
    Outcome::of(&mut command)
}

#[test]
fn a_full_target_is_named_and_older_snapshots_stay() {
    if !is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let lab = Lab::new();
    lab.write("source/small", b"small");
    lab.write("large/large", &pseudo_random(64 << 20, 3));
    on_a_small_disk(
        &lab,
        r#"
        "$strongroom" backup --init source
        code=0
        "$strongroom" backup large 2>large.stderr || code=$?
        echo "$code" >large.code
        "$strongroom" verify --read-data
        "$strongroom" restore latest --target target
        "$strongroom" backup source
        "#,
    )
    .expect(0);
    let said = fs::read_to_string(lab.path("large.stderr")).unwrap();
    assert_eq!(fs::read_to_string(lab.path("large.code")).unwrap().trim(), "14", "{said}");
    let lines: Vec<_> = said.lines().filter(|line| is_error_line(line)).collect();
    assert!(lines.len() == 1 && lines[0].to_lowercase().contains("space"), "{said}");
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn forget_and_prune_make_room_on_a_disk_without_any() {
    if !is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let lab = Lab::new();
    lab.write("source/small", b"small");
    lab.write("large/large", &pseudo_random(8 << 20, 3));
    on_a_small_disk(
        &lab,
        r#"
        "$strongroom" backup --init large
        "$strongroom" backup source
        test -s repository/reserve
        cat /dev/zero >repository/filler 2>filler.stderr || true
        "$strongroom" backup large 2>full.stderr && exit 1
        "$strongroom" forget --host "$(uname -n)" --group-by '' --keep-last 1 --prune --json >pruned
        rm repository/filler
        "$strongroom" prune
        test -s repository/reserve
        "$strongroom" verify --read-data
        "$strongroom" restore latest --target target
        "#,
    )
    .expect(0);
    let pruned = fs::read_to_string(lab.path("pruned")).unwrap();
    let pruned: serde_json::Value = serde_json::from_str(pruned.lines().last().unwrap()).unwrap();
    assert!(pruned["bytes_removed"].as_u64().unwrap() > 8 << 20, "{pruned}");
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

#[test]
fn a_full_restore_target_is_named() {
    if !is_root() {
        eprintln!("left out: only root can mount");
        return;
    }
    let lab = Lab::new();
    lab.write("source/large", &pseudo_random(32 << 20, 4));
    lab.backup_init();
    fs::create_dir(lab.path("small disk")).unwrap();
    let mut command = Command::new("unshare");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .args(["-m", "sh", "-euc"])
        .arg("mount -t tmpfs -o size=8m none 'small disk'; exec \"$0\" \"$@\"")
        .arg(binary())
        .args(["restore", "latest", "--target", "small disk/target"]);
    Outcome::of(&mut command).expect_error(FAILED, &["small disk/target", "room"]);
}

#[test]
fn urls_with_a_password_in_them_are_refused_and_not_repeated() {
    let lab = Lab::new();
    let outcome =
        lab.run(["-r", "sftp://user:hunter2-canary@host/path", "snapshots"]).expect(WRONG_USAGE);
    assert!(outcome.stderr.contains("hint:"), "{outcome}");
    assert!(!outcome.stderr.contains("hunter2-canary"), "{outcome}");
}

#[test]
fn a_local_repository_may_be_named_by_path_or_url() {
    let lab = Lab::with_backup();
    let absolute = lab.repository();
    let url = format!("file://{}", absolute.display());
    for name in [Path::new("repository"), Path::new("./repository"), &absolute, Path::new(&url)] {
        let outcome = lab.run([Path::new("snapshots"), Path::new("--json"), Path::new("-r"), name]);
        assert_eq!(outcome.expect(0).objects().len(), 1);
    }
}
