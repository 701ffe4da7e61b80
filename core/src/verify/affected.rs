//! Which snapshots and files need what is damaged. Runs only if something is, and reads only
//! those parts of the tables that refer to damaged packs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Run,
    findings::{Extent, reason},
    small::Commits,
};
use crate::{
    entry::{ChunkRef, Content, Entry, EntryKind, Piece},
    error::Result,
    format::{
        forwarding::Forwarding,
        page::{Counts, EntryKey, Node, NodeRow, Page, PieceList},
    },
    id::{PackId, SessionId},
    packset::PackSet,
};

/// Damaged packs, and which part of each is.
type Damaged = BTreeMap<PackId, Extent>;

/// One table to be searched: of this level, below this chunk.
struct Part {
    level: u8,
    chunk: ChunkRef,
    /// Path of the first entry and what there is, if a node says so.
    label: Option<(EntryKey, Counts)>,
}

/// Finds what is affected.
struct Search {
    damaged: Damaged,
    /// Where rewritten packs went.
    forwarding: Arc<Forwarding>,
    /// The damaged packs that pages need: none of them is read again for another snapshot.
    known: HashMap<ChunkRef, Vec<PackId>>,
}

impl Run<'_> {
    /// Adds snapshots and paths to the findings about packs.
    pub(super) async fn find_affected(&mut self, commits: &Commits) -> Result<()> {
        let damaged = self.findings.damaged_packs();
        if damaged.is_empty() {
            return Ok(());
        }
        let forwarding = commits.forwarding.clone();
        let mut search = Search { damaged, forwarding, known: HashMap::new() };
        for (session, loaded) in commits.live() {
            let Some(root) = &loaded.commit.root else { continue };
            let concerns = search.concerns(&loaded.references);
            let Some(chunk) = root.chunk.filter(|_| concerns) else { continue };
            let part = Part { level: root.level, chunk, label: None };
            self.search(&mut search, *session, part).await?;
        }
        Ok(())
    }

    async fn search(&mut self, search: &mut Search, snapshot: SessionId, top: Part) -> Result<()> {
        let mut pending = vec![top];
        while let Some(part) = pending.pop() {
            self.check_cancelled()?;
            let chunk = part.chunk;
            if let Some(packs) = search.known.get(&chunk) {
                for pack in packs {
                    self.findings.affects(*pack, snapshot, None);
                }
                continue;
            }
            let Some(chunk) = self.located(&chunk).await? else { continue };
            if search.is_damaged(&chunk) {
                let lost = part.describe();
                self.findings.misses(chunk.pack.id, chunk.id);
                self.findings.affects(chunk.pack.id, snapshot, Some(&lost));
                continue;
            }
            let bytes = match self.packs.chunk(&chunk).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    reason(error)?;
                    continue;
                }
            };
            if part.level > 0 {
                let Ok(node) = Node::decode(&bytes) else { continue };
                let rows = node.rows.into_iter().rev();
                let below = rows.filter(|row| search.concerns(&row.packs));
                pending.extend(below.map(|row| Part::of_row(part.level - 1, row)));
            } else if let Ok(page) = Page::decode(&bytes) {
                let hit = self.search_page(search, snapshot, &page).await?;
                search.known.insert(chunk, hit);
            }
        }
        Ok(())
    }

    /// Names the entries of a page that need damaged packs; gives those packs.
    async fn search_page(
        &mut self,
        search: &Search,
        snapshot: SessionId,
        page: &Page,
    ) -> Result<Vec<PackId>> {
        let mut all = PackSet::default();
        for (folder, entry) in page.entries() {
            if entry.stat.kind != EntryKind::File {
                continue;
            }
            for chunk in self.damaged_chunks_of(search, entry).await? {
                let (pack, path) = (chunk.pack.id, folder.join(&entry.name).display());
                self.findings.misses(pack, chunk.id);
                self.findings.affects(pack, snapshot, Some(&path));
                all.insert(pack);
            }
        }
        Ok(all.iter().collect())
    }

    async fn damaged_chunks_of(&self, search: &Search, entry: &Entry) -> Result<Vec<ChunkRef>> {
        let mut hit = Vec::new();
        match &entry.content {
            Content::Inline(pieces) => self.add_pieces(search, &mut hit, pieces).await?,
            Content::Listed { lists, packs } => {
                if search.concerns(packs) {
                    self.search_lists(search, lists, &mut hit).await?;
                }
                for list in lists {
                    let located = self.located(list).await?;
                    let damaged = located.filter(|list| search.is_damaged(list));
                    hit.extend(damaged);
                }
            }
        }
        Ok(hit)
    }

    async fn search_lists(
        &self,
        search: &Search,
        lists: &[ChunkRef],
        hit: &mut Vec<ChunkRef>,
    ) -> Result<()> {
        for list in lists {
            let located = self.located(list).await?;
            let Some(list) = located.filter(|list| !search.is_damaged(list)) else { continue };
            match self.packs.chunk(&list).await.and_then(|bytes| PieceList::decode(&bytes)) {
                Ok(list) => self.add_pieces(search, hit, &list.pieces).await?,
                Err(error) => drop(reason(error)?),
            }
        }
        Ok(())
    }
}

impl Run<'_> {
    async fn add_pieces(
        &self,
        search: &Search,
        hit: &mut Vec<ChunkRef>,
        pieces: &[Piece],
    ) -> Result<()> {
        for piece in pieces {
            let Piece::Chunk(chunk) = piece else { continue };
            let located = self.located(chunk).await?;
            let damaged = located.filter(|chunk| search.is_damaged(chunk));
            hit.extend(damaged);
        }
        Ok(())
    }

    /// Where the chunk lies now; where it was if it did not come along.
    async fn located(&self, chunk: &ChunkRef) -> Result<Option<ChunkRef>> {
        match self.packs.locate(chunk).await {
            Ok(located) => Ok(Some(located)),
            Err(error) => reason(error).map(|_| Some(*chunk)),
        }
    }
}

impl Search {
    fn is_damaged(&self, chunk: &ChunkRef) -> bool {
        self.damaged.get(&chunk.pack.id).is_some_and(|extent| extent.covers(chunk.segment))
    }

    /// True if one of the damaged packs is among those that hold what `packs` refer to.
    fn concerns(&self, packs: &PackSet) -> bool {
        let stored = self.forwarding.resolve(packs);
        self.damaged.keys().any(|pack| stored.contains(*pack) || packs.contains(*pack))
    }
}

impl Part {
    fn of_row(level: u8, row: NodeRow) -> Self {
        Self { level, chunk: row.chunk, label: Some((row.first, row.counts)) }
    }

    /// What is lost with this part of the table.
    fn describe(&self) -> String {
        match &self.label {
            None => "all entries".to_owned(),
            Some((first, counts)) => {
                let path = first.folder.join(&first.name).display();
                format!("{path} and the entries after it, {} in all", counts.entries())
            }
        }
    }
}
