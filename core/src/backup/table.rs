//! Builds the snapshot's table: takes items in table order, reuses whole unchanged pages of the
//! parent, stores the others.

use std::{collections::HashMap, sync::Arc};

use crossbeam_channel::Receiver;

use super::{
    parent::Run,
    reader::{FileRead, Torn},
    scan::{Fresh, Item, State, unreadable},
    shared::{Shared, stopped},
    writer::ChunkWriter,
};
use crate::{
    entry::{ChunkRef, Entry, TreePath},
    error::Result,
    format::page::{
        Boundary, Counts, EntryKey, Node, NodeRow, Page, PageKind, TableRoot, entry_weight,
        row_weight,
    },
    id::ChunkId,
    monitor::{Problem, Progress},
    packset::PackSet,
    source::InodeKey,
};

/// Nodes of the parent by chunk: the unchanged ones are not stored again.
pub(super) type ParentNodes = HashMap<ChunkId, ChunkRef>;

/// A finished table.
#[derive(Debug)]
pub(super) struct BuiltTable {
    pub(super) root: TableRoot,
    /// Every pack that the snapshot needs.
    pub(super) packs: PackSet,
}

/// Builds the table.
pub(super) struct TableBuilder {
    shared: Arc<Shared>,
    writer: ChunkWriter,
    parent_nodes: ParentNodes,
    chunker_key: [u8; 32],
    page: Page,
    boundary: Boundary,
    /// Rows that wait for their node, lowest level first.
    levels: Vec<Level>,
    /// A whole unchanged page that was the parent's last: reused only if nothing follows.
    held_back: Option<Run>,
    /// Inodes with several names: what was read under the first one.
    linked: HashMap<InodeKey, Entry>,
}

struct Level {
    boundary: Boundary,
    rows: Vec<NodeRow>,
    has_nodes: bool,
}

impl TableBuilder {
    pub(super) fn new(
        shared: Arc<Shared>,
        writer: ChunkWriter,
        parent_nodes: ParentNodes,
        chunker_key: [u8; 32],
    ) -> Self {
        Self {
            shared,
            writer,
            parent_nodes,
            chunker_key,
            page: Page::default(),
            boundary: Boundary::new(&chunker_key, PageKind::Page),
            levels: Vec::new(),
            held_back: None,
            linked: HashMap::new(),
        }
    }

    /// Takes items until there are no more.
    pub(super) fn run(mut self, items: &Receiver<Item>) -> Result<BuiltTable> {
        while let Ok(item) = items.recv() {
            self.writer.flush_if_urgent()?;
            if let Some(run) = self.held_back.take() {
                self.entries_of(&run)?;
            }
            match item {
                Item::Same(run) => self.same(run)?,
                Item::Fresh(fresh) => self.fresh(*fresh)?,
            }
        }
        self.finish()
    }

    fn same(&mut self, run: Run) -> Result<()> {
        if !run.is_whole_page() || !self.page.is_empty() {
            return self.entries_of(&run);
        }
        if run.page.loaded.is_last {
            self.held_back = Some(run);
            return Ok(());
        }
        self.boundary.restart();
        self.row(0, run.page.loaded.row.clone())
    }

    fn entries_of(&mut self, run: &Run) -> Result<()> {
        for index in run.range.clone() {
            if let Some((folder, entry)) = run.page.get(index) {
                self.entry(folder, entry.clone())?;
            }
        }
        Ok(())
    }

    fn fresh(&mut self, fresh: Fresh) -> Result<()> {
        let Fresh { folder, found, inode, is_counted, state } = fresh;
        let folder = &*folder;
        match state {
            State::Ready(entry) => self.entry(folder, *entry),
            State::HardLink => match inode.and_then(|inode| self.linked.get(&inode)) {
                Some(first) => {
                    let entry = Entry { name: found.name, ..first.clone() };
                    if is_counted {
                        self.count_file(entry.stat.size);
                    }
                    self.entry(folder, entry)
                }
                None => {
                    let error = std::io::Error::other("its other name could not be read");
                    self.shared.problem(unreadable(folder, &found.name, &error));
                    Ok(())
                }
            },
            State::Reading(answer) => match answer.recv().map_err(|_| stopped())? {
                Ok(read) => {
                    if is_counted {
                        self.count_file(0);
                    }
                    self.file(folder, found.name, inode, read)
                }
                Err(error) => {
                    if error.kind() != std::io::ErrorKind::NotFound {
                        self.shared.problem(unreadable(folder, &found.name, &error));
                        return Ok(());
                    }
                    let note = unreadable(folder, &found.name, &error);
                    self.shared.problem(Problem {
                        message: "vanished before it could be read".to_owned(),
                        ..note
                    });
                    Ok(())
                }
            },
        }
    }

