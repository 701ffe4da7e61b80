//! A repository with a history, what its users were told, and what must hold of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    MemorySource,
    sink::MemorySink,
    world::{World, noise, password},
};
use crate::{
    crypto::KdfCost,
    entry::EntryKind,
    error::{Error, ErrorKind, Result},
    forget::{Survey, forget},
    id::SessionId,
    monitor::SilentMonitor,
    packset::PackSet,
    prune::{PruneOptions, UnusedMax, prune},
    repository::{
        Credential, Repository, Snapshot,
        keys::SlotOptions,
        layout::{self, MetaName},
    },
    restore::{RestoreOptions, restore},
    runtime::Runtime,
    target::{KeyPrefix, MemoryTarget, ObjectKey, SharedTarget, TargetExt},
    verify::{ReadData, VerifyOptions, VerifyReport, verify},
};

/// A snapshot that its writer was told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) id: SessionId,
    /// Of the tree that it holds.
    pub(crate) version: u64,
}

/// What a user was told before the process died.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Snapshots that stand.
    pub(crate) made: Vec<Promise>,
    /// Snapshots that are forgotten.
    pub(crate) forgotten: Vec<SessionId>,
    /// What alone opens the repository now.
    pub(crate) opened_by: Option<Credential>,
}

/// A repository, and what must hold of it.
pub(crate) struct Stage {
    pub(crate) target: SharedTarget,
    pub(crate) runtime: Runtime,
    /// What is backed up.
    pub(crate) tree: Tree,
    /// Of the tree that was backed up last.
    pub(crate) version: u64,
    /// Snapshots that must be there.
    pub(crate) promises: Vec<Promise>,
    /// Snapshots that must not be there.
    gone: BTreeSet<SessionId>,
    /// One of these opens it.
    pub(crate) credentials: Vec<Credential>,
    /// Objects that were orphans from the beginning.
    pub(crate) orphans: BTreeSet<String>,
}

/// A tree that changes from version to version.
pub(crate) type Tree = fn(u64) -> Arc<MemorySource>;

/// A tree of one file.
pub(crate) fn tiny_tree(version: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    source.put("file", noise(version, 200 + version as usize));
    Arc::new(source)
}

/// The tree of this version: each has a few files more than the one before, and others changed.
pub(crate) fn tree(version: u64) -> Arc<MemorySource> {
    let source = MemorySource::default();
    for file in 0..10 {
        source.put(&format!("d{}/f{file}", file % 3), noise(file, 15_000));
    }
    for version in 1..=version {
        for file in [version, version * 3] {
            let path = format!("d{}/f{}", file % 10 % 3, file % 10);
            source.put(&path, noise(1_000 * version + file, 12_000 + version as usize));
        }
        source.put(&format!("new/{version}"), noise(1_000_000 + version, 30_000));
    }
    Arc::new(source)
}

pub(crate) fn credential(text: &str) -> Credential {
    Credential::Password(zeroize::Zeroizing::new(text.as_bytes().to_vec()))
}

/// A slot that is quickly opened.
pub(crate) fn slot() -> SlotOptions {
    let kdf = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
    SlotOptions { kdf, label: "sweep".to_owned() }
}

pub(crate) fn prune_options() -> PruneOptions {
    PruneOptions {
        unused_max: UnusedMax::Bytes(0),
        fence_after: Duration::from_millis(1),
        ..PruneOptions::default()
    }
}

/// Prunes once.
pub(crate) async fn prune_once(repository: &Repository) -> Result<()> {
    prune(repository, &prune_options(), Arc::new(SilentMonitor)).await.map(drop)
}

/// Backs [`tree`] up as it is in `version`.
pub(crate) async fn back_up(repository: &Repository, version: u64) -> Result<Promise> {
    back_up_of(tree, repository, version).await
}

async fn back_up_of(tree: Tree, repository: &Repository, version: u64) -> Result<Promise> {
    let world = World { target: repository.target().clone(), repository: repository.clone() };
    let report = world.try_backup(&tree(version)).await?;
    Ok(Promise { id: report.snapshot.unwrap(), version })
}

