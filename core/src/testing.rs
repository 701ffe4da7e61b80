//! What the tests of operations share: a source in memory, and a repository in memory with
//! backups of it.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::{
    backup::{BackupOptions, BackupReport, Parent, backup},
    chunker::ChunkParams,
    crypto::KdfCost,
    entry::{Details, EntryKind, FileTime, Stat, TreePath},
    format::descriptor::Settings,
    id::ClientId,
    monitor::SilentMonitor,
    repository::{InitOptions, Repository, Snapshot, SnapshotKind},
    runtime::{Clock, Randomness, Runtime, Timestamp},
    source::{Batch, Folder, Found, Scan, Source, SourceFile},
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

    async fn sleep(&self, _: Duration) {}
}

/// Bytes that do not compress and differ for every `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The path made of `text`.
pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).unwrap()
}

/// A tree in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemorySource {
    nodes: BTreeMap<TreePath, Node>,
    changes: i64,
}

#[derive(Debug, Clone)]
struct Node {
    stat: Stat,
    details: Details,
    /// Stretches of data; what lies between is a hole.
    data: Arc<Vec<(u64, Vec<u8>)>>,
}

impl MemorySource {
    /// Puts a file there, and the folders that lead to it.
    pub(crate) fn file(&mut self, at: &str, content: impl Into<Vec<u8>>) -> &mut Self {
        let content = content.into();
        self.sparse_file(at, content.len() as u64, vec![(0, content)])
    }

    /// Puts a file of `size` bytes there, with data in some places.
    pub(crate) fn sparse_file(
        &mut self,
        at: &str,
        size: u64,
        data: Vec<(u64, Vec<u8>)>,
    ) -> &mut Self {
        let node = self.node(at, EntryKind::File);
        node.stat.size = size;
        node.stat.allocated_bytes = data.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        node.data = Arc::new(data);
        self
    }

    /// Puts a folder there.
    pub(crate) fn dir(&mut self, at: &str) -> &mut Self {
        self.node(at, EntryKind::Dir);
        self
    }

    /// Puts a link there.
    pub(crate) fn symlink(&mut self, at: &str, target: &str) -> &mut Self {
        self.node(at, EntryKind::Symlink).details.link_target = Some(target.into());
        self
    }

    /// Changes the permissions of what is there.
    pub(crate) fn mode(&mut self, at: &str, mode: u32) -> &mut Self {
        let changes = self.next_change();
        let node = self.nodes.get_mut(&path(at)).unwrap();
        node.stat.mode = mode;
        node.stat.ctime.seconds = changes;
        self
    }

    /// Removes what is there, and all below it.
    pub(crate) fn remove(&mut self, at: &str) -> &mut Self {
        let top = path(at);
        self.nodes.retain(|path, _| !path.is_within(&top));
        self
    }

    fn next_change(&mut self) -> i64 {
        self.changes += 1;
        self.changes
    }

    fn node(&mut self, at: &str, kind: EntryKind) -> &mut Node {
        let at = path(at);
        if let Some((folder, _)) = at.split_last()
            && !folder.is_root()
            && !self.nodes.contains_key(&folder)
        {
            self.node(&String::from_utf8(folder.as_bytes().to_vec()).unwrap(), EntryKind::Dir);
        }
        let time = FileTime { seconds: self.next_change(), nanoseconds: 5 };
        let stat = Stat {
            kind,
            mode: 0o640,
            uid: 1,
            gid: 2,
            size: 0,
            allocated_bytes: 0,
            mtime: time,
            ctime: time,
            inode: time.seconds as u64,
            device: 7,
            links: 1,
            device_number: 0,
        };
        let node = Node { stat, details: Details::default(), data: Arc::default() };
        self.nodes.entry(at).insert_entry(node).into_mut()
    }