    fn file(
        &mut self,
        folder: &TreePath,
        name: Vec<u8>,
        inode: Option<InodeKey>,
        read: FileRead,
    ) -> Result<()> {
        let FileRead { details, stat, content, torn } = read;
        let entry = Entry { name, stat, details, content, is_torn: torn != Torn::No };
        if torn == Torn::Now {
            let error = std::io::Error::other("changed while it was read; stored as read");
            self.shared.problem(Problem {
                message: error.to_string(),
                ..unreadable(folder, &entry.name, &error)
            });
        }
        if let Some(inode) = inode {
            self.linked.insert(inode, entry.clone());
        }
        self.entry(folder, entry)
    }

    fn count_file(&self, bytes: u64) {
        self.shared.advance(Progress { files_done: 1, bytes_done: bytes, ..Progress::default() });
    }

    fn entry(&mut self, folder: &TreePath, entry: Entry) -> Result<()> {
        let ends = self.boundary.ends_after(folder, &entry.name, entry_weight(&entry));
        self.page.push(folder, entry);
        if ends { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<()> {
        let page = std::mem::take(&mut self.page);
        self.boundary.restart();
        let Some(first) = page.first_key() else { return Ok(()) };
        let chunk = self.writer.add(&page.encode())?;
        let mut packs = page.packs();
        packs.insert(chunk.pack.id);
        self.row(0, NodeRow { first, chunk, counts: page.counts(), packs })
    }

    /// Adds a row that lists something of `level`.
    fn row(&mut self, level: usize, row: NodeRow) -> Result<()> {
        if self.levels.len() == level {
            let boundary = Boundary::new(&self.chunker_key, PageKind::Node(level as u8 + 1));
            self.levels.push(Level { boundary, rows: Vec::new(), has_nodes: false });
        }
        let waiting = &mut self.levels[level];
        let EntryKey { folder, name } = &row.first;
        let ends = waiting.boundary.ends_after(folder, name, row_weight(&row));
        waiting.rows.push(row);
        // a node of one row would only add a level
        if ends && waiting.rows.len() > 1 { self.end_node(level) } else { Ok(()) }
    }

    fn end_node(&mut self, level: usize) -> Result<()> {
        let waiting = &mut self.levels[level];
        let rows = std::mem::take(&mut waiting.rows);
        waiting.boundary.restart();
        waiting.has_nodes = true;
        let node = Node { level: level as u8 + 1, rows };
        let Some(first) = node.rows.first().map(|row| row.first.clone()) else { return Ok(()) };
        let chunk = self.store_node(&node)?;
        let mut packs = node.packs();
        packs.insert(chunk.pack.id);
        self.row(level + 1, NodeRow { first, chunk, counts: node.counts(), packs })
    }

    fn store_node(&mut self, node: &Node) -> Result<ChunkRef> {
        let bytes = node.encode();
        match self.parent_nodes.get(&self.writer.id_of(&bytes)) {
            Some(chunk) => Ok(*chunk),
            None => self.writer.add(&bytes),
        }
    }

    fn finish(mut self) -> Result<BuiltTable> {
        if let Some(run) = self.held_back.take() {
            self.row(0, run.page.loaded.row.clone())?;
        }
        self.end_page()?;
        let mut level = 0;
        while level < self.levels.len() {
            let waiting = &mut self.levels[level];
            if !waiting.has_nodes && waiting.rows.len() == 1 {
                break;
            }
            if !waiting.rows.is_empty() {
                self.end_node(level)?;
            }
            level += 1;
        }
        self.writer.flush()?;
        let top = self.levels.get_mut(level).and_then(|level| level.rows.pop());
        Ok(match top {
            Some(row) => BuiltTable {
                root: TableRoot { level: level as u8, chunk: Some(row.chunk), counts: row.counts },
                packs: row.packs,
            },
            None => BuiltTable {
                root: TableRoot { level: 0, chunk: None, counts: Counts::default() },
                packs: PackSet::default(),
            },
        })
    }
}
