//! How many requests an operation makes: the budget, and that nothing depends on the cache.

use std::sync::Arc;

use super::{super::backup, latest, options, password, read_all, run, sample};
use crate::{
    crypto::KdfCost,
    entry::TreePath,
    error::{ErrorKind, Result},
    monitor::SilentMonitor,
    repository::{Credential, InitOptions, Pins, Repository, Storage},
    restore::{RestoreOptions, restore},
    runtime::Runtime,
    source::Sink,
    target::{
        KeyPrefix, MemoryTarget, ObjectKey, Operation, SharedTarget, TargetErrorKind, TargetExt,
        layers::{Call, FaultLayer, FaultRule, RecordLayer},
    },
    testing::sink::MemorySink,
};

/// A storage whose requests are counted, and a cache.
struct Place {
    memory: SharedTarget,
    record: Arc<RecordLayer>,
    cache: SharedTarget,
}

impl Place {
    fn new() -> Self {
        let memory: SharedTarget = Arc::new(MemoryTarget::new());
        let record = Arc::new(RecordLayer::new(memory.clone()));
        Self { memory, record, cache: Arc::new(MemoryTarget::new()) }
    }

    fn storage(&self) -> Storage {
        Storage {
            target: self.record.clone(),
            cache: Some(self.cache.clone()),
            pins: Pins::default(),
        }
    }

    async fn init(&self) -> Result<Repository> {
        let kdf = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
        let options = InitOptions { kdf, trusts_create: true, ..InitOptions::default() };
        let runtime = Runtime::system();
        Ok(Repository::init(self.storage(), runtime, &password(), &options).await?.0)
    }

    async fn try_open(&self) -> Result<Repository> {
        let credential = Credential::Password(password());
        Repository::open(self.storage(), Runtime::system(), &credential).await
    }

    async fn open(&self) -> Repository {
        self.try_open().await.unwrap()
    }

    /// Requests since the last look. What a target says about itself goes over no wire.
    fn requests(&self) -> Vec<Call> {
        let log = self.record.take().into_iter().map(|line| line.call);
        log.filter(|call| call.operation() != Operation::Capabilities).collect()
    }

    fn expect(&self, requests_max: usize, what: &str) {
        let requests = self.requests();
        let list: Vec<_> =
            requests.iter().map(|call| format!("{} {}", call.operation(), call.place())).collect();
        assert!(requests.len() <= requests_max, "{what}: {list:#?}");
    }

    async fn cached(&self) -> Vec<ObjectKey> {
        let all = self.cache.list_all(&KeyPrefix::all()).await.unwrap();
        all.into_iter().map(|object| object.key).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_keeps_to_its_budget() {
    let place = Place::new();
    let source = sample();
    place.init().await.unwrap();
    place.expect(3, "init");

    let report = run(&place.open().await, &source).await;
    place.expect(report.packs_written as usize + 4, "first backup");

    for _ in 0..3 {
        let report = run(&place.open().await, &source).await;
        assert_eq!((report.packs_written, report.files.unmodified), (0, 2002));
        place.expect(4, "unchanged backup");
    }

    let snapshots = place.open().await.snapshots().await.unwrap().snapshots;
    assert_eq!(snapshots.len(), 4);
    place.expect(1, "list of snapshots");

    let repository = place.open().await;
    let newest = repository.snapshots().await.unwrap().snapshots.pop().unwrap();
    let sink = MemorySink::new();
    let subtree = TreePath::parse(b"data/d3/f7").unwrap();
    let options = RestoreOptions { subtree, ..RestoreOptions::default() };
    let monitor = Arc::new(SilentMonitor);
    restore(&repository, &newest, Arc::new(sink.clone()), &options, monitor).await.unwrap();
    assert!(sink.exists());
    place.expect(3, "restore of one file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_changes_nothing_and_heals() {
    let place = Place::new();
    let source = sample();
    place.init().await.unwrap();
    run(&place.open().await, &source).await;
    let before = read_all(&place.open().await, &latest(&place.open().await).await).await;
    for key in place.cached().await {
        let mut bytes = place.cache.get_full(&key).await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        place.cache.replace(&key, bytes).await.unwrap();
    }
    let report = run(&place.open().await, &source).await;
    assert_eq!((report.packs_written, report.files.unmodified), (0, 2002));
    let after = read_all(&place.open().await, &latest(&place.open().await).await).await;
    assert_eq!(before, after);
    place.requests();
    run(&place.open().await, &source).await;
    place.expect(4, "backup with the healed cache");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_fails_is_done_without() {
    let place = Place::new();
    let broken = FaultLayer::new(place.cache.clone(), Runtime::system().clock);
    for operation in [Operation::Get, Operation::Put, Operation::List, Operation::Delete] {
        broken.add(FaultRule::fail(operation, TargetErrorKind::Full));
    }
    let place = Place { cache: Arc::new(broken), ..place };
    let source = sample();
    place.init().await.unwrap();
    run(&place.open().await, &source).await;
    let report = run(&place.open().await, &source).await;
    assert_eq!((report.packs_written, report.files.unmodified), (0, 2002));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_was_replaced_is_noticed_before_anything_is_mixed() {
    let place = Place::new();
    place.init().await.unwrap();
    run(&place.open().await, &sample()).await;
    for object in place.memory.list_all(&KeyPrefix::all()).await.unwrap() {
        place.memory.delete(&object.key).await.unwrap();
    }
    let gone = place.open().await.snapshots().await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NoRepository);
    assert!(place.cached().await.is_empty(), "nothing of it is remembered");

    // another machine makes a new one in the same place, while this one remembers the old
    place.init().await.unwrap();
    for object in place.memory.list_all(&KeyPrefix::all()).await.unwrap() {
        place.memory.delete(&object.key).await.unwrap();
    }
    let elsewhere = Place { record: place.record.clone(), ..Place::new() };
    elsewhere.init().await.unwrap();
    let (old, monitor) = (place.open().await, Arc::new(SilentMonitor));
    let error = backup(&old, sample(), &options(), monitor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(place.open().await.snapshots().await.unwrap().snapshots.len(), 0);
    let sessions = KeyPrefix::parse("meta/sessions").unwrap();
    assert!(place.memory.list_all(&sessions).await.unwrap().is_empty(), "and none is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_in_a_taken_place_leaves_nothing() {
    let place = Place::new();
    place.init().await.unwrap();
    let before = place.memory.list_all(&KeyPrefix::all()).await.unwrap();
    let error = place.init().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(place.memory.list_all(&KeyPrefix::all()).await.unwrap(), before);
    // and who does not trust the storage looks before anything is written
    place.requests();
    let target: SharedTarget = place.record.clone();
    let options = InitOptions::default();
    let error = Repository::init(target, Runtime::system(), &password(), &options).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::AlreadyExists);
    place.expect(1, "a refused init");
}