    fn batch(&self, folder: TreePath) -> Batch {
        let inside = self.nodes.iter().filter_map(|(path, node)| {
            let (parent, name) = path.split_last()?;
            (parent == folder).then(|| (name.to_vec(), node.clone()))
        });
        let nodes: BTreeMap<Vec<u8>, Node> = inside.collect();
        let found = nodes.iter().map(|(name, node)| Found { name: name.clone(), stat: node.stat });
        let entries = found.collect();
        Batch { path: folder, entries, folder: Arc::new(MemoryFolder(nodes)), problems: vec![] }
    }
}

impl Source for MemorySource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let dirs = self.nodes.iter().filter(|(_, node)| node.stat.kind == EntryKind::Dir);
        let mut folders = vec![TreePath::root()];
        folders.extend(dirs.map(|(path, _)| path.clone()));
        folders.reverse();
        Ok(Box::new(MemoryScan { source: self, folders }))
    }

    fn roots(&self) -> Vec<String> {
        vec!["/memory".to_owned()]
    }
}

struct MemoryScan<'a> {
    source: &'a MemorySource,
    folders: Vec<TreePath>,
}

impl Scan for MemoryScan<'_> {
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        Ok(self.folders.pop().map(|folder| self.source.batch(folder)))
    }
}

#[derive(Debug)]
struct MemoryFolder(BTreeMap<Vec<u8>, Node>);

impl Folder for MemoryFolder {
    fn details(&self, found: &Found) -> io::Result<Details> {
        Ok(self.0[&found.name].details.clone())
    }

    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>> {
        let node = self.0[&found.name].clone();
        let end = node.stat.size;
        Ok(Box::new(MemoryFile { node, position: 0, end }))
    }
}

struct MemoryFile {
    node: Node,
    position: u64,
    end: u64,
}

impl MemoryFile {
    fn byte(&self, at: u64) -> u8 {
        let inside = |(start, data): &(u64, Vec<u8>)| {
            at.checked_sub(*start).and_then(|offset| data.get(offset as usize).copied())
        };
        self.node.data.iter().find_map(inside).unwrap_or(0)
    }
}

impl SourceFile for MemoryFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min((self.end - self.position) as usize);
        let start = self.position;
        match self.node.data.iter().find(|(at, data)| {
            (*at..*at + data.len() as u64).contains(&start) && start + count as u64 <= at + data.len() as u64
        }) {
            Some((at, data)) => {
                buffer[..count].copy_from_slice(&data[(start - at) as usize..][..count]);
            }
            None => (0..count).for_each(|i| buffer[i] = self.byte(start + i as u64)),
        }
        self.position += count as u64;
        Ok(count)
    }

    fn next_extent(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let extents = self.node.data.iter().map(|(at, data)| *at..*at + data.len() as u64);
        let next = extents.filter(|extent| extent.end > offset).min_by_key(|extent| extent.start);
        let next = next.map(|extent| extent.start.max(offset)..extent.end);
        if let Some(extent) = &next {
            (self.position, self.end) = (extent.start, extent.end);
        }
        Ok(next)
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(Some(self.node.stat))
    }
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
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        let clock = Arc::new(MinuteClock(AtomicI64::new(1_700_000_000_000_000_000)));
        let runtime = Runtime { clock, randomness: Arc::new(Counting) };
        let mut settings = Settings::new(Timestamp(0));
        settings.chunking = ChunkParams::content_defined(1 << 10, 4 << 10, 16 << 10).unwrap();
        settings.pack_target_bytes = 1 << 20;
        let kdf = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
        let password = Zeroizing::new(b"password".to_vec());
        let options = InitOptions { kdf, settings };
        let (repository, _) =
            Repository::init(target.clone(), runtime, &password, &options).await.unwrap();
        Self { target, repository }
    }

    /// Backs `source` up.
    pub(crate) async fn try_backup(
        &self,
        source: &MemorySource,
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
        backup(&self.repository, Arc::new(source.clone()), &options, Arc::new(SilentMonitor)).await
    }

    /// Backs `source` up and gives the snapshot.
    pub(crate) async fn backup(&self, source: &MemorySource) -> Snapshot {
        let id = self.try_backup(source).await.unwrap().snapshot.unwrap();
        let snapshots = self.repository.snapshots().await.unwrap().snapshots;
        snapshots.into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }
}
