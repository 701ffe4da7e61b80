//! A dead process never blocks a backup and never destroys one: kill -9 at many points, and the
//! next run needs no manual step and sends nothing twice.

use std::{
    process::{Command, Stdio},
    thread,
};

use crate::support::{
    Lab, Outcome, assert_same_tree, fixture,
    lab::{PASSWORD, binary, pseudo_random},
    repository::{objects, packs_bytes},
};

/// The calls by which a run changes a storage or a restored tree.
const WRITING_CALLS: &str = "?link,linkat,?rename,?renameat,renameat2,fsync,fdatasync,syncfs,\
    ?mkdir,mkdirat,?unlink,unlinkat,ftruncate,fallocate,utimensat,fchmod,fchmodat,fchown,fchownat";

/// More kill points than any of these runs has writing calls in one thread.
const KILL_POINTS_MAX: usize = 400;

/// Runs the binary and kills it as it enters the `nth` writing call of any of its threads.
pub fn run_killed(lab: &Lab, nth: usize, args: &[&str]) -> Outcome {
    let mut command = Command::new("strace");
    lab.isolate(&mut command);
    command
        .env("STRONGROOM_REPOSITORY", lab.repository())
        .env("STRONGROOM_PASSWORD", PASSWORD)
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={WRITING_CALLS}")])
        .args(["-e", &format!("inject={WRITING_CALLS}:signal=SIGKILL:when={nth}")])
        .arg(binary())
        .args(args);
    Outcome::of(&mut command)
}

/// Calls `killed` for the first, second ... writing call until a run gets through.
pub fn at_every_writing_call(mut killed: impl FnMut(usize) -> Outcome) -> usize {
    for nth in 1..KILL_POINTS_MAX {
        let outcome = killed(nth);
        if outcome.code == 0 {
            return nth - 1;
        }
        assert_eq!(outcome.code, -1, "killed, or done: {outcome}");
    }
    panic!("no run gets through");
}

#[test]
fn a_first_backup_killed_at_every_writing_call_needs_no_manual_step() {
    let kills = at_every_writing_call(|nth| {
        let lab = Lab::new();
        lab.write("source/small", b"small");
        lab.write("source/large", &pseudo_random(2 << 20, 1));
        let outcome = run_killed(&lab, nth, &["backup", "--init", "source"]);
        lab.backup_init();
        lab.run(["verify", "--read-data"]).expect(0);
        outcome
    });
    assert!(kills >= 5, "only {kills} kill points: does strace see the calls?");
}

#[test]
fn a_second_backup_killed_at_every_writing_call_harms_nothing() {
    let lab = Lab::with_backup();
    let kills = at_every_writing_call(|nth| {
        lab.write("source/changing", &pseudo_random(400_000, nth as u64));
        let outcome = run_killed(&lab, nth, &["backup", "source"]);
        lab.run(["verify"]).expect(0);
        outcome
    });
    assert!(kills >= 3, "only {kills} kill points: does strace see the calls?");
    lab.backup();
    lab.assert_sound();
}

#[test]
fn a_restore_killed_at_many_calls_can_be_repeated() {
    let lab = Lab::new();
    fixture::kinds(&lab.source().join("kinds"));
    fixture::links(&lab.source().join("links"), 5);
    fixture::sparse(&lab.source().join("sparse"), 1 << 20);
    lab.backup_init();
    for nth in [1, 2, 3, 5, 8, 13, 21, 34] {
        run_killed(&lab, nth, &["restore", "latest", "--target", "target"]);
    }
    lab.restore("target").expect(0);
    assert_same_tree(&lab.source(), &lab.restored("target"));
}

/// Killed again and again at a growing number of stored bytes, never by the clock. What was stored
/// is adopted: all packs together hold the source about once.
#[test]
fn a_large_backup_killed_again_and_again_sends_nothing_twice() {
    const FILE_BYTES: usize = 12 << 20;
    const FILES: u64 = 16;
    let lab = Lab::new();
    for number in 0..FILES {
        lab.write(format!("source/{number}"), &pseudo_random(FILE_BYTES, number));
    }
    lab.run(["init"]).expect(0);
    let source_bytes = FILES * FILE_BYTES as u64;
    let mut killed = 0;
    for percent in [1, 10, 20, 30, 40, 50, 60, 70, 80, 90] {
        let mut run = lab
            .command()
            .args(["backup", "source"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let status = loop {
            if let Some(status) = run.try_wait().unwrap() {
                break status;
            }
            let stored: u64 = objects(&lab.repository()).iter().map(|(_, size)| size).sum();
            if stored >= source_bytes * percent / 100 {
                run.kill().unwrap();
                break run.wait().unwrap();
            }
            thread::yield_now();
        };
        killed += usize::from(!status.success());
    }
    assert!(killed >= 3, "only {killed} runs were killed in time");
    lab.backup();
    let stored_bytes = packs_bytes(&lab.repository());
    assert!(
        stored_bytes < source_bytes * 11 / 10,
        "{stored_bytes} bytes of packs for a source of {source_bytes}, after {killed} kills"
    );
    lab.assert_sound();
}

#[test]
fn an_interrupted_backup_says_so() {
    let lab = Lab::new();
    let writer = lab.path("source/endless");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &writer,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    lab.run(["init"]).expect(0);
    // The command never ends by itself, so the backup waits for data until it is interrupted.
    let mut command = lab.command();
    command.args(["backup", "--stdin-filename", "x", "--stdin-from-command", "--"]);
    command.args(["sh", "-c", "echo ready; touch started; exec cat endless"]);
    command.current_dir(lab.source());
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !lab.path("source/started").exists() {
        assert!(run.try_wait().unwrap().is_none(), "ended before its command began");
        thread::yield_now();
    }
    let process = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(lab.snapshots().len(), 0);
    lab.run(["verify"]).expect(0);
}
