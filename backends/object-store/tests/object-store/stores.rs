//! Stores as targets: in memory, a folder, and Google's dialect against an emulator.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::{
    ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory, path::Path,
};
use strongroom_backend_support::Environment;
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, KeyPrefix, ObjectKey, Operation, Payload, PutMode, TargetError,
        TargetErrorKind, TargetExt, conformance,
    },
};
use strongroom_object_store::{GcsConfig, ObjectStoreConfig, ObjectStoreTarget};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1 << 20;

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

async fn report(target: ObjectStoreTarget, options: conformance::Options) -> conformance::Report {
    conformance::run(Arc::new(target), &Runtime::system(), &options).await
}

fn in_memory() -> (Arc<InMemory>, ObjectStoreTarget) {
    let store = Arc::new(InMemory::new());
    let config = ObjectStoreConfig::new("memory").with_atomic_create().below(["a folder", "b%"]);
    (store.clone(), ObjectStoreTarget::new(store, config))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_memory_conforms() {
    let report = report(in_memory().1, conformance::Options::default()).await;
    assert!(report.is_conformant(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_in_a_folder_conforms() {
    let folder = TempDir::new().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap().with_fsync(false);
    let config = ObjectStoreConfig::new("folder").with_atomic_create();
    let report =
        report(ObjectStoreTarget::new(Arc::new(store), config), conformance::Options::default())
            .await;
    assert!(report.is_conformant(), "{report}");
}

#[tokio::test]
async fn a_long_stream_is_created_whole_or_not_at_all() {
    let (store, target) = in_memory();
    let stream = || {
        let buffers = (0..20u8).map(|number| Ok(Bytes::from(vec![number; MIB + 1])));
        Payload::Streamed(stream::iter(buffers).boxed())
    };
    target.put(&key("a"), stream(), PutMode::Create).await.unwrap();
    let stored = target.get_full(&key("a")).await.unwrap();
    assert_eq!(stored.len(), 20 * (MIB + 1));
    assert!(stored.chunks(MIB + 1).zip(0u8..).all(|(part, number)| part == vec![number; MIB + 1]));
    let taken = target.put(&key("a"), stream(), PutMode::Create).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
    target.put(&key("a"), stream(), PutMode::Replace).await.unwrap();
    let broken = TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "broken source");
    let Payload::Streamed(begins) = stream() else { unreachable!() };
    let broken = Payload::Streamed(begins.chain(stream::iter([Err(broken)])).boxed());
    let error = target.put(&key("b"), broken, PutMode::Create).await.unwrap_err();
    assert!(error.to_string().contains("broken source"), "{error}");
    let left: Vec<_> = store.list(None).collect().await;
    assert_eq!(left.len(), 1, "nothing unfinished stays: {left:?}");
}

#[tokio::test]
async fn a_long_stream_is_refused_where_a_copy_is_not_atomic() {
    let store = Arc::new(InMemory::new());
    let target = ObjectStoreTarget::new(store.clone(), ObjectStoreConfig::new("weak"));
    assert!(!target.capabilities().await.unwrap().atomic_create);
    let long = || Payload::Streamed(stream::iter([Ok(Bytes::from(vec![0; 9 * MIB]))]).boxed());
    let error = target.put(&key("a"), long(), PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unsupported);
    assert_eq!(store.list(None).count().await, 0);
    target.put(&key("a"), long(), PutMode::Replace).await.unwrap();
    let short = Payload::Streamed(stream::iter([Ok(Bytes::from_static(b"x"))]).boxed());
    target.put(&key("b"), short, PutMode::Create).await.unwrap();
}

/// A buffer that is counted while anybody holds it.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_goes_through_little_memory() {
    let folder = TempDir::new().unwrap();
    let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let config = ObjectStoreConfig::new("folder").with_atomic_create();
    let target = ObjectStoreTarget::new(Arc::new(store), config);
    let (alive, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counter, highest) = (alive.clone(), most.clone());
    let buffers = stream::iter(0..100).map(move |_| {
        highest.fetch_max(counter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Ok(Bytes::from_owner(Counted(vec![1; MIB], counter.clone())))
    });
    target.put(&key("a"), Payload::Streamed(buffers.boxed()), PutMode::Create).await.unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 5 * 8 + 2, "{most} MiB: more than four parts in flight and one to come");
    assert_eq!(target.head(&key("a")).await.unwrap().size_bytes, 100 * MIB as u64);
}

#[tokio::test]
async fn objects_of_others_are_not_ours() {
    let (store, target) = in_memory();
    for name in ["elsewhere/a", "a folder/b%25/UPPER", "a folder/b%25/.strongroom-tmp-1"] {
        store.put(&Path::parse(name).unwrap(), "x".into()).await.unwrap();
    }
    let keys: Vec<_> = (0..5).map(|number| key(&format!("k/{number}"))).collect();
    for key in &keys {
        target.create(key, vec![1]).await.unwrap();
    }
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), 5);
    target.delete_batch(&keys).await.unwrap();
    target.delete_batch(&keys).await.unwrap();
    assert_eq!(store.list(None).count().await, 3);
}

#[tokio::test]
async fn a_missing_bucket_is_not_found() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        let body = "<Error><Code>NoSuchBucket</Code></Error>";
        let head = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 40\r\n\r\n";
        connection.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    });
    let url = format!("gs://vault?endpoint=http://{address}&anonymous");
    let config = GcsConfig::from_url(&url, &Environment::new(|_| None)).unwrap();
    let error = config.open().await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
    assert!(error.hint_text().unwrap().contains("bucket"), "{error:?}");
}

#[tokio::test]
async fn nobody_listens_there_and_that_may_pass() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("gs://bucket?endpoint=http://{free}&anonymous");
    let config = GcsConfig::from_url(&url, &Environment::new(|_| None)).unwrap();
    let error = config.open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (TargetErrorKind::Unavailable, true),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_refused() {
    let environment = Environment::new(|name| {
        (name == "GOOGLE_SERVICE_ACCOUNT_KEY").then(|| "{\"private_key\":\"hunter2\"".to_owned())
    });
    let config = GcsConfig::from_url("gs://bucket", &environment).unwrap();
    let error = config.open().await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}
