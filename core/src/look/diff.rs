//! What differs between two tables: both are merged in order; equal pages at the same place are
//! passed over unread.

use std::{cmp::Ordering, collections::VecDeque, sync::Arc};

use futures::{StreamExt, TryStreamExt, future, stream, stream::BoxStream};

use super::content;
use crate::{
    entry::{Content, Entry, EntryKind, Piece, TreePath},
    error::Result,
    format::page::{EntryKey, NodeRow, TableRoot},
    repository::{Repository, Table, packs::PackReader},
};

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
    /// Other content; for links another target, for device nodes another device.
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

pub(super) fn diff<'a>(
    repository: &'a Repository,
    before: &TableRoot,
    after: &TableRoot,
) -> BoxStream<'a, Result<DiffItem>> {
    let merge = Merge {
        packs: repository.packs(),
        before: Side::new(repository.table(before)),
        after: Side::new(repository.table(after)),
    };
    stream::try_unfold(merge, |mut merge| async move {
        Ok(merge.next().await?.map(|item| (item, merge)))
    })
    .boxed()
}

/// The position of an entry, borrowed.
type Key<'a> = (&'a TreePath, &'a [u8]);

/// A table being read: at the beginning of a page that is not loaded, or within one that is.
struct Side {
    table: Table,
    rows: BoxStream<'static, Result<(NodeRow, bool)>>,
    row: Option<NodeRow>,
    entries: VecDeque<(TreePath, Entry)>,
}

impl Side {
    fn new(table: Table) -> Self {
        let rows = table.rows_from(EntryKey::default());
        Self { table, rows, row: None, entries: VecDeque::new() }
    }

    /// Finds out where the next entry is, without reading its page.
    async fn advance(&mut self) -> Result<()> {
        if self.row.is_none() && self.entries.is_empty() {
            self.row = self.rows.try_next().await?.map(|(row, _)| row);
        }
        Ok(())
    }

    /// Where the next entry is; `None` at the end.
    fn key(&self) -> Option<Key<'_>> {
        match self.entries.front() {
            Some((folder, entry)) => Some((folder, &entry.name)),
            None => self.row.as_ref().map(|row| (&row.first.folder, row.first.name.as_slice())),
        }
    }

    /// The next page, if none of its entries was taken yet.
    fn unread_page(&self) -> Option<&NodeRow> {
        self.row.as_ref().filter(|_| self.entries.is_empty())
    }

    fn skip_page(&mut self) {
        self.row = None;
    }

    async fn take(&mut self) -> Result<Option<(TreePath, Entry)>> {
        if let Some(row) = self.row.take() {
            let page = self.table.page(&row).await?;
            self.entries =
                page.entries().map(|(folder, entry)| (folder.clone(), entry.clone())).collect();
        }
        Ok(self.entries.pop_front())
    }
}

struct Merge<'a> {
    packs: &'a Arc<PackReader>,
    before: Side,
    after: Side,
}

impl Merge<'_> {
    async fn next(&mut self) -> Result<Option<DiffItem>> {
        loop {
            future::try_join(self.before.advance(), self.after.advance()).await?;
            if self.skip_equal_pages() {
                continue;
            }
            let order = match (self.before.key(), self.after.key()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.cmp(&after),
            };
            let item = match order {
                Ordering::Less => self.before.take().await?.map(|before| one(before, true)),
                Ordering::Greater => self.after.take().await?.map(|after| one(after, false)),
                Ordering::Equal => self.both().await?,
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn skip_equal_pages(&mut self) -> bool {
        let is_equal = match (self.before.unread_page(), self.after.unread_page()) {
            (Some(before), Some(after)) => before.chunk.id == after.chunk.id,
            _ => false,
        };
        if is_equal {
            self.before.skip_page();
            self.after.skip_page();
        }
        is_equal
    }

    async fn both(&mut self) -> Result<Option<DiffItem>> {
        let pair = future::try_join(self.before.take(), self.after.take()).await?;
        let (Some((folder, before)), Some((_, after))) = pair else { return Ok(None) };
        let Some(difference) = compare(self.packs, &before, &after).await? else {
            return Ok(None);
        };
        let path = folder.join(&before.name);
        Ok(Some(DiffItem { path, difference, before: Some(before), after: Some(after) }))
    }
}

/// An entry that only one side has.
fn one((folder, entry): (TreePath, Entry), is_before: bool) -> DiffItem {
    let path = folder.join(&entry.name);
    if is_before {
        DiffItem { path, difference: Difference::Removed, before: Some(entry), after: None }
    } else {
        DiffItem { path, difference: Difference::Added, before: None, after: Some(entry) }
    }
}

async fn compare(
    packs: &Arc<PackReader>,
    before: &Entry,
    after: &Entry,
) -> Result<Option<Difference>> {
    if before.stat.kind != after.stat.kind {
        return Ok(Some(Difference::TypeChanged));
    }
    if !has_same_content(packs, before, after).await? {
        return Ok(Some(Difference::ContentChanged));
    }
    Ok((!has_same_metadata(before, after)).then_some(Difference::MetadataChanged))
}

async fn has_same_content(packs: &Arc<PackReader>, before: &Entry, after: &Entry) -> Result<bool> {
    let (old, new) = (&before.stat, &after.stat);
    if old.size != new.size
        || old.device_number != new.device_number
        || before.details.link_target != after.details.link_target
    {
        return Ok(false);
    }
    match (&before.content, &after.content) {
        (Content::Inline(old), Content::Inline(new)) => {
            Ok(old.len() == new.len()
                && old.iter().zip(new).all(|(old, new)| is_same_piece(old, new)))
        }
        (Content::Listed { lists: old, .. }, Content::Listed { lists: new, .. })
            if old.iter().map(|list| list.id).eq(new.iter().map(|list| list.id)) =>
        {
            Ok(true)
        }
        _ => has_same_pieces(packs, before, after).await,
    }
}

/// Compares long lists piece by piece, so that memory does not grow with them.
async fn has_same_pieces(packs: &Arc<PackReader>, before: &Entry, after: &Entry) -> Result<bool> {
    let mut old = content::pieces(packs, before);
    let mut new = content::pieces(packs, after);
    loop {
        match (old.try_next().await?, new.try_next().await?) {
            (None, None) => return Ok(true),
            (Some(old), Some(new)) if is_same_piece(&old, &new) => {}
            _ => return Ok(false),
        }
    }
}

/// True if both are the same bytes, wherever they are stored.
fn is_same_piece(old: &Piece, new: &Piece) -> bool {
    match (old, new) {
        (Piece::Chunk(old), Piece::Chunk(new)) => old.id == new.id,
        (Piece::Hole(old), Piece::Hole(new)) => old == new,
        _ => false,
    }
}

/// Compares what a restore would set. What a file system makes up by itself is left out: inode,
/// device, change time, room in use, and the names of a folder, which follow its subfolders.
fn has_same_metadata(before: &Entry, after: &Entry) -> bool {
    let (old, new) = (&before.stat, &after.stat);
    let is_link_count_same = old.kind == EntryKind::Dir || old.links == new.links;
    is_link_count_same
        && (old.mode, old.uid, old.gid, old.mtime) == (new.mode, new.uid, new.gid, new.mtime)
        && before.details == after.details
}
