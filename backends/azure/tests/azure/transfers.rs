//! Large streams, broken lines, lost answers, a server that goes away and comes back.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use strongroom_azure::AzureTarget;
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, Operation, Payload, PutMode, SharedTarget, TargetError,
        TargetErrorKind, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
};
use tempfile::TempDir;

use crate::{
    front::{Action, Front, Seen},
    support::{Emulator, container_name, key},
};

const MIB: usize = 1 << 20;

/// A buffer that is counted while anybody holds it.
struct Counted {
    content: Vec<u8>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_goes_through_little_memory() {
    let target = Emulator::shared().target("long-stream").await;
    let alive = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counter, highest) = (alive.clone(), most.clone());
    let buffers = stream::iter(0..100u8).map(move |number| {
        let now = counter.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        Ok(Bytes::from_owner(Counted { content: vec![number; MIB], alive: counter.clone() }))
    });
    let name = key("streams/long");
    target.put(&name, Payload::Streamed(buffers.boxed()), PutMode::Create).await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 5 * 8 + 1, "{most} MiB: more than four blocks in flight and one to come");
    let stored = target.get_full(&name).await.unwrap();
    assert_eq!(stored.len(), 100 * MIB);
    assert!(stored.chunks(MIB).zip(0u8..).all(|(part, number)| part.iter().all(|b| *b == number)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_leaves_nothing_visible() {
    let target = Emulator::shared().target("broken-stream").await;
    let broken = TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "the source broke");
    let buffers = stream::iter(0..20).map(|_| Ok(Bytes::from(vec![7; MIB])));
    let buffers = buffers.chain(stream::iter([Err(broken)]));
    let name = key("a");
    let put = target.put(&name, Payload::Streamed(buffers.boxed()), PutMode::Create).await;
    assert!(put.unwrap_err().to_string().contains("the source broke"));
    assert!(!target.exists(&name).await.unwrap());
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
    target.create(&name, vec![1]).await.unwrap();
    assert_eq!(target.get_full(&name).await.unwrap(), [1].as_slice());
}

fn is_commit(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.target.contains("comp=blocklist")
}

fn is_block(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.target.ends_with("comp=block")
}

fn is_single_put(seen: &Seen) -> bool {
    seen.method == "PUT" && !seen.target.contains("comp=") && !seen.target.contains("restype=")
}

/// The emulator behind a front that treats the first request of a kind as told.
async fn behind_front(
    test: &str,
    is_meant: fn(&Seen) -> bool,
    action: Action,
) -> (Front, AzureTarget) {
    let emulator = Emulator::shared();
    let behind = emulator.endpoint.split('/').nth(2).unwrap().to_owned();
    let mut action = Some(action);
    let front = Front::start(Some(behind), move |seen| {
        let action = if is_meant(seen) { action.take() } else { None };
        action.unwrap_or(Action::Pass)
    })
    .await;
    let endpoint = format!("http://{}/{}", front.address, emulator.account);
    let front_of_it = Emulator { endpoint, ..emulator };
    let target = front_of_it.target(test).await;
    (front, target)
}

fn retrying(target: AzureTarget) -> SharedTarget {
    let config = RetryConfig {
        tries_max: 300,
        wait_first: Duration::from_millis(10),
        wait_max: Duration::from_secs(1),
        ..Default::default()
    };
    Arc::new(RetryLayer::new(Arc::new(target), config, Runtime::system()))
}

fn streamed(parts: u8) -> Payload {
    let parts = (0..parts).map(|number| Ok(Bytes::from(vec![number; MIB])));
    Payload::Streamed(stream::iter(parts).boxed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_our_success() {
    let (front, target) = behind_front("lost-commit", is_commit, Action::LoseAnswer).await;
    target.put(&key("a"), streamed(10), PutMode::Create).await.unwrap();
    assert_eq!(front.seen().iter().filter(|seen| is_commit(seen)).count(), 1);
    assert_eq!(target.head(&key("a")).await.unwrap().size_bytes, 10 * MIB as u64);
    let taken = target.put(&key("a"), streamed(1), PutMode::Create).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);

    let (front, target) = behind_front("lost-single", is_single_put, Action::LoseAnswer).await;
    let target = retrying(target);
    target.create(&key("a"), vec![5; 1000]).await.unwrap();
    assert_eq!(front.seen().iter().filter(|seen| is_single_put(seen)).count(), 2);
    let taken = target.create(&key("a"), vec![6; 1000]).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_block_or_commit_does_not_end_a_stream() {
    let busy = || Action::Answer(503, "x-ms-error-code: ServerBusy\r\n".into(), Vec::new());
    for (is_meant, action) in [
        (is_block as fn(&Seen) -> bool, Action::Drop),
        (is_block, busy()),
        (is_block, Action::LoseAnswer),
        (is_commit, Action::Drop),
        (is_commit, busy()),
    ] {
        let (_front, target) = behind_front("failed-block", is_meant, action).await;
        target.put(&key("a"), streamed(20), PutMode::Create).await.unwrap();
        let stored = target.get_full(&key("a")).await.unwrap();
        assert!(stored.chunks(MIB).zip(0u8..20).all(|(part, number)| part[0] == number));
        assert_eq!(stored.len(), 20 * MIB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_content_above_the_limit_of_one_request_goes_in_blocks() {
    let (front, target) = behind_front("large", |_| false, Action::Pass).await;
    let parts: Vec<_> = (0..5).map(|number| Bytes::from(vec![number; 5 * MIB + 3])).collect();
    target.create(&key("a"), parts.clone()).await.unwrap();
    assert_eq!(front.seen().iter().filter(|seen| is_block(seen)).count(), 4);
    assert_eq!(target.get_full(&key("a")).await.unwrap(), parts.concat());
    let taken = target.create(&key("a"), parts.clone()).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
    target.replace(&key("a"), parts[..4].to_vec()).await.unwrap();
    assert_eq!(target.get_full(&key("a")).await.unwrap(), parts[..4].concat());
}

/// An emulator of this test alone, which it may stop.
pub struct OwnEmulator {
    folder: TempDir,
    port: u16,
    tls: bool,
    pub emulator: Emulator,
}

/// A port that nobody listens at, and below those that the system gives to clients: a client that
/// tries again and again to reach a server that is gone may else be given the server's own port,
/// and is then connected to itself.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 800).unwrap();
    std::iter::repeat_with(|| 22_100 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 800)
        .take(800)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

impl OwnEmulator {
    pub fn start(tls: bool) -> Self {
        let port = free_port();
        let folder = TempDir::new().unwrap();
        let shared = Emulator::shared();
        let scheme = if tls { "https" } else { "http" };
        let endpoint = format!("{scheme}://127.0.0.1:{port}/{}", shared.account);
        let own = Self { folder, port, tls, emulator: Emulator { endpoint, ..shared } };
        own.script("start");
        own
    }

    /// The private authority's certificate, the server's own and its key.
    pub fn tls_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(name)
    }

    pub fn script(&self, verb: &str) {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration-tests/services/azurite.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(verb);
        command.env("SERVICES_DIR", self.folder.path());
        command.env("AZURITE_PORT", self.port.to_string());
        command.env_remove("AZURITE_TLS");
        if self.tls {
            command.env("AZURITE_TLS", "1");
        }
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "azurite.sh {verb}: {told}");
    }
}

impl Drop for OwnEmulator {
    fn drop(&mut self) {
        self.script("stop");
    }
}

/// Ended by TERM: Azurite killed by KILL forgets what it has acknowledged in the last seconds,
/// which is its own fault and would hide ours.
#[tokio::test(flavor = "multi_thread")]
async fn calls_outlive_a_restart_of_the_server() {
    const OBJECTS: usize = 60;
    let own = tokio::task::spawn_blocking(|| OwnEmulator::start(false)).await.unwrap();
    let own = Arc::new(own);
    let target = retrying(own.emulator.target("restart").await);
    let content = |number: usize| vec![number as u8; 3 * MIB + number];
    let (done, mut some_done) = tokio::sync::mpsc::unbounded_channel();
    let puts = {
        let target = target.clone();
        tokio::spawn(async move {
            stream::iter(0..OBJECTS)
                .map(|number| {
                    let (target, done) = (target.clone(), done.clone());
                    async move {
                        let name = key(&format!("objects/{number}"));
                        target.create(&name, content(number)).await?;
                        let _ = done.send(());
                        Ok::<_, TargetError>(())
                    }
                })
                .buffer_unordered(4)
                .try_collect::<()>()
                .await
        })
    };
    for _ in 0..OBJECTS / 6 {
        some_done.recv().await.unwrap();
    }
    let server = own.clone();
    tokio::task::spawn_blocking(move || {
        server.script("stop");
        server.script("start");
    })
    .await
    .unwrap();
    puts.await.unwrap().unwrap();
    for number in 0..OBJECTS {
        let stored = target.get_full(&key(&format!("objects/{number}"))).await.unwrap();
        assert!(stored == content(number), "object {number}");
    }
}

#[tokio::test]
async fn nothing_listens_there_and_that_may_pass() {
    let shared = Emulator::shared();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = Emulator { endpoint: format!("http://{free}/devacct"), ..shared };
    let config = nowhere.config(&nowhere.url(&container_name("nowhere")));
    let error = AzureTarget::open(config).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unavailable);
    assert!(error.is_retryable());
    assert!(error.to_string().contains("refused"), "{error}");
}
