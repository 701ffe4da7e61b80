//! Which entries of a snapshot are exactly what another snapshot of the same repository has.
//!
//! Compares chunks by id, not by place: where they lie may have changed since.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt, TryStreamExt, future};

use super::{
    feed::{Feed, Feeder},
    source::Shared,
};
use crate::{
    entry::{Content, Entry, Piece, TreePath},
    error::{Error, ErrorKind, Result},
    format::page::{EntryKey, Page},
    id::ChunkId,
    repository::{LoadedPage, Table},
    tasks,
};

/// Pages of the other snapshot that are read ahead.
const PAGES_AHEAD: usize = 4;

/// What is known before the walk.
pub(super) struct Changes {
    before: Option<Table>,
    /// Pages that both have.
    shared_pages: Arc<HashSet<ChunkId>>,
    /// The other snapshot is the same one.
    is_itself: bool,
}

impl Changes {
    /// Compares the nodes of both tables; reads no page.
    pub(super) async fn find(table: &Table, before: Option<Table>) -> Result<Self> {
        let Some(before) = before else {
            return Ok(Self { before: None, shared_pages: Arc::default(), is_itself: false });
        };
        let old = page_ids(&before).await?;
        let mut shared_pages = page_ids(table).await?;
        shared_pages.retain(|id| old.contains(id));
        let shared_pages = Arc::new(shared_pages);
        Ok(Self { before: Some(before), shared_pages, is_itself: false })
    }

    /// Of a snapshot that is compared with itself.
    pub(super) fn none() -> Self {
        Self { before: None, shared_pages: Arc::default(), is_itself: true }
    }

    /// A walk along the other snapshot's table.
    pub(super) fn cursor(&self, shared: &Shared) -> Cursor {
        let pages = self.before.clone().map(|table| {
            Feed::start(shared, "pages to compare with", PAGES_AHEAD, |feeder| {
                feed(table, self.shared_pages.clone(), feeder)
            })
        });
        let (shared_pages, is_itself) = (self.shared_pages.clone(), self.is_itself);
        Cursor { pages, shared_pages, is_itself, page: Page::default(), group: 0, entry: 0 }
    }
}

async fn page_ids(table: &Table) -> Result<HashSet<ChunkId>> {
    table.rows_from(EntryKey::default()).map_ok(|(row, _)| row.chunk.id).try_collect().await
}

/// Sends the pages that only the other snapshot has.
async fn feed(
    table: Table,
    shared_pages: Arc<HashSet<ChunkId>>,
    feeder: Feeder<Page>,
) -> Feeder<Page> {
    let rows = table.rows_from(EntryKey::default());
    let rows = rows.try_filter(|(row, _)| future::ready(!shared_pages.contains(&row.chunk.id)));
    let reads = rows.map(|row| {
        let table = table.clone();
        async move { table.page(&row?.0).await }
    });
    let mut pages = tasks::ahead(reads, PAGES_AHEAD);
    while let Some(page) = pages.next().await {
        if !feeder.send(page).await {
            break;
        }
    }
    feeder
}

/// Keeps step with the walk over the snapshot.
pub(super) struct Cursor {
    pages: Option<Feed<Page>>,
    shared_pages: Arc<HashSet<ChunkId>>,
    is_itself: bool,
    page: Page,
    group: usize,
    entry: usize,
}

impl Cursor {
    /// For every entry of the page, whether it differs. Pages come in table order.
    pub(super) fn of_page(&mut self, loaded: &LoadedPage) -> Result<Vec<bool>> {
        if self.is_itself || self.shared_pages.contains(&loaded.row.chunk.id) {
            return Ok(vec![false; loaded.page.entries().count()]);
        }
        loaded.page.entries().map(|(folder, entry)| self.has_changed(folder, entry)).collect()
    }

    fn has_changed(&mut self, folder: &TreePath, entry: &Entry) -> Result<bool> {
        loop {
            let Some((its_folder, other)) = self.current()? else { return Ok(true) };
            match its_folder.cmp(folder).then_with(|| other.name.cmp(&entry.name)) {
                std::cmp::Ordering::Less => self.entry += 1,
                std::cmp::Ordering::Equal => return Ok(!is_same(other, entry)),
                std::cmp::Ordering::Greater => return Ok(true),
            }
        }
    }

    /// The entry that the cursor stands on, loading the next page at the end of one.
    fn current(&mut self) -> Result<Option<(&TreePath, &Entry)>> {
        while self.page.groups.get(self.group).is_none_or(|at| self.entry >= at.entries.len()) {
            self.entry = 0;
            self.group += 1;
            if self.group >= self.page.groups.len() {
                let Some(pages) = &mut self.pages else { return Ok(None) };
                match pages.next()? {
                    Some(page) => (self.page, self.group) = (page, 0),
                    None => {
                        self.pages = None;
                        self.page = Page::default();
                        return Ok(None);
                    }
                }
            }
        }
        let group = self.page.groups.get(self.group);
        let found = group.and_then(|group| Some((&group.folder, group.entries.get(self.entry)?)));
        found.map(Some).ok_or_else(|| Error::new(ErrorKind::Internal, "the cursor left its page"))
    }
}

fn is_same(left: &Entry, right: &Entry) -> bool {
    left.stat == right.stat
        && left.details == right.details
        && left.is_torn == right.is_torn
        && is_same_content(&left.content, &right.content)
}

fn is_same_content(left: &Content, right: &Content) -> bool {
    match (left, right) {
        (Content::Inline(left), Content::Inline(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|pieces| match pieces {
                    (Piece::Chunk(left), Piece::Chunk(right)) => left.id == right.id,
                    (Piece::Hole(left), Piece::Hole(right)) => left == right,
                    _ => false,
                })
        }
        (Content::Listed { lists: left, .. }, Content::Listed { lists: right, .. }) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.id == right.id)
        }
        _ => false,
    }
}
