//! The folders of a sink, opened one below the other: few are open at a time, all can be
//! reached.
//!
//! A [`Folder`] is a name below a parent, so that a tree 5,000 deep needs neither long paths nor
//! many descriptors; a closed one is opened again through its parents when it is needed. Knows
//! nothing of what is restored into them.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::lock;
use crate::{
    entry::{TreePath, display_name},
    source::SinkDir,
};

/// Folders kept open, the root apart.
const OPEN_MAX: usize = 64;

/// Names a folder or entry in few bytes: a hash over the names that lead to it.
pub(super) type PathKey = u128;

/// A folder of the sink.
#[derive(Debug)]
pub(super) struct Folder {
    parent: Option<Arc<Folder>>,
    name: Vec<u8>,
    key: PathKey,
    open: Mutex<Option<Arc<dyn SinkDir>>>,
    /// Whether it was asked for since it was last considered for closing.
    is_used: AtomicBool,
}

impl Folder {
    fn new(parent: Option<Arc<Self>>, name: Vec<u8>, key: PathKey) -> Arc<Self> {
        Arc::new(Self { parent, name, key, open: Mutex::default(), is_used: AtomicBool::default() })
    }

    /// The folder `name` in `parent`; nothing is opened yet.
    pub(super) fn child(parent: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        Self::new(Some(parent.clone()), name.to_vec(), parent.key_of(name))
    }

    /// The folder that it is in; `None` for the root.
    pub(super) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// Its name there.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// What stands for this folder in sets.
    pub(super) fn key(&self) -> PathKey {
        self.key
    }

    /// What stands for the entry `name` of this folder in sets.
    pub(super) fn key_of(&self, name: &[u8]) -> PathKey {
        let digest = blake3::Hasher::new().update(&self.key.to_le_bytes()).update(name).finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest.as_bytes()[..16]);
        PathKey::from_le_bytes(key)
    }

    /// The path for people of the entry `name` of this folder, or of the folder itself if that is
    /// empty. `base` is the path of the root.
    pub(super) fn display(&self, base: &TreePath, name: &[u8]) -> String {
        let mut names = Vec::new();
        if !name.is_empty() {
            names.push(name);
        }
        let mut folder = self;
        while let Some(parent) = &folder.parent {
            names.push(&folder.name);
            folder = parent;
        }
        if !base.is_root() {
            names.push(base.as_bytes());
        }
        names.reverse();
        let path = names.join(&b'/');
        if path.is_empty() { "/".to_owned() } else { display_name(&path) }
    }

    fn opened(&self) -> Option<Arc<dyn SinkDir>> {
        let open = lock(&self.open).clone();
        if open.is_some() {
            self.is_used.store(true, Ordering::Relaxed);
        }
        open
    }
}

/// A chain of thousands of parents is taken apart one by one, not by recursion.
impl Drop for Folder {
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut folder) = next.and_then(Arc::into_inner) {
            next = folder.parent.take();
        }
    }
}

/// The root of a sink and the folders that are open now.
#[derive(Debug)]
pub(super) struct Folders {
    root: Arc<Folder>,
    open: Mutex<VecDeque<Arc<Folder>>>,
}

impl Folders {
    /// The folders below `root`; `None` if it does not exist and is not to be created, which
    /// makes everything in it absent.
    pub(super) fn new(root: Option<Arc<dyn SinkDir>>) -> Self {
        let folder = Folder::new(None, Vec::new(), 0);
        *lock(&folder.open) = root;
        Self { root: folder, open: Mutex::default() }
    }

    /// The folder that everything is restored into.
    pub(super) fn root(&self) -> &Arc<Folder> {
        &self.root
    }

    /// Opens `folder`, and what leads to it, as far as it is not open. A folder that is missing
    /// is created; anything else in its place fails.
    pub(super) fn open(&self, folder: &Arc<Folder>) -> io::Result<Arc<dyn SinkDir>> {
        if let Some(open) = folder.opened() {
            return Ok(open);
        }
        let mut closed = vec![folder];
        let mut current = loop {
            let parent = closed.last().and_then(|folder| folder.parent.as_ref());
            let parent = parent.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            match parent.opened() {
                Some(open) => break open,
                None => closed.push(parent),
            }
        };
        while let Some(next) = closed.pop() {
            current = current.open_dir(&next.name, false)?.0;
            self.keep(next, &current);
        }
        Ok(current)
    }

