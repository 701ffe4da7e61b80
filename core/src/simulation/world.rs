//! What a simulation holds: the repository, what was promised to its users, and whether it was
//! kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use tokio::sync::Notify;

use super::{
    dice::{Dice, SeededRandomness, SimulatedClock, in_lane},
    network::{Door, LATE_MAX, Network, Weather},
};
use crate::{
    chunker::ChunkParams,
    crypto::KdfCost,
    entry::{EntryKind, TreePath},
    error::{ErrorKind, Result},
    format::descriptor::Settings,
    id::{ClientId, SessionId},
    look,
    monitor::SilentMonitor,
    packset::PackSet,
    prune::{PruneOptions, UnusedMax, prune},
    repository::{Credential, InitOptions, Repository, Storage, layout},
    runtime::{Runtime, Timestamp},
    target::{
        MemoryTarget, SharedTarget, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
    testing::world::password,
};

/// Files by path, as a snapshot must give them back.
pub(super) type Tree = BTreeMap<TreePath, Arc<Vec<u8>>>;

/// The lane of what happens before and after everything else.
const QUIET_LANE: u64 = 15;

/// What happened: a simulation in which nothing goes wrong proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Snapshots whose writer was told that they stand.
    pub(super) snapshots: u64,
    /// Backups that a collector had given up, and prunes that another one took over.
    pub(super) fenced: u64,
    /// Processes that were killed, and that failed for another reason.
    pub(super) killed: u64,
    pub(super) failed: u64,
    /// Prunes that came to their end, and those that took another one over.
    pub(super) prunes: u64,
    pub(super) taken_over: u64,
    pub(super) packs_removed: u64,
    pub(super) packs_rewritten: u64,
    /// Repositories whose index was written anew.
    pub(super) bases: u64,
}

impl Tally {
    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            snapshots: self.snapshots + other.snapshots,
            fenced: self.fenced + other.fenced,
            killed: self.killed + other.killed,
            failed: self.failed + other.failed,
            prunes: self.prunes + other.prunes,
            taken_over: self.taken_over + other.taken_over,
            packs_removed: self.packs_removed + other.packs_removed,
            packs_rewritten: self.packs_rewritten + other.packs_rewritten,
            bases: self.bases + other.bases,
        }
    }
}

/// A snapshot that its writer was told of.
struct Promise {
    tree: Tree,
    /// Somebody began to forget it.
    is_doomed: bool,
}

/// One simulation.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) network: Arc<Network>,
    pub(super) weather: Weather,
    /// The longest pause between two runs of an actor.
    pub(super) pause_max: Duration,
    promises: Mutex<BTreeMap<SessionId, Promise>>,
    tally: Mutex<Tally>,
}

/// Who runs a process: an actor, and which of its processes it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessId {
    pub(super) lane: u64,
    pub(super) number: u64,
}

impl World {
    /// An empty repository. `is_told` keeps a log that can be read.
    pub(super) async fn new(seed: u64, is_told: bool) -> Arc<Self> {
        let dice = Dice::new(&[seed]);
        let world = Arc::new(Self {
            seed,
            network: Network::new(is_told),
            weather: Weather::of(&dice),
            pause_max: Duration::from_secs(60 << dice.below(9)),
            promises: Mutex::default(),
            tally: Mutex::default(),
        });
        let (door, _) = world.door(ProcessId { lane: QUIET_LANE, number: 0 }, Weather::CALM);
        let mut settings = Settings::new(Timestamp(0));
        settings.chunking = ChunkParams::content_defined(1 << 10, 4 << 10, 16 << 10).unwrap();
        settings.pack_target_bytes = 1 << 20;
        let kdf = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
        let options = InitOptions { kdf, settings, trusts_create: true, parity: Some(false) };
        let runtime = world.runtime(ProcessId { lane: QUIET_LANE, number: 0 });
        Repository::init(door, runtime, &password(), &options).await.unwrap();
        world
    }

    fn runtime(&self, process: ProcessId) -> Runtime {
        let ProcessId { lane, number } = process;
        let clock = SimulatedClock { start: self.network.start, lane, seed: self.seed };
        let randomness = SeededRandomness::new(&[self.seed, lane, number]);
        Runtime { clock: Arc::new(clock), randomness: Arc::new(randomness) }
    }

    fn door(&self, process: ProcessId, weather: Weather) -> (SharedTarget, Arc<Notify>) {
        let killed = Arc::new(Notify::new());
        let door = Arc::new(Door {
            network: self.network.clone(),
            lane: process.lane,
            weather,
            dice: Dice::new(&[self.seed, process.lane, process.number]),
            killed: killed.clone(),
            frozen_until: Mutex::default(),
        });
        let target = RetryLayer::new(door, RetryConfig::default(), self.runtime(process));
        (Arc::new(target), killed)
    }

