//! Failing system calls and kills, injected by `strace` into a child process.
//!
//! Without `strace`, or where tracing is forbidden, these tests say so and pass.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use strongroom_core::target::{KeyPrefix, ObjectKey, TargetErrorKind, TargetExt, TargetResult};
use strongroom_local::LocalTarget;
use tempfile::TempDir;

const FOLDER_VARIABLE: &str = "STRONGROOM_FAULTS_FOLDER";
const BYTES_VARIABLE: &str = "STRONGROOM_FAULTS_BYTES";

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Runs `work` so that every blocking call is made by one thread: `strace` counts by thread.
fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap()
        .block_on(work)
}

/// The child: two puts of the same bytes under two keys, each outcome on a line of its own.
#[test]
#[ignore = "run by the other tests, under strace"]
fn child() {
    let folder = PathBuf::from(std::env::var_os(FOLDER_VARIABLE).unwrap());
    let bytes: usize = std::env::var(BYTES_VARIABLE).unwrap().parse().unwrap();
    run(async {
        let target = LocalTarget::open(folder).await.unwrap();
        for name in ["first", "second", "first"] {
            let outcome = target.create(&key(name), vec![7; bytes]).await;
            println!("\noutcome {}", describe(outcome));
        }
    });
}

fn describe(outcome: TargetResult<()>) -> String {
    match outcome {
        Ok(()) => "done".to_owned(),
        Err(error) if error.is_retryable() => format!("{:?}, again", error.kind()),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// What the child said before it ended or was killed, and the folder that it wrote to.
struct Aftermath {
    outcomes: Vec<String>,
    folder: TempDir,
}

impl Aftermath {
    fn listed(&self) -> Vec<String> {
        run(async {
            let target = LocalTarget::open(self.folder.path()).await.unwrap();
            let objects = target.list_all(&KeyPrefix::all()).await.unwrap();
            objects.into_iter().map(|object| object.key.to_string()).collect()
        })
    }

    fn leftovers(&self) -> usize {
        let temp = self.folder.path().join(".strongroom-tmp");
        std::fs::read_dir(temp).map_or(0, Iterator::count)
    }
}

/// Runs the child under `strace` with one fault injected; `None` where that is impossible.
fn suffer(fault: &str, bytes: usize) -> Option<Aftermath> {
    let folder = TempDir::new().unwrap();
    if !can_trace(folder.path()) {
        eprintln!("skipped: strace is missing or may not trace");
        return None;
    }
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qqq", "-o", "/dev/null", "-e"]).arg(format!("inject={fault}"));
    strace.arg(std::env::current_exe().unwrap());
    strace.args(["--ignored", "--exact", "child", "--nocapture"]);
    strace.env(FOLDER_VARIABLE, folder.path()).env(BYTES_VARIABLE, bytes.to_string());
    let output = strace.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let outcomes = text.lines().filter_map(|line| line.strip_prefix("outcome "));
    let outcomes = outcomes.map(str::to_owned).collect();
    Some(Aftermath { outcomes, folder })
}

fn can_trace(folder: &Path) -> bool {
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-e", "inject=mkdir:error=EIO", "true"]).current_dir(folder);
    strace.output().is_ok_and(|output| output.status.success())
}

const SMALL: usize = 1000;
const LARGE: usize = (2 << 20) + 5000;

#[test]
fn what_the_kernel_lacks_is_done_in_another_way() {
    for fault in [
        "renameat2:error=EINVAL",
        "renameat2:error=ENOSYS",
        "openat2:error=ENOSYS",
        "openat2:error=EPERM",
        "openat2:error=EAGAIN:when=3",
        "fallocate:error=EOPNOTSUPP",
        "pwrite64,pwritev:error=EINVAL:when=1",
        "pwrite64,pwritev,fsync,fallocate,mkdirat:error=EINTR:when=1",
        "pwrite64,pwritev:error=EINTR:when=1+2",
    ] {
        for bytes in [SMALL, LARGE] {
            // A small object is one buffered write; refusing that is a real error.
            if fault.contains("pwritev:error=EINVAL") && bytes == SMALL {
                continue;
            }
            let Some(after) = suffer(fault, bytes) else { return };
            assert_eq!(after.outcomes, ["done", "done", "AlreadyExists"], "{fault} {bytes}");
            assert_eq!(after.listed(), ["first", "second"], "{fault}");
            assert_eq!(after.leftovers(), 0, "{fault}");
            let found = std::fs::read(after.folder.path().join("first")).unwrap();
            assert!(found == vec![7; bytes], "{fault}");
        }
    }
}

#[test]
fn a_put_that_fails_says_so_and_leaves_nothing() {
    for (fault, kind) in [
        ("pwrite64,pwritev:error=ENOSPC:when=1", "Full"),
        ("fallocate:error=ENOSPC:when=1", "Full"),
        ("pwrite64,pwritev:error=EIO:when=1", "Unavailable, again"),
        ("pwrite64,pwritev:error=EDQUOT:when=1", "Full"),
        ("renameat2:error=EACCES:when=1", "Denied"),
        ("renameat2:error=EIO:when=1", "Unavailable"),
        // The first sync is of the root, when the folder for temporary files is new.
        ("fsync:error=EIO:when=2", "Unavailable, again"),
        ("fsync:error=ENOSPC:when=2", "Full"),
    ] {
        let Some(after) = suffer(fault, LARGE) else { return };
        assert_eq!(after.outcomes, [kind, "done", "done"], "{fault}");
        assert_eq!(after.listed(), ["first", "second"], "{fault}");
        assert_eq!(after.leftovers(), 0, "{fault}");
    }
}

/// A later sync of the folder would succeed, and prove nothing about what the failed one lost.
#[test]
fn a_failed_sync_of_a_folder_is_final() {
    let Some(after) = suffer("fsync:error=EIO:when=3", SMALL) else { return };
    assert_eq!(after.outcomes[0], "Unavailable");
    assert!(after.outcomes.iter().all(|outcome| outcome.starts_with("Unavailable")));
    assert!(after.listed().is_empty(), "what was reported as not written is not there");
    run(async {
        let target = LocalTarget::open(after.folder.path()).await.unwrap();
        target.create(&key("first"), vec![1]).await.unwrap();
    });
}

#[test]
fn a_kill_at_any_call_leaves_whole_objects_only() {
    let calls =
        ["openat", "mkdirat", "fallocate", "pwrite64,pwritev", "fsync", "renameat2", "fcntl"];
    for (call, bytes) in calls.iter().flat_map(|call| [(call, SMALL), (call, LARGE)]) {
        for nth in 1..=6 {
            let Some(after) = suffer(&format!("{call}:signal=KILL:when={nth}"), bytes) else {
                return;
            };
            let listed = after.listed();
            let confirmed = after.outcomes.iter().filter(|outcome| *outcome == "done").count();
            assert!(listed.len() >= confirmed, "{call} {nth}: {listed:?}, {:?}", after.outcomes);
            for name in &listed {
                let found = std::fs::read(after.folder.path().join(name)).unwrap();
                assert!(found == vec![7; bytes], "{call} {nth}: {name}");
            }
            work_goes_on(&after);
        }
    }
}

fn work_goes_on(after: &Aftermath) {
    run(async {
        let target = LocalTarget::open(after.folder.path()).await.unwrap();
        let outcome = target.create(&key("first"), vec![7; SMALL]).await;
        let kind = outcome.err().map(|error| error.kind());
        assert!(matches!(kind, None | Some(TargetErrorKind::AlreadyExists)), "{kind:?}");
        target.create(&key("third"), vec![7; SMALL]).await.unwrap();
    });
}