    /// Remembers `dir` as the open folder, closing another one where too many are open.
    pub(super) fn keep(&self, folder: &Arc<Folder>, dir: &Arc<dyn SinkDir>) {
        *lock(&folder.open) = Some(dir.clone());
        let mut open = lock(&self.open);
        open.push_back(folder.clone());
        // each round closes a folder or takes a mark away, so this ends
        while open.len() > OPEN_MAX {
            let Some(oldest) = open.pop_front() else { break };
            if oldest.is_used.swap(false, Ordering::Relaxed) {
                open.push_back(oldest);
            } else {
                *lock(&oldest.open) = None;
            }
        }
    }
}

/// The folders from the root to where a walk over a table is, with something kept for each.
#[derive(Debug)]
pub(super) struct Trail<T> {
    levels: Vec<Level<T>>,
    /// Path of the last level, relative to the root.
    path: Vec<u8>,
}

/// One folder of a trail.
#[derive(Debug)]
pub(super) struct Level<T> {
    pub(super) folder: Arc<Folder>,
    pub(super) data: T,
    /// Length of its path.
    end: usize,
}

impl<T> Trail<T> {
    pub(super) fn new(root: Arc<Folder>, data: T) -> Self {
        Self { levels: vec![Level { folder: root, data, end: 0 }], path: Vec::new() }
    }

    /// How many levels there are; the root is always there.
    pub(super) fn len(&self) -> usize {
        self.levels.len()
    }

    pub(super) fn get(&self, depth: usize) -> Option<&Level<T>> {
        self.levels.get(depth)
    }

    pub(super) fn get_mut(&mut self, depth: usize) -> Option<&mut Level<T>> {
        self.levels.get_mut(depth)
    }

    pub(super) fn last(&self) -> Option<&Level<T>> {
        self.levels.last()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Level<T>> {
        self.levels.last_mut()
    }

    /// True if the trail ends in `path`.
    pub(super) fn is_at(&self, path: &[u8]) -> bool {
        self.path == path
    }

    /// Path of the last level, relative to the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// True if the last level is `path` or leads there.
    pub(super) fn leads_to(&self, path: &[u8]) -> bool {
        path.strip_prefix(self.path.as_slice())
            .is_some_and(|rest| self.path.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Takes the last level off, unless it is the root.
    pub(super) fn leave(&mut self) -> Option<Level<T>> {
        if self.levels.len() == 1 {
            return None;
        }
        let left = self.levels.pop();
        self.path.truncate(self.levels.last().map_or(0, |level| level.end));
        left
    }

    /// The name of the next folder on the way to `path`, which the trail leads to.
    pub(super) fn next_name<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        let rest = path.get(self.path.len()..)?;
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        rest.split(|byte| *byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// Goes one folder down.
    pub(super) fn enter(&mut self, folder: Arc<Folder>, name: &[u8], data: T) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        self.levels.push(Level { folder, data, end: self.path.len() });
    }

    /// Goes to `path` where nothing more has to be known of folders than their parent.
    pub(super) fn go_to(
        &mut self,
        path: &[u8],
        data: impl Fn(&Level<T>, &Folder) -> T,
    ) -> Option<&Level<T>> {
        while !self.leads_to(path) && self.leave().is_some() {}
        while let Some(name) = self.next_name(path) {
            let parent = self.levels.last()?;
            let folder = Folder::child(&parent.folder, name);
            let data = data(parent, &folder);
            self.enter(folder, name, data);
        }
        self.levels.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Arc<Folder> {
        Folder::new(None, Vec::new(), 0)
    }

    #[test]
    fn trail_follows_a_walk_in_table_order() {
        let mut trail = Trail::new(root(), ());
        for path in ["", "a", "a/b", "a/b/c", "a-b", "a.b/c", "b/b"] {
            let level = trail.go_to(path.as_bytes(), |_, _| ()).unwrap();
            let base = TreePath::parse(b"base").unwrap();
            let expected = if path.is_empty() { "base/x".into() } else { format!("base/{path}/x") };
            assert_eq!(level.folder.display(&base, b"x"), expected);
            assert!(trail.is_at(path.as_bytes()));
        }
        assert_eq!(trail.len(), 3);
    }

    #[test]
    fn keys_tell_paths_apart() {
        let root = root();
        let (a, b) = (Folder::child(&root, b"a"), Folder::child(&root, b"b"));
        assert_ne!(a.key(), b.key());
        assert_eq!(a.key(), root.key_of(b"a"));
        assert_ne!(Folder::child(&a, b"b").key(), Folder::child(&b, b"a").key());
    }

    #[test]
    fn a_very_deep_folder_is_dropped_without_overflow() {
        let mut folder = root();
        for _ in 0..200_000 {
            folder = Folder::child(&folder, b"d");
        }
        drop(folder);
    }
}