pub(crate) async fn forget_now(repository: &Repository, ids: &[SessionId]) -> Result<()> {
    let survey = Survey::read(repository).await?;
    forget(repository, &survey, ids, "host").await.map(drop)
}

impl Stage {
    /// An empty repository.
    pub(crate) async fn empty(has_parity: bool) -> Self {
        Self::of(tree, has_parity).await
    }

    /// An empty repository for this tree.
    pub(crate) async fn of(tree: Tree, has_parity: bool) -> Self {
        let world = World::with_parity(Some(has_parity)).await;
        Self {
            target: world.target,
            runtime: world.repository.runtime().clone(),
            tree,
            version: 0,
            promises: Vec::new(),
            gone: BTreeSet::new(),
            credentials: vec![Credential::Password(password())],
            orphans: BTreeSet::new(),
        }
    }

    /// A repository with so many snapshots.
    pub(crate) async fn with(snapshots: u64, has_parity: bool) -> Self {
        let mut stage = Self::empty(has_parity).await;
        for _ in 0..snapshots {
            stage.back_up().await;
        }
        stage
    }

    /// The same repository elsewhere.
    pub(crate) async fn copy(&self) -> Self {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        for (key, content) in objects(&self.target).await {
            target.create(&key, content).await.unwrap();
        }
        Self {
            target,
            runtime: self.runtime.clone(),
            tree: self.tree,
            version: self.version,
            promises: self.promises.clone(),
            gone: self.gone.clone(),
            credentials: self.credentials.clone(),
            orphans: self.orphans.clone(),
        }
    }

    /// Opens it through `door` with nothing in memory.
    pub(crate) async fn open(&self, door: SharedTarget) -> Repository {
        for credential in &self.credentials {
            match Repository::open(door.clone(), self.runtime.clone(), credential).await {
                Ok(repository) => return repository,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WrongKey, "{error}"),
            }
        }
        panic!("nothing opens the repository");
    }

    pub(crate) async fn reopen(&self) -> Repository {
        self.open(self.target.clone()).await
    }

    pub(crate) async fn back_up(&mut self) {
        self.version += 1;
        let promise = back_up_of(self.tree, &self.reopen().await, self.version).await.unwrap();
        self.promises.push(promise);
    }

    /// Forgets the `count` oldest snapshots.
    pub(crate) async fn forget(&mut self, count: usize) {
        let ids = self.doom(count);
        forget_now(&self.reopen().await, &ids).await.unwrap();
        self.gone.extend(ids);
    }

    /// The `count` oldest snapshots, which need not be there from now on.
    pub(crate) fn doom(&mut self, count: usize) -> Vec<SessionId> {
        self.promises.drain(..count).map(|promise| promise.id).collect()
    }

    pub(crate) fn learn(&mut self, told: Told) {
        self.promises.extend(told.made);
        self.gone.extend(told.forgotten);
        if let Some(credential) = told.opened_by {
            self.credentials = vec![credential];
        }
    }

    /// Turns over a bit of the byte that `at` chooses by the object's length.
    pub(crate) async fn flip(&self, key: &ObjectKey, at: impl FnOnce(usize) -> usize) {
        let mut bytes = self.target.get_full(key).await.unwrap().to_vec();
        let at = at(bytes.len());
        bytes[at] ^= 4;
        self.target.replace(key, bytes).await.unwrap();
    }

    /// What comes after a crash, and what must have become of it.
    pub(crate) async fn go_on(mut self) {
        self.version += 1;
        let repository = self.reopen().await;
        self.promises.push(back_up_of(self.tree, &repository, self.version).await.unwrap());
        if self.promises.len() > 1 {
            self.forget(1).await;
        }
        let repository = self.reopen().await;
        loop {
            let monitor = Arc::new(SilentMonitor);
            let report = prune(&repository, &prune_options(), monitor).await.unwrap();
            if !report.took_over {
                break;
            }
        }
        let repository = self.reopen().await;
        self.expect_promises_kept(&repository).await;
        expect_sound(&repository).await;
        self.expect_nothing_else(&repository).await;
    }

    /// All snapshots that must be there come back as they were.
    pub(crate) async fn expect_promises_kept(&self, repository: &Repository) {
        let list = repository.snapshots().await.unwrap();
        assert!(list.damaged.is_empty(), "{:?}", list.damaged);
        let back: Vec<_> =
            list.snapshots.iter().filter(|one| self.gone.contains(&one.id)).collect();
        assert!(back.is_empty(), "forgotten and there: {back:?}");
        for promise in &self.promises {
            let snapshot = list.snapshots.iter().find(|one| one.id == promise.id);
            let snapshot = snapshot.unwrap_or_else(|| panic!("{promise:?} is gone"));
            let found = restored(repository, snapshot).await.unwrap();
            assert!(found == files(&(self.tree)(promise.version)), "{promise:?} has other content");
        }
    }

    /// Everything that is stored is needed.
    async fn expect_nothing_else(&self, repository: &Repository) {
        let stored = objects(&self.target).await;
        let overview = repository.overview().await.unwrap();
        let history = &overview.history;
        let needed = history.forwarding.resolve(&history.references());
        let packs: PackSet = stored.keys().filter_map(layout::pack_of).collect();
        let garbage: Vec<_> = packs.iter().filter(|pack| !needed.contains(*pack)).collect();
        assert!(garbage.is_empty(), "nobody needs {garbage:?}");
        let missing: Vec<_> = needed.iter().filter(|pack| !packs.contains(*pack)).collect();
        assert!(missing.is_empty(), "packs are missing: {missing:?}");
        let counting = repository.counting_indexes(&overview).await.unwrap();
        let newest = overview.listing.newest_head();
        for name in overview.listing.names() {
            let is_needed = match name {
                MetaName::Session(_) => false,
                MetaName::Index(session, number) => counting.contains(&(session, number)),
                MetaName::Collector(number) => number == newest,
                _ => true,
            };
            assert!(is_needed, "nobody needs {name}");
        }
        for key in stored.keys() {
            let primary = ["parity/", "copies/1/", "copies/2/"]
                .iter()
                .find_map(|below| Some((*below, key.as_str().strip_prefix(below)?)));
            let Some((below, rest)) = primary else { continue };
            let primary =
                if below == "parity/" { format!("packs/{rest}") } else { rest.to_owned() };
            let is_there = stored.contains_key(&ObjectKey::parse(&primary).unwrap());
            assert!(is_there || self.orphans.contains(key.as_str()), "{key} stands alone");
        }
    }
}

