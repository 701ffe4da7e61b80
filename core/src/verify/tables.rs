//! The tables of all snapshots: every node, page and list of pieces is read once and compared
//! with what refers to it; every reference to a chunk is looked up.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use super::{
    Run,
    findings::{Extent, reason},
    small::Commits,
};
use crate::{
    entry::{ChunkRef, Content, Entry, EntryKind, Piece, TreePath},
    error::{Error, Result},
    format::page::{Counts, EntryKey, Node, NodeRow, Page, PieceList},
    packset::PackSet,
    repository::{layout::MetaName, packs::PackReader},
    tasks,
};

/// Pages read ahead.
const PAGES_AHEAD: usize = 4;

/// What is remembered of pages, nodes and lists, so that no snapshot reads them again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Pages and nodes by reference, with the row that was found to describe them.
    tables: HashMap<ChunkRef, Checked>,
    /// Lists of pieces with the bytes that they stand for and the packs that they need.
    lists: HashMap<ChunkRef, Arc<(u64, PackSet)>>,
}

/// A page or node that was checked against a row.
#[derive(Debug)]
struct Checked {
    row: [u8; 32],
    /// The key of its last entry; `None` if that is not known because of damage below.
    last: Option<EntryKey>,
}

impl Run<'_> {
    /// Walks the table of every snapshot.
    pub(super) async fn check_tables(&mut self, commits: &Commits) -> Result<()> {
        let mut seen = Seen::default();
        for (session, loaded) in commits.live() {
            let Some(root) = &loaded.commit.root else { continue };
            self.report.snapshots += 1;
            self.report.entries += root.counts.entries();
            let name = MetaName::Commit(*session).to_string();
            let Some(chunk) = root.chunk else {
                if root.counts != Counts::default() {
                    self.findings.object_of(&name, *session, "counts entries of no table".into());
                }
                continue;
            };
            let Some(row) = self.root_row(root.level, &chunk).await? else { continue };
            if row.counts != root.counts {
                let why = "does not count the entries that its table has";
                self.findings.object_of(&name, *session, why.into());
            }
            if let Some(pack) = row.packs.first_missing_in(&loaded.references) {
                let why = format!("does not list pack {pack}, which its table needs");
                self.findings.object_of(&name, *session, why);
            }
            self.visit(&mut seen, root.level, row).await?;
        }
        Ok(())
    }

    /// A row as a node above the root would hold it.
    async fn root_row(&mut self, level: u8, chunk: &ChunkRef) -> Result<Option<NodeRow>> {
        if !self.is_usable(chunk).await? {
            return Ok(None);
        }
        let read = load(&self.packs, level, chunk).await;
        let Some(loaded) = self.found(chunk, read)? else { return Ok(None) };
        let (first, counts, mut packs) = match &loaded {
            Loaded::Page(page) => (page.first_key(), page.counts(), page.packs()),
            Loaded::Node(node) => {
                (node.rows.first().map(|row| row.first.clone()), node.counts(), node.packs())
            }
        };
        let Some(first) = first else {
            self.bad_chunk(chunk, "is a page without entries");
            return Ok(None);
        };
        packs.insert(chunk.pack.id);
        Ok(Some(NodeRow { first, chunk: *chunk, counts, packs }))
    }

    /// Checks the page or node of a row and all below it. Gives the key of its last entry, if
    /// that is known.
    fn visit<'b>(
        &'b mut self,
        seen: &'b mut Seen,
        level: u8,
        row: NodeRow,
    ) -> BoxFuture<'b, Result<Option<EntryKey>>> {
        async move {
            self.check_cancelled()?;
            if let Some(last) = seen.find(&row) {
                return Ok(last);
            }
            if !self.is_usable(&row.chunk).await? {
                return Ok(None);
            }
            let read = load(&self.packs, level, &row.chunk).await;
            match self.found(&row.chunk, read)? {
                None => Ok(None),
                Some(Loaded::Page(page)) => self.check_page(seen, row, &page).await,
                Some(Loaded::Node(node)) => self.visit_node(seen, row, node).await,
            }
        }
        .boxed()
    }

    async fn check_page(
        &mut self,
        seen: &mut Seen,
        row: NodeRow,
        page: &Page,
    ) -> Result<Option<EntryKey>> {
        let packs = page.packs();
        if !self.matches(page.first_key(), page.counts(), packs, &row) {
            return Ok(None);
        }
        self.check_entries(seen, &row.chunk, page).await?;
        let last = page.entries().last().map(|(folder, entry)| key_of(folder, entry));
        Ok(seen.remember(&row, last))
    }

    async fn visit_node(
        &mut self,
        seen: &mut Seen,
        row: NodeRow,
        node: Node,
    ) -> Result<Option<EntryKey>> {
        let first = node.rows.first().map(|row| row.first.clone());
        if !self.matches(first, node.counts(), node.packs(), &row) {
            return Ok(None);
        }
        let last = if node.level == 1 {
            self.visit_pages(seen, node.rows).await?
        } else {
            let mut order = Order::default();
            for below in node.rows {
                let (chunk, first) = (below.chunk, below.first.clone());
                let last = self.visit(seen, node.level - 1, below).await?;
                self.check_order(&mut order, &chunk, first, last);
            }
            order.last
        };
        Ok(seen.remember(&row, last))
    }

    /// The pages of one node, the next ones read ahead.
    async fn visit_pages(
        &mut self,
        seen: &mut Seen,
        rows: Vec<NodeRow>,
    ) -> Result<Option<EntryKey>> {
        let mut wanted = Vec::new();
        for row in &rows {
            if seen.find(row).is_none() && self.is_usable(&row.chunk).await? {
                wanted.push(row.chunk);
            }
        }
        let packs = self.packs.clone();
        let reads = stream::iter(wanted).map(move |chunk| {
            let packs = packs.clone();
            async move { (chunk, load_page(&packs, &chunk).await) }
        });
        let mut pages = tasks::ahead(reads, PAGES_AHEAD).peekable();
        let mut order = Order::default();
        for row in rows {
            self.check_cancelled()?;
            let (chunk, first) = (row.chunk, row.first.clone());
            let is_next = |next: &(ChunkRef, Result<Page>)| next.0 == chunk;
            let last = match Pin::new(&mut pages).next_if(is_next).await {
                Some((_, read)) => match self.found(&chunk, read)? {
                    Some(page) => self.check_page(seen, row, &page).await?,
                    None => None,
                },
                None => seen.find(&row).flatten(),
            };
            self.check_order(&mut order, &chunk, first, last);
        }
        Ok(order.last)
    }

    /// Each page or node must begin after the end of the one before.
    fn check_order(
        &mut self,
        order: &mut Order,
        chunk: &ChunkRef,
        first: EntryKey,
        last: Option<EntryKey>,
    ) {
        if order.last.as_ref().is_some_and(|before| *before >= first) {
            self.bad_chunk(chunk, "is not in order with the part of the table before it");
        }
        order.last = last;
    }

    /// Compares a page or node with its row.
    fn matches(
        &mut self,
        first: Option<EntryKey>,
        counts: Counts,
        mut packs: PackSet,
        row: &NodeRow,
    ) -> bool {
        if first.as_ref() != Some(&row.first) {
            self.bad_chunk(&row.chunk, "begins with another entry than its node says");
            return false;
        }
        if counts != row.counts {
            self.bad_chunk(&row.chunk, "holds other entries than its node counts");
        }
        packs.insert(row.chunk.pack.id);
        if let Some(pack) = packs.first_missing_in(&row.packs) {
            let why = format!("needs pack {pack}, which its node does not list");
            self.bad_chunk(&row.chunk, &why);
        }
        true
    }

    async fn check_entries(
        &mut self,
        seen: &mut Seen,
        chunk: &ChunkRef,
        page: &Page,
    ) -> Result<()> {
        for (folder, entry) in page.entries() {
            let length = match &entry.content {
                Content::Inline(pieces) => self.check_pieces(pieces).await?,
                Content::Listed { lists, packs } => {
                    let mut length = Some(0u64);
                    for list in lists {
                        let found = self.check_list(seen, list, packs).await?;
                        length = length.zip(found).and_then(|(sum, more)| sum.checked_add(more));
                    }
                    length
                }
            };
            let expected = if entry.stat.kind == EntryKind::File { entry.stat.size } else { 0 };
            if let Some(length) = length
                && length != expected
            {
                // the page can be read, but this is not the file
                let path = folder.join(&entry.name).display();
                let why = format!("{path} has content of {length} bytes instead of {expected}");
                self.findings.pack(chunk.pack.id, Extent::none(), why);
            }
        }
        Ok(())
    }

    /// Looks up every chunk; the length of all pieces together, if it is a number.
    async fn check_pieces(&mut self, pieces: &[Piece]) -> Result<Option<u64>> {
        let mut length = Some(0u64);
        for piece in pieces {
            length = length.and_then(|sum| sum.checked_add(piece.len_bytes()));
            if let Piece::Chunk(chunk) = piece {
                self.directories.check(chunk, &mut self.findings).await?;
            }
        }
        Ok(length)
    }

    /// A list of pieces: what it stands for in bytes, or `None` if it cannot be read.
    async fn check_list(
        &mut self,
        seen: &mut Seen,
        list: &ChunkRef,
        packs: &PackSet,
    ) -> Result<Option<u64>> {
        let checked = match seen.lists.get(list).cloned() {
            Some(checked) => checked,
            None => {
                let Some(checked) = self.read_list(list).await? else { return Ok(None) };
                seen.lists.insert(*list, checked.clone());
                checked
            }
        };
        if let Some(pack) = checked.1.first_missing_in(packs) {
            self.bad_chunk(list, &format!("needs pack {pack}, which its entry does not list"));
        }
        Ok(Some(checked.0))
    }

    async fn read_list(&mut self, list: &ChunkRef) -> Result<Option<Arc<(u64, PackSet)>>> {
        self.check_cancelled()?;
        if !self.is_usable(list).await? {
            return Ok(None);
        }
        let read = self.packs.chunk(list).await.and_then(|bytes| PieceList::decode(&bytes));
        let Some(PieceList { pieces }) = self.found(list, read)? else { return Ok(None) };
        let Some(length) = self.check_pieces(&pieces).await? else { return Ok(None) };
        let chunks = pieces.iter().filter_map(|piece| match piece {
            Piece::Chunk(chunk) => Some(chunk.pack.id),
            Piece::Hole(_) => None,
        });
        Ok(Some(Arc::new((length, chunks.collect()))))
    }

    /// True if the chunk can be expected to be readable; if not, that was said.
    async fn is_usable(&mut self, chunk: &ChunkRef) -> Result<bool> {
        let Some(chunk) = self.directories.check(chunk, &mut self.findings).await? else {
            return Ok(false);
        };
        Ok(!self.findings.is_damaged(chunk.pack.id, chunk.segment))
    }

    /// What was read, or a finding.
    fn found<T>(&mut self, chunk: &ChunkRef, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let why = reason(error)?;
                self.bad_chunk(chunk, &why);
                Ok(None)
            }
        }
    }

    fn bad_chunk(&mut self, chunk: &ChunkRef, why: &str) {
        let why = format!("chunk {}: {why}", chunk.id);
        self.findings.pack(chunk.pack.id, Extent::segment(chunk.segment), why);
    }
}

