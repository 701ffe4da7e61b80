//! Doubles for tests: a source and a sink in memory. Not part of the library.

pub(crate) mod sink;
pub(crate) mod stage;
pub(crate) mod world;

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    entry::{Details, EntryKind, FileTime, Stat, TreePath},
    source::{Batch, Folder, Found, Scan, Source, SourceFile},
};

/// A tree in memory that counts how often files are opened, and what is read of them.
#[derive(Debug, Default)]
pub(crate) struct MemorySource {
    nodes: Mutex<BTreeMap<TreePath, MemoryNode>>,
    pub(crate) opened: Arc<AtomicU64>,
    pub(crate) read_bytes: Arc<AtomicU64>,
}

/// One entry: its stat, and the content of a file.
#[derive(Debug, Clone)]
pub(crate) struct MemoryNode {
    pub(crate) stat: Stat,
    pub(crate) content: Arc<Vec<u8>>,
    /// What the source tells beyond the stat; the owner's name is made from the uid.
    pub(crate) details: Details,
    /// Reading it fails.
    pub(crate) is_unreadable: bool,
}

/// A stat with times long ago.
pub(crate) fn stat(kind: EntryKind, inode: u64, size: u64) -> Stat {
    let time = FileTime { seconds: 1_000, nanoseconds: inode as u32 };
    Stat {
        kind,
        mode: if kind == EntryKind::Dir { 0o755 } else { 0o644 },
        uid: 1,
        gid: 2,
        size,
        allocated_bytes: size,
        mtime: time,
        ctime: time,
        inode,
        device: 7,
        links: 1,
        device_number: 0,
    }
}

impl MemorySource {
    /// Adds a file (and the folders that lead to it), or changes it: a new ctime tells.
    pub(crate) fn put(&self, path: &str, content: Vec<u8>) {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        let mut nodes = self.nodes.lock().unwrap();
        let mut inode = 1 + nodes.len() as u64;
        let mut folder = path.split_last().map(|(folder, _)| folder);
        while let Some(up) = folder.filter(|folder| !folder.is_root()) {
            inode += 1;
            nodes.entry(up.clone()).or_insert_with(|| MemoryNode {
                stat: stat(EntryKind::Dir, inode, 0),
                content: Arc::default(),
                details: Details::default(),
                is_unreadable: false,
            });
            folder = up.split_last().map(|(folder, _)| folder);
        }
        let mut its_stat = stat(EntryKind::File, inode + 1_000_000, content.len() as u64);
        if let Some(before) = nodes.get(&path) {
            its_stat.ctime.nanoseconds = before.stat.ctime.nanoseconds + 1;
        }
        let (content, details) = (Arc::new(content), Details::default());
        nodes.insert(path, MemoryNode { stat: its_stat, content, details, is_unreadable: false });
    }

    /// Adds something without content, or an empty folder.
    pub(crate) fn put_other(&self, path: &str, kind: EntryKind, link_target: Option<&str>) {
        self.put(path, Vec::new());
        self.edit(path, |node| {
            node.stat.kind = kind;
            node.details.link_target = link_target.map(|target| target.as_bytes().to_vec());
        });
    }

    /// Everything in it, by path, with what [`Folder::details`] tells.
    pub(crate) fn see(&self) -> BTreeMap<TreePath, MemoryNode> {
        let mut nodes = self.nodes.lock().unwrap().clone();
        nodes.values_mut().for_each(|node| node.details = node.details());
        nodes
    }

    /// Changes a node as it is.
    pub(crate) fn edit(&self, path: &str, edit: impl FnOnce(&mut MemoryNode)) {
        let path = TreePath::parse(path.as_bytes()).unwrap();
        edit(self.nodes.lock().unwrap().get_mut(&path).unwrap());
    }

    /// Removes a node.
    pub(crate) fn remove(&self, path: &str) {
        self.nodes.lock().unwrap().remove(&TreePath::parse(path.as_bytes()).unwrap());
    }
}

impl MemoryNode {
    fn details(&self) -> Details {
        let user = Some(format!("user{}", self.stat.uid).into_bytes());
        Details { user, ..self.details.clone() }
    }
}

impl Source for MemorySource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let nodes = self.nodes.lock().unwrap().clone();
        let mut folders: BTreeMap<TreePath, BTreeMap<Vec<u8>, MemoryNode>> = BTreeMap::new();
        folders.entry(TreePath::root()).or_default();
        for (path, node) in nodes {
            if node.stat.kind == EntryKind::Dir {
                folders.entry(path.clone()).or_default();
            }
            let (folder, name) = path.split_last().unwrap();
            folders.entry(folder).or_default().insert(name.to_vec(), node);
        }
        let (opened, read_bytes) = (self.opened.clone(), self.read_bytes.clone());
        Ok(Box::new(MemoryScan { folders: folders.into_iter(), opened, read_bytes }))
    }

    fn roots(&self) -> Vec<String> {
        vec!["/".to_owned()]
    }
}

struct MemoryScan {
    folders: std::collections::btree_map::IntoIter<TreePath, BTreeMap<Vec<u8>, MemoryNode>>,
    opened: Arc<AtomicU64>,
    read_bytes: Arc<AtomicU64>,
}

impl Scan for MemoryScan {
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let Some((path, nodes)) = self.folders.next() else { return Ok(None) };
        let entries = nodes
            .iter()
            .map(|(name, node)| Found { name: name.clone(), stat: node.stat })
            .collect();
        let (opened, read_bytes) = (self.opened.clone(), self.read_bytes.clone());
        let folder = Arc::new(MemoryFolder { nodes, opened, read_bytes });
        Ok(Some(Batch { path, entries, folder, problems: Vec::new() }))
    }
}

#[derive(Debug)]
struct MemoryFolder {
    nodes: BTreeMap<Vec<u8>, MemoryNode>,
    opened: Arc<AtomicU64>,
    read_bytes: Arc<AtomicU64>,
}

impl Folder for MemoryFolder {
    fn details(&self, found: &Found) -> io::Result<Details> {
        Ok(self.nodes[&found.name].details())
    }

    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let node = self.nodes[&found.name].clone();
        if node.is_unreadable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let read_bytes = self.read_bytes.clone();
        Ok(Box::new(MemoryFile { node, offset: 0, end: u64::MAX, read_bytes }))
    }
}

/// Runs of zeros of a block and more count as holes in nodes whose `allocated_bytes` says so.
struct MemoryFile {
    node: MemoryNode,
    offset: u64,
    end: u64,
    read_bytes: Arc<AtomicU64>,
}

const BLOCK: usize = 4096;

impl SourceFile for MemoryFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = &self.node.content;
        let end = (self.end as usize).min(content.len());
        let rest = &content[(self.offset as usize).min(end)..end];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.offset += count as u64;
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn next_extent(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let content = self.node.content.clone();
        let blocks = content.len().div_ceil(BLOCK);
        let is_data = |block: &usize| {
            let end = ((block + 1) * BLOCK).min(content.len());
            content[block * BLOCK..end].iter().any(|byte| *byte != 0)
        };
        let first = offset as usize / BLOCK;
        let Some(start) = (first..blocks).find(is_data) else { return Ok(None) };
        let end = (start..blocks).find(|block| !is_data(block)).unwrap_or(blocks);
        let start = ((start * BLOCK) as u64).max(offset);
        let end = ((end * BLOCK) as u64).min(content.len() as u64);
        (self.offset, self.end) = (start, end);
        Ok(Some(start..end))
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(Some(self.node.stat))
    }
}
