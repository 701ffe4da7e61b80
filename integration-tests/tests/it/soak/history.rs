//! What was promised: which snapshots stand, and what they hold.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::chance::Chance;

/// The hashes of all files of a tree by path.
pub type Tree = BTreeMap<String, [u8; 32]>;

/// A snapshot that a backup told of.
#[derive(Debug, Clone)]
pub struct Promise {
    pub id: String,
    pub writer: usize,
    pub tree: Tree,
    /// Somebody began to forget it.
    pub is_doomed: bool,
    /// Somebody was told that it is forgotten.
    pub is_forgotten: bool,
}

/// All promises, oldest first.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Promise>>);

/// So many snapshots of each writer stay.
const KEPT: usize = 3;

impl History {
    fn lock(&self) -> MutexGuard<'_, Vec<Promise>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A backup told that `id` stands.
    pub fn promise(&self, id: String, writer: usize, tree: Tree) {
        let (is_doomed, is_forgotten) = (false, false);
        self.lock().push(Promise { id, writer, tree, is_doomed, is_forgotten });
    }

    /// Some snapshots that may go, of those that stand: none of the newest of each writer.
    pub fn doom(&self, chance: &mut Chance) -> Vec<String> {
        let mut promises = self.lock();
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for promise in promises.iter().filter(|promise| !promise.is_doomed) {
            *left.entry(promise.writer).or_default() += 1;
        }
        let mut doomed = Vec::new();
        for promise in promises.iter_mut().filter(|promise| !promise.is_doomed) {
            let left = left.entry(promise.writer).or_default();
            if *left > KEPT && chance.happens(60) {
                *left -= 1;
                promise.is_doomed = true;
                doomed.push(promise.id.clone());
            }
        }
        doomed
    }

    /// A forget told that these are forgotten.
    pub fn forgotten(&self, ids: &[String]) {
        let mut promises = self.lock();
        promises
            .iter_mut()
            .filter(|promise| ids.contains(&promise.id))
            .for_each(|promise| promise.is_forgotten = true);
    }

    /// Everything that was promised.
    pub fn all(&self) -> Vec<Promise> {
        self.lock().clone()
    }
}

/// What lies below `folder`.
pub fn tree_of(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            tree.insert(name, *blake3::hash(&fs::read(&path).unwrap()).as_bytes());
        }
    }
    tree
}