/// The end of what stands before.
#[derive(Debug, Default)]
struct Order {
    last: Option<EntryKey>,
}

impl Seen {
    /// The key of the last entry, if just this row was found right before.
    fn find(&self, row: &NodeRow) -> Option<Option<EntryKey>> {
        let checked = self.tables.get(&row.chunk)?;
        (checked.row == digest(row)).then(|| checked.last.clone())
    }

    fn remember(&mut self, row: &NodeRow, last: Option<EntryKey>) -> Option<EntryKey> {
        self.tables.insert(row.chunk, Checked { row: digest(row), last: last.clone() });
        last
    }
}

/// A page or a node.
enum Loaded {
    Page(Page),
    Node(Node),
}

async fn load(packs: &PackReader, level: u8, chunk: &ChunkRef) -> Result<Loaded> {
    if level == 0 {
        return load_page(packs, chunk).await.map(Loaded::Page);
    }
    let node = Node::decode(&packs.chunk(chunk).await?)?;
    if node.level == level {
        return Ok(Loaded::Node(node));
    }
    Err(Error::damaged("node", "has another level than its parent says"))
}

async fn load_page(packs: &PackReader, chunk: &ChunkRef) -> Result<Page> {
    Page::decode(&packs.chunk(chunk).await?)
}

fn key_of(folder: &TreePath, entry: &Entry) -> EntryKey {
    EntryKey { folder: folder.clone(), name: entry.name.clone() }
}

/// Stands for all that a row says.
fn digest(row: &NodeRow) -> [u8; 32] {
    *blake3::hash(&Node { level: 1, rows: vec![row.clone()] }.encode()).as_bytes()
}
