//! A sink in memory: a tree of inodes, with what a real one has and faults at will.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::stat;
use crate::{
    entry::{Details, Entry, EntryKind, FileTime, Stat, TreePath},
    source::{Sink, SinkDir, SinkFile, SinkRead},
};

/// The time of everything that nobody has set the time of.
const NOW: FileTime = FileTime { seconds: 9_999, nanoseconds: 9 };

/// A place in memory; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemorySink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tree: Mutex<Tree>,
    open_dirs: AtomicUsize,
    /// The most folders that were open at once.
    open_dirs_peak: AtomicUsize,
}

/// All inodes; the root is 1.
#[derive(Debug)]
struct Tree {
    nodes: HashMap<u64, Inode>,
    last: u64,
    faults: SinkFaults,
    written_bytes: u64,
}

/// What goes wrong.
#[derive(Debug, Default)]
pub(crate) struct SinkFaults {
    /// What the sink says about its room.
    pub(crate) available_bytes: Option<u64>,
    /// Writing fails for lack of room after so many bytes.
    pub(crate) room_bytes: Option<u64>,
    /// Folders without the owner's `x` cannot be gone through.
    pub(crate) enforces_modes: bool,
    /// Hard links fail.
    pub(crate) refuses_links: bool,
    /// Extended attributes cannot be set.
    pub(crate) refuses_xattrs: bool,
    /// Extended attributes are left out, without a word.
    pub(crate) leaves_out_xattrs: bool,
    /// The root folder is not there yet, and must not be made.
    pub(crate) is_absent: bool,
    /// Every read of an existing file comes back with a bit flipped.
    pub(crate) flips_reads: bool,
}

#[derive(Debug, Clone)]
struct Inode {
    stat: Stat,
    details: Details,
    /// Extents by offset; the rest are holes.
    extents: BTreeMap<u64, Vec<u8>>,
    children: BTreeMap<Vec<u8>, u64>,
}

/// One entry of a sink as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) stat: Stat,
    pub(crate) details: Details,
    /// Extents by offset.
    pub(crate) extents: BTreeMap<u64, Vec<u8>>,
}

impl Seen {
    /// The content of a file that fits in memory.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.stat.size as usize];
        for (offset, bytes) in &self.extents {
            content[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

impl MemorySink {
    pub(crate) fn new() -> Self {
        let mut tree = Tree {
            nodes: HashMap::new(),
            last: 0,
            faults: SinkFaults::default(),
            written_bytes: 0,
        };
        tree.add(EntryKind::Dir);
        Self(Arc::new(Shared {
            tree: Mutex::new(tree),
            open_dirs: AtomicUsize::new(0),
            open_dirs_peak: AtomicUsize::new(0),
        }))
    }

    /// Sets what goes wrong from now on.
    pub(crate) fn fail(&self, faults: SinkFaults) {
        self.0.tree().faults = faults;
    }

    /// The most folders that were open at once.
    pub(crate) fn open_dirs_peak(&self) -> usize {
        self.0.open_dirs_peak.load(Ordering::Relaxed)
    }

    /// Bytes that were written to files.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.0.tree().written_bytes
    }

    /// Puts a file there (and the folders that lead to it), as if somebody else had.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        let mut tree = self.0.tree();
        let (folder, name) = tree.make_way(path);
        let inode = tree.add(EntryKind::File);
        let node = tree.node(inode);
        node.stat.size = content.len() as u64;
        node.extents.insert(0, content.to_vec());
        tree.node(folder).children.insert(name, inode);
    }

    /// Puts a link there, as if somebody else had.
    pub(crate) fn put_link(&self, path: &str, target: &str) {
        let mut tree = self.0.tree();
        let (folder, name) = tree.make_way(path);
        let inode = tree.add(EntryKind::Symlink);
        tree.node(inode).details.link_target = Some(target.as_bytes().to_vec());
        tree.node(folder).children.insert(name, inode);
    }

    /// Changes what is there.
    pub(crate) fn edit(&self, path: &str, edit: impl FnOnce(&mut Stat, &mut Vec<u8>)) {
        let mut tree = self.0.tree();
        let inode = tree.find(path).unwrap();
        let node = tree.node(inode);
        let mut content = node.extents.remove(&0).unwrap_or_default();
        edit(&mut node.stat, &mut content);
        node.extents.insert(0, content);
    }

    /// Everything in it, by path.
    pub(crate) fn see(&self) -> BTreeMap<TreePath, Seen> {
        let tree = self.0.tree();
        let mut seen = BTreeMap::new();
        let mut pending = vec![(TreePath::root(), 1)];
        while let Some((path, inode)) = pending.pop() {
            let node = &tree.nodes[&inode];
            for (name, child) in &node.children {
                pending.push((path.join(name), *child));
            }
            if !path.is_root() {
                let (stat, details) = (node.stat, node.details.clone());
                seen.insert(path, Seen { stat, details, extents: node.extents.clone() });
            }
        }
        seen
    }

    /// What is at `path`.
    pub(crate) fn at(&self, path: &str) -> Option<Seen> {
        self.see().remove(&TreePath::parse(path.as_bytes()).unwrap())
    }
}

impl Shared {
    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap()
    }
}

