//! Servers that crash in mid-transfer and come back: through the retry layer nothing is lost.
//!
//! Each test has a server of its own.

use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream};
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, ObjectKey, Payload, PutMode, SharedTarget, TargetErrorKind, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
};
use strongroom_opendal::OpendalTarget;

use crate::own_server::Server;

fn retrying(target: SharedTarget) -> SharedTarget {
    let config = RetryConfig {
        tries_max: 40,
        wait_max: Duration::from_secs(1),
        total_max: Duration::from_secs(200),
        ..RetryConfig::default()
    };
    Arc::new(RetryLayer::new(target, config, Runtime::system()))
}

fn key(number: usize) -> ObjectKey {
    ObjectKey::parse(&format!("packs/{number}")).unwrap()
}

fn content(number: usize) -> Vec<u8> {
    vec![number as u8; 2_000_000 + number]
}

/// Kills the server while objects are written, starts it again, and does so while they are read.
async fn survives_crashes(script: &'static str) {
    const OBJECTS: usize = 12;
    let server = Arc::new(Server::start(script));
    let target = OpendalTarget::create(&server.config("crash")).await.unwrap();
    let target = retrying(Arc::new(target));
    for phase in ["write", "read"] {
        let crasher = server.clone();
        let crash = tokio::task::spawn_blocking(move || {
            crasher.run("kill9");
            crasher.run("start");
        });
        let work = (0..OBJECTS).map(|number| {
            let target = target.clone();
            async move {
                match phase {
                    "write" => target.create(&key(number), content(number)).await.unwrap(),
                    _ => holds(&target, number).await,
                }
            }
        });
        join_all(work).await;
        crash.await.unwrap();
        for number in 0..OBJECTS {
            let path = format!("{script}/data/crash/packs/{number}");
            let stored = std::fs::metadata(server.folder.path().join(path)).unwrap().len();
            assert_eq!(stored, content(number).len() as u64, "stored of {number} after {phase}");
        }
    }
    for number in 0..OBJECTS {
        holds(&target, number).await;
    }
}

/// Tells lengths, not two megabytes of bytes.
async fn holds(target: &SharedTarget, number: usize) {
    let (found, expected) = (target.get_full(&key(number)).await.unwrap(), content(number));
    assert_eq!(found.len(), expected.len(), "length of object {number}");
    assert!(found == expected, "content of object {number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp() {
    survives_crashes("sftp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav() {
    survives_crashes("webdav").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ftp() {
    survives_crashes("ftp").await;
}

/// A stream of 20 MiB whose middle is the moment at which the server is killed.
#[tokio::test(flavor = "multi_thread")]
async fn webdav_shows_nothing_of_a_stream_that_it_crashed_in() {
    let server = Arc::new(Server::start("webdav"));
    let target = OpendalTarget::create(&server.config("crash")).await.unwrap();
    let crasher = server.clone();
    let crash = stream::once(async move {
        tokio::task::spawn_blocking(move || crasher.run("kill9")).await.unwrap();
        Ok(Bytes::from(vec![8; 10 << 20]))
    });
    let first = stream::iter([Ok(Bytes::from(vec![7; 10 << 20]))]);
    let payload = Payload::Streamed(first.chain(crash).boxed());
    let error = target.put(&key(1), payload, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    server.run("start");
    assert!(!target.exists(&key(1)).await.unwrap());
    target.create(&key(1), content(1)).await.unwrap();
}

/// A small file system under the server's folder, where this process may mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The put fails, leaves no object, and the target works on; what the server says of the reason
/// differs: see the README.
async fn refuses_on_a_full_disk(script: &'static str, kinds: &[TargetErrorKind]) {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(folder.path().join(script).join("data")) else {
        eprintln!("no right to mount a small file system here: {script} is not tried");
        return;
    };
    let server = Server::start_in(script, folder, false);
    let target = OpendalTarget::create(&server.config("full")).await.unwrap();
    let small = ObjectKey::parse("small").unwrap();
    target.create(&small, vec![1; 1000]).await.unwrap();
    let large = ObjectKey::parse("large").unwrap();
    let content = Bytes::from(vec![2; 20 << 20]);
    let streamed = Payload::Streamed(stream::iter([Ok(content.clone())]).boxed());
    for payload in [content.into(), streamed] {
        let error = target.put(&large, payload, PutMode::Create).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{error}");
        eprintln!("{script}: {error} ({:?})", error.hint_text());
        assert!(!target.exists(&large).await.unwrap());
    }
    target.delete(&small).await.unwrap();
    target.create(&small, vec![3; 1000]).await.unwrap();
}

#[tokio::test]
async fn full_disk_sftp() {
    refuses_on_a_full_disk("sftp", &[TargetErrorKind::Unavailable]).await;
}

#[tokio::test]
async fn full_disk_webdav() {
    refuses_on_a_full_disk("webdav", &[TargetErrorKind::Unavailable, TargetErrorKind::Full]).await;
}

#[tokio::test]
async fn full_disk_ftp() {
    refuses_on_a_full_disk("ftp", &[TargetErrorKind::Unavailable, TargetErrorKind::Full]).await;
}
