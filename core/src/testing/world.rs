//! A repository in memory, and backups of a source in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::MemorySource;
use crate::{
    backup::{BackupOptions, BackupReport, Parent, backup},
    chunker::ChunkParams,
    crypto::KdfCost,
    entry::TreePath,
    format::descriptor::Settings,
    id::ClientId,
    monitor::SilentMonitor,
    repository::{Credential, InitOptions, Repository, Snapshot, SnapshotKind},
    runtime::{Clock, Randomness, Runtime, Timestamp},
    source::Source,
    target::{MemoryTarget, SharedTarget},
};

/// Random bytes that no other call in this process gets.
#[derive(Debug)]
struct Counting;

impl Randomness for Counting {
    fn fill(&self, out: &mut [u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = blake3::derive_key("strongroom tests of operations", &number.to_le_bytes());
        blake3::Hasher::new_keyed(&key).finalize_xof().fill(out);
    }
}

/// A clock that goes on by a minute whenever somebody looks at it.
#[derive(Debug)]
struct MinuteClock(AtomicI64);

#[async_trait]
impl Clock for MinuteClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(60_000_000_000, Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.now().0.unsigned_abs())
    }

    /// Short waits are over at once; nothing lasts long enough for long ones.
    async fn sleep(&self, duration: Duration) {
        if duration > Duration::from_secs(1) {
            futures::future::pending::<()>().await;
        }
    }
}

/// Bytes that do not compress and differ for every `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What opens the repository of a [`World`].
pub(crate) fn password() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(b"password".to_vec())
}

/// The path made of `text`.
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

/// A repository in memory.
pub(crate) struct World {
    /// Where it is.
    pub(crate) target: SharedTarget,
    /// The repository, opened.
    pub(crate) repository: Repository,
}

impl World {
    /// An empty repository with small chunks and packs of 1 MiB.
    pub(crate) async fn new() -> Self {
        Self::with_parity(None).await
    }

    /// The same, with parity or without.
    pub(crate) async fn with_parity(parity: Option<bool>) -> Self {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        let clock = Arc::new(MinuteClock(AtomicI64::new(1_700_000_000_000_000_000)));
        let runtime = Runtime { clock, randomness: Arc::new(Counting) };
        let mut settings = Settings::new(Timestamp(0));
        settings.chunking = ChunkParams::content_defined(1 << 10, 4 << 10, 16 << 10).unwrap();
        settings.pack_target_bytes = 1 << 20;
        let kdf = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
        let options = InitOptions { kdf, settings, trusts_create: true, parity };
        let (repository, _) =
            Repository::init(target.clone(), runtime, &password(), &options).await.unwrap();
        Self { target, repository }
    }

    /// The same repository through another door, with nothing in memory.
    pub(crate) async fn reopen(&self, target: SharedTarget) -> Self {
        let credential = Credential::Password(password());
        let runtime = self.repository.runtime().clone();
        let repository = Repository::open(target.clone(), runtime, &credential).await.unwrap();
        Self { target, repository }
    }

    /// Backs `source` up.
    pub(crate) async fn try_backup(
        &self,
        source: &Arc<MemorySource>,
    ) -> crate::error::Result<BackupReport> {
        self.try_backup_of(source.clone()).await
    }

    /// Backs any source up.
    pub(crate) async fn try_backup_of(
        &self,
        source: Arc<dyn Source>,
    ) -> crate::error::Result<BackupReport> {
        let options = BackupOptions {
            host: "host".to_owned(),
            user: "user".to_owned(),
            tags: Vec::new(),
            time: None,
            kind: SnapshotKind::Incremental,
            parent: Parent::Automatic,
            client: ClientId([9; 16]),
            is_dry_run: false,
            workers: 1,
            compression: None,
        };
        backup(&self.repository, source, &options, Arc::new(SilentMonitor)).await
    }

    /// Backs `source` up and gives the snapshot.
    pub(crate) async fn backup(&self, source: &Arc<MemorySource>) -> Snapshot {
        let id = self.try_backup(source).await.unwrap().snapshot.unwrap();
        let snapshots = self.repository.snapshots().await.unwrap().snapshots;
        snapshots.into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }
}