impl Tree {
    fn add(&mut self, kind: EntryKind) -> u64 {
        self.last += 1;
        let stat = Stat { mtime: NOW, mode: 0o700, ..stat(kind, self.last, 0) };
        let (details, extents, children) = Default::default();
        self.nodes.insert(self.last, Inode { stat, details, extents, children });
        self.last
    }

    fn node(&mut self, inode: u64) -> &mut Inode {
        self.nodes.get_mut(&inode).unwrap()
    }

    fn find(&self, path: &str) -> Option<u64> {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        path.names().try_fold(1, |at, name| self.nodes[&at].children.get(name).copied())
    }

    fn make_way(&mut self, path: &str) -> (u64, Vec<u8>) {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        let (folder, name) = path.split_last().unwrap();
        let mut at = 1;
        for name in folder.names() {
            at = match self.nodes[&at].children.get(name) {
                Some(inode) => *inode,
                None => {
                    let inode = self.add(EntryKind::Dir);
                    self.node(at).children.insert(name.to_vec(), inode);
                    inode
                }
            };
        }
        (at, name.to_vec())
    }

    fn child(&self, folder: u64, name: &[u8]) -> Option<u64> {
        self.nodes[&folder].children.get(name).copied()
    }

    /// Puts something into a folder in place of anything but a folder.
    fn place(&mut self, folder: u64, name: &[u8], inode: u64) -> io::Result<()> {
        if let Some(before) = self.child(folder, name)
            && self.nodes[&before].stat.kind == EntryKind::Dir
        {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let folder = self.node(folder);
        folder.children.insert(name.to_vec(), inode);
        folder.stat.mtime = NOW;
        Ok(())
    }

    fn set(&mut self, inode: u64, entry: &Entry) -> Vec<String> {
        let leaves_out_xattrs = self.faults.leaves_out_xattrs;
        let refuses_xattrs = self.faults.refuses_xattrs && !entry.details.xattrs.is_empty();
        let node = self.node(inode);
        let (wanted, details) = (&entry.stat, &entry.details);
        node.stat.mode = wanted.mode;
        (node.stat.uid, node.stat.gid) = (wanted.uid, wanted.gid);
        node.stat.mtime = wanted.mtime;
        (node.details.user, node.details.group) = (details.user.clone(), details.group.clone());
        if refuses_xattrs {
            return vec!["extended attributes are not supported here".to_owned()];
        }
        if !leaves_out_xattrs {
            node.details.xattrs = details.xattrs.clone();
        }
        Vec::new()
    }
}

impl Sink for MemorySink {
    fn root(&self) -> io::Result<Arc<dyn SinkDir>> {
        assert!(!self.0.tree().faults.is_absent, "the root is made without need");
        Ok(Arc::new(MemoryDir::new(&self.0, 1)))
    }

    fn available_bytes(&self) -> Option<u64> {
        self.0.tree().faults.available_bytes
    }

    fn exists(&self) -> bool {
        !self.0.tree().faults.is_absent
    }

    fn leaves_out_xattrs(&self) -> bool {
        self.0.tree().faults.leaves_out_xattrs
    }
}

#[derive(Debug)]
struct MemoryDir {
    shared: Arc<Shared>,
    inode: u64,
}

impl MemoryDir {
    fn new(shared: &Arc<Shared>, inode: u64) -> Self {
        let open = shared.open_dirs.fetch_add(1, Ordering::Relaxed) + 1;
        shared.open_dirs_peak.fetch_max(open, Ordering::Relaxed);
        Self { shared: shared.clone(), inode }
    }

    /// The tree, if the folder may be gone through.
    fn enter(&self) -> io::Result<MutexGuard<'_, Tree>> {
        let tree = self.shared.tree();
        if tree.faults.enforces_modes && tree.nodes[&self.inode].stat.mode & 0o100 == 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(tree)
    }
}

