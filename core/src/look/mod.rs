//! Looking into snapshots without restoring: list, find, compare, read files.
//!
//! Reads tables and chunks only; knows nothing of sinks, and writes nothing.

pub(crate) mod content;
mod diff;
mod list;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use futures::stream::BoxStream;

pub use self::diff::{DiffItem, Difference};
use crate::{
    entry::{Entry, TreePath},
    error::Result,
    repository::{Repository, Snapshot},
};

/// The entry at `path`, or `None`. The root has no entry.
///
/// # Errors
/// `Damaged` if the table cannot be read there, or the target failed.
pub async fn entry_at(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &TreePath,
) -> Result<Option<Entry>> {
    list::entry_at(&repository.table(&snapshot.root), path).await
}

/// Entries in the folder `path`, and below it when `recursive`; each with its full path, in
/// table order (a folder's entries together, then those of its subfolders). The entry `path`
/// itself comes first, except for the root. Not existing is `NotFound`, as first item.
///
/// Reads one range of the table; nothing follows an error.
pub fn list<'a>(
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    path: &TreePath,
    recursive: bool,
) -> BoxStream<'a, Result<(TreePath, Entry)>> {
    let depth = if recursive { list::Depth::Subtree } else { list::Depth::Folder };
    list::list(repository.table(&snapshot.root), path.clone(), depth)
}

/// What differs between two snapshots, in table order; reads only pages that differ.
///
/// Folders that are new or gone are listed with everything in them. Inode numbers, change times,
/// room in use, and how many names a folder has say nothing about a difference.
pub fn diff<'a>(
    repository: &'a Repository,
    before: &'a Snapshot,
    after: &'a Snapshot,
) -> BoxStream<'a, Result<DiffItem>> {
    diff::diff(repository, &before.root, &after.root)
}

/// The content of a file in order, holes as zeros; every chunk checked before it is given out.
///
/// Blocks are at most as long as a chunk or 1 MiB of zeros; a few segments are read ahead.
pub fn read_file<'a>(repository: &'a Repository, entry: &'a Entry) -> BoxStream<'a, Result<Bytes>> {
    content::read(repository.packs(), entry)
}
