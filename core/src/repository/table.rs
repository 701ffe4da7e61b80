//! Walking a snapshot's table: pages in order, from any key on, the next ones read ahead.

use std::{collections::VecDeque, sync::Arc};

use futures::{StreamExt, stream, stream::BoxStream};

use super::packs::PackReader;
use crate::{
    entry::{ChunkRef, Content, Entry, Piece},
    error::{Error, ErrorKind, Result},
    format::page::{EntryKey, Node, NodeRow, Page, PieceList, TableRoot},
    tasks,
};

/// Pages read ahead.
const PAGES_AHEAD: usize = 4;

/// A page with the row that listed it.
#[derive(Debug, Clone)]
pub struct LoadedPage {
    /// Its row, as its node holds it (made up for a table of one page).
    pub row: NodeRow,
    /// Its entries.
    pub page: Arc<Page>,
    /// True if no page follows.
    pub is_last: bool,
}

/// Which references a table gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum References {
    /// Of chunks of content, where they lie now.
    Located,
    /// As they stand in the pages.
    AsWritten,
}

/// A snapshot's table.
#[derive(Clone)]
pub struct Table {
    packs: Arc<PackReader>,
    root: TableRoot,
    references: References,
    goes_past_damage: bool,
}

impl Table {
    pub(crate) fn new(packs: Arc<PackReader>, root: TableRoot, references: References) -> Self {
        Self { packs, root, references, goes_past_damage: false }
    }

    /// The same table, of which a walk goes on after a part that cannot be read.
    pub(crate) fn past_damage(self) -> Self {
        Self { goes_past_damage: true, ..self }
    }

    /// All pages in order.
    pub fn pages(&self) -> BoxStream<'static, Result<LoadedPage>> {
        self.pages_from(EntryKey::default())
    }

    /// The pages from the one on that holds `from`, or would hold it.
    pub fn pages_from(&self, from: EntryKey) -> BoxStream<'static, Result<LoadedPage>> {
        let table = self.clone();
        let reads = self.rows_from(from).map(move |row| {
            let table = table.clone();
            async move {
                let (row, is_last) = row?;
                let page = Arc::new(table.page(&row).await?);
                Ok(LoadedPage { row, page, is_last })
            }
        });
        tasks::ahead(reads, PAGES_AHEAD)
    }

    /// The rows of all pages from the one that holds `from` on, without the pages themselves;
    /// the flag marks the last one. Rows of equal chunks are equal pages.
    pub fn rows_from(&self, from: EntryKey) -> BoxStream<'static, Result<(NodeRow, bool)>> {
        let walk = RowWalk {
            packs: self.packs.clone(),
            from,
            start: Some(self.root.clone()),
            stack: Vec::new(),
            ready: VecDeque::new(),
        };
        let goes_past_damage = self.goes_past_damage;
        stream::unfold(walk, move |mut walk| async move {
            let item = walk.next().await.transpose()?;
            let is_past = |error: &Error| goes_past_damage && error.kind() == ErrorKind::Damaged;
            let failed = item.as_ref().is_err_and(|error| !is_past(error));
            if failed {
                walk.stack.clear();
                walk.ready.clear();
            }
            Some((item, walk))
        })
        .boxed()
    }

    /// The page of a row that [`Self::rows_from`] gave.
    ///
    /// # Errors
    /// `Damaged` if it is missing or altered, or another one than the row says.
    pub async fn page(&self, row: &NodeRow) -> Result<Page> {
        let mut page = load_page(&self.packs, row).await?;
        if self.references == References::Located && self.packs.has_moved(&row.packs) {
            locate_all(&self.packs, &mut page).await?;
        }
        Ok(page)
    }

    /// The nodes of the table above the pages, by level order of a walk; for reuse by the next
    /// snapshot and for verification.
    pub async fn nodes(&self) -> Result<Vec<(ChunkRef, Node)>> {
        let mut found = Vec::new();
        let mut pending: VecDeque<(u8, ChunkRef)> = VecDeque::new();
        if let (Some(chunk), level @ 1..) = (self.root.chunk, self.root.level) {
            pending.push_back((level, chunk));
        }
        while let Some((level, chunk)) = pending.pop_front() {
            let node = load_node(&self.packs, &chunk, level).await?;
            if level > 1 {
                pending.extend(node.rows.iter().map(|row| (level - 1, row.chunk)));
            }
            found.push((chunk, node));
        }
        Ok(found)
    }
}

/// A depth-first walk over the nodes; `ready` holds the page rows of one bottom node.
struct RowWalk {
    packs: Arc<PackReader>,
    from: EntryKey,
    start: Option<TableRoot>,
    /// Rows still to be entered, with the level of what they refer to; the next one last.
    stack: Vec<(u8, NodeRow)>,
    ready: VecDeque<NodeRow>,
}

