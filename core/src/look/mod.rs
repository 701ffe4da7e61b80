//! Looking into snapshots without restoring: list, find, compare, read files.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{
    entry::{Entry, TreePath},
    error::Result,
    repository::{Repository, Snapshot},
};

/// The entry at `path`, or `None`. The root has no entry.
pub async fn entry_at(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &TreePath,
) -> Result<Option<Entry>> {
    todo!()
}

/// Entries in the folder `path`, and below it when `recursive`; each with its full path, in
/// table order (a folder's entries together, then those of its subfolders). The entry `path`
/// itself comes first, except for the root. Not existing is `NotFound`, as first item.
pub fn list<'a>(
    repository: &'a Repository,
    snapshot: &'a Snapshot,
    path: &TreePath,
    recursive: bool,
) -> BoxStream<'a, Result<(TreePath, Entry)>> {
    todo!()
}

/// How an entry differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// Only in the second.
    Added,
    /// Only in the first.
    Removed,
    /// Another kind of thing.
    TypeChanged,
    /// Other content.
    ContentChanged,
    /// Same content, other metadata.
    MetadataChanged,
}

/// One difference.
#[derive(Debug, Clone)]
pub struct DiffItem {
    /// Where.
    pub path: TreePath,
    /// How.
    pub difference: Difference,
    /// The entry in the first snapshot.
    pub before: Option<Entry>,
    /// The entry in the second snapshot.
    pub after: Option<Entry>,
}

/// What differs between two snapshots, in table order; reads only pages that differ.
pub fn diff<'a>(
    repository: &'a Repository,
    before: &'a Snapshot,
    after: &'a Snapshot,
) -> BoxStream<'a, Result<DiffItem>> {
    todo!()
}

/// The content of a file in order, holes as zeros; every chunk checked before it is given out.
pub fn read_file<'a>(repository: &'a Repository, entry: &'a Entry) -> BoxStream<'a, Result<Bytes>> {
    todo!()
}