impl Drop for MemoryDir {
    fn drop(&mut self) {
        self.shared.open_dirs.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SinkDir for MemoryDir {
    fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        Ok(self.enter()?.nodes[&self.inode].children.keys().cloned().collect())
    }

    fn stat(&self, name: &[u8]) -> io::Result<Option<Stat>> {
        let tree = self.enter()?;
        Ok(tree.child(self.inode, name).map(|inode| tree.nodes[&inode].stat))
    }

    fn details(&self, name: &[u8]) -> io::Result<Details> {
        let tree = self.enter()?;
        let inode = tree.child(self.inode, name).ok_or(io::ErrorKind::NotFound)?;
        Ok(tree.nodes[&inode].details.clone())
    }

    fn open_file(&self, name: &[u8]) -> io::Result<Box<dyn SinkRead>> {
        let tree = self.enter()?;
        let inode = tree.child(self.inode, name).ok_or(io::ErrorKind::NotFound)?;
        let node = tree.nodes[&inode].clone();
        let mut content = Seen { stat: node.stat, details: node.details, extents: node.extents };
        if tree.faults.flips_reads {
            content.extents.values_mut().for_each(|extent| extent[0] ^= 1);
        }
        Ok(Box::new(MemoryRead(content)))
    }

    fn open_dir(&self, name: &[u8], replace: bool) -> io::Result<(Arc<dyn SinkDir>, bool)> {
        let mut tree = self.enter()?;
        let found = tree.child(self.inode, name);
        let is_dir = found.is_some_and(|inode| tree.nodes[&inode].stat.kind == EntryKind::Dir);
        let (inode, is_new) = match found {
            Some(inode) if is_dir => (inode, false),
            Some(_) if !replace => return Err(io::ErrorKind::NotADirectory.into()),
            _ => {
                let inode = tree.add(EntryKind::Dir);
                tree.place(self.inode, name, inode)?;
                (inode, true)
            }
        };
        drop(tree);
        Ok((Arc::new(MemoryDir::new(&self.shared, inode)), is_new))
    }

    fn create_file(&self, name: &[u8], size: u64) -> io::Result<Box<dyn SinkFile>> {
        let mut tree = self.enter()?;
        let inode = tree.add(EntryKind::File);
        tree.node(inode).stat.size = size;
        // unfinished files can be seen, as on a real system
        let temporary = format!(".restoring-{inode}").into_bytes();
        tree.place(self.inode, &temporary, inode)?;
        let (shared, folder) = (self.shared.clone(), self.inode);
        Ok(Box::new(MemoryFile { shared, folder, inode, temporary, name: name.to_vec() }))
    }

    fn create_special(&self, entry: &Entry) -> io::Result<()> {
        let mut tree = self.enter()?;
        let inode = tree.add(entry.stat.kind);
        let node = tree.node(inode);
        node.stat.device_number = entry.stat.device_number;
        node.details.link_target = entry.details.link_target.clone();
        tree.place(self.inode, &entry.name, inode)
    }

    fn create_hard_link(
        &self,
        name: &[u8],
        folder: &dyn SinkDir,
        original: &[u8],
    ) -> io::Result<()> {
        let mut tree = self.enter()?;
        if tree.faults.refuses_links {
            return Err(io::ErrorKind::TooManyLinks.into());
        }
        let folder = folder.as_any().downcast_ref::<Self>().unwrap().inode;
        let inode = tree.child(folder, original).ok_or(io::ErrorKind::NotFound)?;
        tree.node(inode).stat.links += 1;
        tree.place(self.inode, name, inode)
    }

    fn set_metadata(&self, name: &[u8], entry: &Entry) -> Vec<String> {
        match self.enter() {
            Ok(mut tree) => match tree.child(self.inode, name) {
                Some(inode) => tree.set(inode, entry),
                None => vec!["it is not there".to_owned()],
            },
            Err(error) => vec![error.to_string()],
        }
    }

    fn remove(&self, name: &[u8]) -> io::Result<()> {
        let mut tree = self.enter()?;
        let folder = tree.node(self.inode);
        folder.stat.mtime = NOW;
        folder.children.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[derive(Debug)]
struct MemoryFile {
    shared: Arc<Shared>,
    folder: u64,
    inode: u64,
    temporary: Vec<u8>,
    name: Vec<u8>,
}

impl SinkFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut tree = self.shared.tree();
        tree.written_bytes += bytes.len() as u64;
        if tree.faults.room_bytes.is_some_and(|room| tree.written_bytes > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = tree.node(self.inode);
        assert!(offset + bytes.len() as u64 <= node.stat.size, "a write past the end");
        node.stat.allocated_bytes += bytes.len() as u64;
        assert!(node.extents.insert(offset, bytes.to_vec()).is_none(), "written twice");
        Ok(())
    }

    fn finish(self: Box<Self>, entry: &Entry) -> io::Result<Vec<String>> {
        let mut tree = self.shared.tree();
        let notes = tree.set(self.inode, entry);
        tree.place(self.folder, &self.name, self.inode)?;
        drop(tree);
        Ok(notes)
    }
}

/// What is unfinished vanishes; after finishing, only the temporary name does.
impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.shared.tree().node(self.folder).children.remove(&self.temporary);
    }
}

struct MemoryRead(Seen);

impl SinkRead for MemoryRead {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.0.stat.size.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        buffer[..length].fill(0);
        let end = offset + length as u64;
        for (start, bytes) in self.0.extents.range(..end) {
            let (from, to) = ((*start).max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                buffer[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(length)
    }
}
