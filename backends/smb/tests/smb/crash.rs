//! A server that is killed and comes back, in the middle of transfers.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use futures::future::join_all;
use strongroom_core::{
    runtime::Runtime,
    target::{
        KeyPrefix, SharedTarget, TargetErrorKind, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
};
use tempfile::TempDir;

use crate::server::{Server, free_port, key};

/// A server of our own, ended when dropped.
struct OwnServer {
    folder: TempDir,
    port: u16,
}

impl OwnServer {
    fn start() -> Self {
        let server = Self { folder: TempDir::new().unwrap(), port: free_port() };
        server.script("start");
        server
    }

    /// Runs the script of the server; gives what it prints.
    fn script(&self, verb: &str) -> String {
        let services =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration-tests/services");
        let output = Command::new("bash")
            .arg(services.join("samba.sh"))
            .arg(verb)
            .env("SERVICES_DIR", self.folder.path())
            .env("SAMBA_PORT", self.port.to_string())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn server(&self) -> Server {
        Server { port: self.port.to_string(), ..Server::shared() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("samba/data/signed")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.script("stop");
    }
}

fn content(number: usize) -> Vec<u8> {
    (0..3_000_000 + number * 1000).map(|at| (at * 13 + number) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_outlive_a_server_that_is_killed_and_restarted() {
    const WRITERS: usize = 4;
    let own = tokio::task::spawn_blocking(OwnServer::start).await.unwrap();
    let target = own.server().create("signed/crash").await.unwrap();
    let target: SharedTarget = Arc::new(target);
    let target: SharedTarget =
        Arc::new(RetryLayer::new(target, RetryConfig::default(), Runtime::system()));
    let is_over = Arc::new(AtomicBool::new(false));
    let (finished, progress) = mpsc::channel();
    let workers = (0..WRITERS).map(|worker| {
        let (target, is_over, finished) = (target.clone(), is_over.clone(), finished.clone());
        tokio::spawn(async move {
            let mut number = worker;
            while !is_over.load(Ordering::SeqCst) {
                let name = key(&format!("w{worker}/k{number}"));
                target.create(&name, content(number)).await.unwrap();
                assert!(target.get_full(&name).await.unwrap() == content(number), "{name}");
                finished.send(number).unwrap();
                number += WRITERS;
            }
            number
        })
    });
    let workers: Vec<_> = workers.collect();
    let own = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            let _so_far = progress.try_iter().count();
            for _ in 0..3 {
                progress.recv().unwrap();
            }
            own.script("kill9");
            own.script("start");
        }
        (own, progress)
    });
    let (own, _progress) = own.await.unwrap();
    is_over.store(true, Ordering::SeqCst);
    let ends = join_all(workers).await;
    let mut expected = 0;
    for (worker, end) in ends.into_iter().enumerate() {
        let numbers = (worker..end.unwrap()).step_by(WRITERS);
        for number in numbers {
            let name = key(&format!("w{worker}/k{number}"));
            assert!(target.get_full(&name).await.unwrap() == content(number), "{name}");
            expected += 1;
        }
    }
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), expected);
    tokio::task::spawn_blocking(move || drop(own)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_dead_server_is_unavailable_and_the_next_one_finds_it_again() {
    let own = tokio::task::spawn_blocking(OwnServer::start).await.unwrap();
    let target = own.server().create("signed/again").await.unwrap();
    target.create(&key("a"), vec![1]).await.unwrap();
    own.script("kill9");
    for error in [
        target.get_full(&key("a")).await.unwrap_err(),
        target.create(&key("b"), vec![2]).await.unwrap_err(),
        target.list_all(&KeyPrefix::all()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable());
    }
    own.script("start");
    assert_eq!(target.get_full(&key("a")).await.unwrap(), [1].as_slice());
    target.create(&key("b"), vec![2]).await.unwrap();
    assert!(own.data().join("again/b").exists());
    tokio::task::spawn_blocking(move || drop(own)).await.unwrap();
}