impl RowWalk {
    async fn next(&mut self) -> Result<Option<(NodeRow, bool)>> {
        if let Some(root) = self.start.take() {
            self.enter_root(root).await?;
        }
        while self.ready.is_empty() {
            let Some((level, row)) = self.stack.pop() else { return Ok(None) };
            self.enter(level, &row.chunk).await?;
        }
        let row = self.ready.pop_front();
        let is_last = self.ready.is_empty() && self.stack.is_empty();
        Ok(row.map(|row| (row, is_last)))
    }

    async fn enter_root(&mut self, root: TableRoot) -> Result<()> {
        let Some(chunk) = root.chunk else { return Ok(()) };
        if root.level > 0 {
            return self.enter(root.level, &chunk).await;
        }
        let packs = self.packs.clone();
        let page = tasks::apart(async move { fetch_page(&packs, &chunk).await }).await?;
        let Some(first) = page.first_key() else { return Ok(()) };
        let mut packs = page.packs();
        packs.insert(chunk.pack.id);
        self.ready.push_back(NodeRow { first, chunk, counts: page.counts(), packs });
        Ok(())
    }

    async fn enter(&mut self, level: u8, chunk: &ChunkRef) -> Result<()> {
        let (packs, chunk) = (self.packs.clone(), *chunk);
        let node = tasks::apart(async move { load_node(&packs, &chunk, level).await }).await?;
        // the last row that begins at or before `from` is the first one of interest
        let skip = node.rows.partition_point(|row| row.first <= self.from).saturating_sub(1);
        let rows = node.rows.into_iter().skip(skip);
        if level == 1 {
            self.ready.extend(rows);
        } else {
            self.stack.extend(rows.rev().map(|row| (level - 1, row)));
        }
        Ok(())
    }
}

async fn load_node(packs: &PackReader, chunk: &ChunkRef, level: u8) -> Result<Node> {
    let bytes = packs.table_chunk(chunk).await?;
    let node = Node::decode(&bytes).map_err(|error| name(error, chunk))?;
    if node.level == level {
        Ok(node)
    } else {
        Err(name(Error::damaged("node", "has another level than its parent says"), chunk))
    }
}

async fn fetch_page(packs: &PackReader, chunk: &ChunkRef) -> Result<Page> {
    let bytes = packs.table_chunk(chunk).await?;
    Page::decode(&bytes).map_err(|error| name(error, chunk))
}

async fn load_page(packs: &PackReader, row: &NodeRow) -> Result<Page> {
    let page = fetch_page(packs, &row.chunk).await?;
    if page.first_key().as_ref() != Some(&row.first) {
        let error = Error::damaged("page", "begins with another entry than its node says");
        return Err(name(error, &row.chunk));
    }
    Ok(page)
}

fn name(error: Error, chunk: &ChunkRef) -> Error {
    error.on(format!("packs/{} chunk {}", chunk.pack.id, chunk.id))
}

/// All pieces of a file's content, fetching lists of their own where there are some.
///
/// # Errors
/// `Damaged` if a list is missing or altered.
pub async fn pieces_of(packs: &PackReader, entry: &Entry) -> Result<Vec<Piece>> {
    match &entry.content {
        Content::Inline(pieces) => Ok(pieces.clone()),
        Content::Listed { lists, .. } => {
            let mut pieces = Vec::new();
            for list in lists {
                pieces.extend(pieces_in(packs, list).await?);
            }
            Ok(pieces)
        }
    }
}

/// The pieces that one list of a file's content holds.
///
/// # Errors
/// `Damaged` if it is missing or altered.
pub async fn pieces_in(packs: &PackReader, list: &ChunkRef) -> Result<Vec<Piece>> {
    let bytes = packs.table_chunk(list).await?;
    let mut pieces = PieceList::decode(&bytes).map_err(|error| name(error, list))?.pieces;
    locate_pieces(packs, &mut pieces).await?;
    Ok(pieces)
}

/// Makes inline references of a page name the places where the chunks lie now.
async fn locate_all(packs: &PackReader, page: &mut Page) -> Result<()> {
    for entry in page.groups.iter_mut().flat_map(|group| &mut group.entries) {
        if let Content::Inline(pieces) = &mut entry.content {
            locate_pieces(packs, pieces).await?;
        }
    }
    Ok(())
}

async fn locate_pieces(packs: &PackReader, pieces: &mut [Piece]) -> Result<()> {
    for piece in pieces {
        if let Piece::Chunk(chunk) = piece {
            match packs.locate(chunk).await {
                Ok(found) => *chunk = found,
                // whoever wants this chunk finds it missing; the others are there
                Err(error) if error.kind() == ErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