    /// Runs `work` in a process of its own; `None` if it was killed.
    pub(super) async fn process<T>(
        &self,
        process: ProcessId,
        cache: Option<Arc<MemoryTarget>>,
        work: impl AsyncFnOnce(Repository) -> Result<T>,
    ) -> Option<Result<T>> {
        let (target, killed) = self.door(process, self.weather);
        let cache = cache.map(|cache| cache as SharedTarget);
        let storage = Storage { cache, ..Storage::from(target) };
        let running = async {
            let credential = Credential::Password(password());
            work(Repository::open(storage, self.runtime(process), &credential).await?).await
        };
        let done = tokio::select! {
            biased;
            () = killed.notified() => None,
            done = running => Some(done),
        };
        self.count(|tally| match &done {
            None => tally.killed += 1,
            Some(Err(error)) if error.kind() == ErrorKind::Conflict => tally.fenced += 1,
            Some(Err(_)) => tally.failed += 1,
            Some(Ok(_)) => {}
        });
        done
    }

    /// Notes what happened.
    pub(super) fn count(&self, note: impl FnOnce(&mut Tally)) {
        note(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What happened so far.
    pub(super) fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time go by.
    pub(super) async fn pause(&self, lane: u64, duration: Duration) {
        in_lane(self.network.start, lane, duration).await;
    }

    fn promises(&self) -> MutexGuard<'_, BTreeMap<SessionId, Promise>> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A writer was told that its snapshot stands.
    pub(super) fn promise(&self, snapshot: SessionId, tree: Tree) {
        self.count(|tally| tally.snapshots += 1);
        self.promises().insert(snapshot, Promise { tree, is_doomed: false });
    }

    /// One of the snapshots that stand, about to be forgotten.
    pub(super) fn doom(&self, dice: &Dice) -> Option<SessionId> {
        let mut promises = self.promises();
        let standing = promises.values().filter(|promise| !promise.is_doomed).count() as u64;
        let chosen = dice.below(standing) as usize;
        let mut standing = promises.iter_mut().filter(|(_, promise)| !promise.is_doomed);
        let (snapshot, promise) = standing.nth(chosen)?;
        promise.is_doomed = true;
        Some(*snapshot)
    }

    /// Waits until nothing is under way any more, prunes in peace, and looks at what is there.
    pub(super) async fn settle(&self) {
        self.pause(QUIET_LANE, LATE_MAX * 3).await;
        let process = ProcessId { lane: QUIET_LANE, number: 1 };
        let (target, _) = self.door(process, Weather::CALM);
        let credential = Credential::Password(password());
        let open = Repository::open(target, self.runtime(process), &credential);
        let repository = open.await.unwrap();
        for _ in 0..2 {
            let options = PruneOptions {
                unused_max: UnusedMax::Unlimited,
                client: ClientId([0xff; 16]),
                ..PruneOptions::default()
            };
            prune(&repository, &options, Arc::new(SilentMonitor)).await.unwrap();
        }
        let overview = repository.overview().await.unwrap();
        self.count(|tally| tally.bases += u64::from(overview.view.head().base.is_some()));
        self.expect_promises_kept(&repository).await;
        expect_no_garbage(&repository).await;
    }

    async fn expect_promises_kept(&self, repository: &Repository) {
        let list = repository.snapshots().await.unwrap();
        assert!(list.damaged.is_empty(), "{:?}", list.damaged);
        let promises = std::mem::take(&mut *self.promises());
        for (id, promise) in promises.into_iter().filter(|(_, promise)| !promise.is_doomed) {
            let snapshot = list.snapshots.iter().find(|snapshot| snapshot.id == id);
            let snapshot = snapshot.unwrap_or_else(|| panic!("snapshot {id} is gone"));
            let found = read_back(repository, snapshot).await;
            let found = found.unwrap_or_else(|error| panic!("snapshot {id}: {error:?}"));
            assert!(found == promise.tree, "snapshot {id} came back with other content");
        }
    }
}

async fn read_back(
    repository: &Repository,
    snapshot: &crate::repository::Snapshot,
) -> Result<Tree> {
    let entries: Vec<_> =
        look::list(repository, snapshot, &TreePath::root(), true).try_collect().await?;
    let mut tree = Tree::new();
    for (path, entry) in entries.iter().filter(|(_, entry)| entry.stat.kind == EntryKind::File) {
        let blocks: Vec<_> = look::read_file(repository, entry).try_collect().await?;
        tree.insert(path.clone(), Arc::new(blocks.concat()));
    }
    Ok(tree)
}

/// Every pack that is stored is needed, and every one that is needed is stored.
async fn expect_no_garbage(repository: &Repository) {
    let overview = repository.overview().await.unwrap();
    let history = &overview.history;
    let needed = history.forwarding.resolve(&history.references());
    let objects = repository.target().list_all(&layout::prefix(layout::PACKS).unwrap()).await;
    let stored: PackSet =
        objects.unwrap().iter().filter_map(|object| layout::pack_of(&object.key)).collect();
    let garbage: Vec<_> = stored.iter().filter(|pack| !needed.contains(*pack)).collect();
    assert!(garbage.is_empty(), "nobody needs {garbage:?}");
    let missing: Vec<_> = needed.iter().filter(|pack| !stored.contains(*pack)).collect();
    assert!(missing.is_empty(), "packs are missing: {missing:?}");
}
