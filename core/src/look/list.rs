//! Entries of one folder or subtree: one range of the table.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};

use crate::{
    entry::{Entry, EntryKind, TreePath},
    error::{Error, ErrorKind, Result},
    format::page::{EntryKey, Page},
    repository::Table,
    tasks,
};

/// Pages read ahead.
const PAGES_AHEAD: usize = 4;

/// An entry with its full path.
type Listed = (TreePath, Entry);

/// How far a listing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Entries of the folder itself.
    Folder,
    /// Everything below it.
    Subtree,
}

impl Depth {
    /// True if entries of `folder` belong to a listing of `top`.
    fn takes(self, top: &TreePath, folder: &TreePath) -> bool {
        match self {
            Self::Folder => folder == top,
            Self::Subtree => folder.is_within(top),
        }
    }
}

/// Finds the entry at `path`: one path through the table.
pub(super) async fn entry_at(table: &Table, path: &TreePath) -> Result<Option<Entry>> {
    let Some((folder, name)) = path.split_last() else { return Ok(None) };
    let key = EntryKey { folder, name: name.to_vec() };
    let Some(row) = table.rows_from(key.clone()).next().await else { return Ok(None) };
    let page = table.page(&row?.0).await?;
    let group = page.groups.binary_search_by(|group| group.folder.cmp(&key.folder));
    let Some(group) = group.ok().and_then(|at| page.groups.get(at)) else { return Ok(None) };
    let found = group.entries.binary_search_by(|entry| entry.name.cmp(&key.name));
    Ok(found.ok().and_then(|at| group.entries.get(at)).cloned())
}

/// Lists the entry at `path` and what is in it.
pub(super) fn list(
    table: Table,
    path: TreePath,
    depth: Depth,
) -> BoxStream<'static, Result<Listed>> {
    stream::once(async move {
        let own = match entry_at(&table, &path).await? {
            Some(entry) => Some(entry),
            None if path.is_root() => None,
            None => {
                let error = Error::new(ErrorKind::NotFound, "no such entry in the snapshot");
                return Err(error.on(path.display()));
            }
        };
        let is_folder = own.as_ref().is_none_or(|entry| entry.stat.kind == EntryKind::Dir);
        let first = stream::iter(own.map(|entry| Ok((path.clone(), entry))));
        let below = if is_folder { below(table, path, depth) } else { stream::empty().boxed() };
        Ok(first.chain(below))
    })
    .try_flatten()
    .boxed()
}

/// What lies in `top`, without its own entry. A page that begins past the range is not read.
fn below(table: Table, top: TreePath, depth: Depth) -> BoxStream<'static, Result<Listed>> {
    let start = EntryKey { folder: top.clone(), name: Vec::new() };
    let top = Arc::new(top);
    let until = top.clone();
    let rows = table.rows_from(start).try_take_while(move |(row, _)| {
        let folder = &row.first.folder;
        future::ready(Ok(*folder <= *until || depth.takes(&until, folder)))
    });
    let reads = rows.map(move |row| {
        let table = table.clone();
        async move { table.page(&row?.0).await }
    });
    tasks::ahead(reads, PAGES_AHEAD)
        .map_ok(move |page| stream::iter(select(&page, &top, depth)).map(Ok))
        .try_flatten()
        .boxed()
}

/// The entries of a page that belong to the listing.
fn select(page: &Page, top: &TreePath, depth: Depth) -> Vec<Listed> {
    let groups = page.groups.iter().filter(|group| depth.takes(top, &group.folder));
    groups
        .flat_map(|group| {
            let folder = &group.folder;
            group.entries.iter().map(move |entry| (folder.join(&entry.name), entry.clone()))
        })
        .collect()
}