/// All objects by key.
pub(crate) async fn objects(target: &SharedTarget) -> BTreeMap<ObjectKey, Bytes> {
    let mut objects = BTreeMap::new();
    for object in target.list_all(&KeyPrefix::all()).await.unwrap() {
        let content = target.get_full(&object.key).await.unwrap();
        objects.insert(object.key, content);
    }
    objects
}

/// Contents by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files of a tree.
pub(crate) fn files(source: &MemorySource) -> Files {
    let nodes = source.see().into_iter();
    let files = nodes.filter(|(_, node)| node.stat.kind == EntryKind::File);
    files.map(|(path, node)| (path.display(), node.content.to_vec())).collect()
}

/// The files of a snapshot, by a restore.
///
/// # Errors
/// Those of the restore, and `Damaged` if it left something out.
pub(crate) async fn restored(repository: &Repository, snapshot: &Snapshot) -> Result<Files> {
    let sink = MemorySink::new();
    let (options, monitor) = (RestoreOptions::default(), Arc::new(SilentMonitor));
    let place = Arc::new(sink.clone());
    let report = restore(repository, snapshot, place, &options, monitor).await?;
    if report.problem_count > 0 {
        return Err(Error::damaged(snapshot.id, format!("{:?}", report.problems)));
    }
    let seen = sink.see().into_iter().filter(|(_, seen)| seen.stat.kind == EntryKind::File);
    Ok(seen.map(|(path, seen)| (path.display(), seen.content())).collect())
}

/// Reads and checks everything.
pub(crate) async fn verified(repository: &Repository) -> Result<VerifyReport> {
    let options = VerifyOptions { read_data: ReadData::All, ..VerifyOptions::default() };
    verify(repository, &options, Arc::new(SilentMonitor)).await
}

async fn expect_sound(repository: &Repository) {
    let report = verified(repository).await.unwrap();
    assert!(report.damage.is_empty(), "{:#?}", report.damage);
}
