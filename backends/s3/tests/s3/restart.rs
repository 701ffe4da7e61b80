//! Servers of our own that are treated badly: killed in the middle of transfers, or out of room.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
};

use futures::{StreamExt, stream};
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, Payload, PutMode, TargetErrorKind, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
};
use strongroom_s3::S3Target;
use tempfile::TempDir;

use crate::support::{Server, content, key};

/// A server of our own, which is stopped when dropped.
struct OwnServer {
    folder: TempDir,
    port: u16,
    disk_mib: Option<u32>,
}

impl OwnServer {
    /// Starts one, on a small disk of its own if asked (which takes root).
    fn start(disk_mib: Option<u32>) -> Self {
        let own = Self { folder: tempfile::tempdir().unwrap(), port: free_ports(), disk_mib };
        own.run("start");
        own
    }

    fn run(&self, verb: &str) -> Output {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../integration-tests/services/seaweedfs.sh");
        let output = Command::new("bash")
            .arg(&script)
            .arg(verb)
            .env("SERVICES_DIR", self.folder.path())
            .env("SEAWEEDFS_PORT", self.port.to_string())
            .env("SEAWEEDFS_DISK_MIB", self.disk_mib.map_or(String::new(), |mib| mib.to_string()))
            .env_remove("SEAWEEDFS_TLS")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{verb}: {said}");
        output
    }

    /// No clean end, and back again with what was on disk.
    fn kill_and_start(&self) {
        self.run("kill9");
        self.run("start");
    }

    fn server(&self) -> Server {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        Server::at(endpoint, "testkey".into(), "testsecretkey123".into())
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.run("stop");
    }
}

/// The first of a run of ports as the script needs them; those 10,000 above as well.
fn free_ports() -> u16 {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = (std::process::id() % 40) as u16 * 20;
    let candidates = (0..40).map(|i| 21_100 + (start + i * 20) % 800);
    let mut free =
        candidates.filter(|port| (0..6).all(|i| is_free(port + i) && is_free(port + i + 10_000)));
    free.next().expect("no free ports")
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_outlive_a_killed_server() {
    let own = Arc::new(OwnServer::start(None));
    let direct = S3Target::create(own.server().config("bucket/path")).await.unwrap();
    let direct = Arc::new(direct);
    let target = RetryLayer::new(direct.clone(), RetryConfig::default(), Runtime::system());
    target.create(&key("before"), content(1 << 20, 0)).await.unwrap();

    // The stream itself kills the server when its second part is due.
    let killer = own.clone();
    let pieces = stream::iter(0..24u64).then(move |piece| {
        let killer = killer.clone();
        async move {
            if piece == 12 {
                tokio::task::spawn_blocking(move || killer.kill_and_start()).await.unwrap();
            }
            Ok(content(1 << 20, piece).into())
        }
    });
    let streamed_key = key("streamed");
    let streamed = target.put(&streamed_key, Payload::Streamed(pieces.boxed()), PutMode::Create);
    let steady = stream::iter(0..200u64)
        .map(|i| {
            let target = &target;
            async move {
                let name = key(&format!("steady/{i}"));
                target.create(&name, content(100_000, i)).await.unwrap();
                let stored = target.get_full(&key("before")).await.unwrap();
                assert_eq!(stored.len(), 1 << 20);
            }
        })
        .buffer_unordered(4)
        .collect::<Vec<()>>();
    let (put, _) = futures::future::join(streamed, steady).await;
    put.unwrap();

    let stored = direct.get_full(&key("streamed")).await.unwrap();
    let expected: Vec<u8> = (0..24).flat_map(|piece| content(1 << 20, piece)).collect();
    assert!(stored == expected, "{} bytes", stored.len());
    for i in 0..200 {
        let stored = direct.get_full(&key(&format!("steady/{i}"))).await.unwrap();
        assert!(stored == content(100_000, i), "steady/{i}");
    }
}

/// This server says no more than that it failed (500), so the error is one that may pass; what
/// counts is that nothing half-written appears, that what is there stays, and that deletes work.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_shows_nothing_half_written() {
    const OBJECT_BYTES: usize = 4 << 20;
    // room for two of the server's volumes: it keeps a log of its own in one of them
    let own = OwnServer::start(Some(160));
    let target = Arc::new(S3Target::create(own.server().config("bucket")).await.unwrap());
    // the first object shows that the server has made its volumes
    let patient = RetryLayer::new(target.clone(), RetryConfig::default(), Runtime::system());
    patient.create(&key("object/0"), content(OBJECT_BYTES, 0)).await.unwrap();
    let mut stored = 1;
    let error = loop {
        let name = key(&format!("object/{stored}"));
        match target.create(&name, content(OBJECT_BYTES, stored)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 40, "the disk is smaller than that");
    };
    let kind = error.kind();
    assert!(matches!(kind, TargetErrorKind::Full | TargetErrorKind::Unavailable), "{error}");
    let listed = target.list_all(&KeyPrefix::all()).await.unwrap();
    assert_eq!(listed.len() as u64, stored, "nothing half-written is listed");
    for object in 0..stored {
        let bytes = target.get_full(&key(&format!("object/{object}"))).await.unwrap();
        assert!(bytes == content(OBJECT_BYTES, object), "object/{object}");
    }
    let keys: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    target.delete_batch(&keys).await.unwrap();
    assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
}
