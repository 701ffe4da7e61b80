//! Every chunk that snapshots refer to, table and content, as it lies now.
//!
//! Pages, nodes and lists that several snapshots share are read once.

use std::collections::HashSet;

use futures::{StreamExt, stream};

use crate::{
    entry::{ChunkRef, Content, Piece},
    error::{ErrorKind, Result},
    format::page::{Node, Page, PieceList, TableRoot},
    monitor::Monitor,
    packset::PackSet,
    repository::{LoadedCommit, Repository, packs::PackReader},
    tasks,
};

/// Pages read at once.
const PAGES_AT_ONCE: usize = 8;

/// Something that is referred to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference {
    /// Where it lies.
    pub(super) chunk: ChunkRef,
    /// True for pages, nodes and lists.
    pub(super) is_table: bool,
}

/// What could not be found out.
#[derive(Debug, Default)]
pub(crate) struct Blind {
    /// Packs that unreadable parts of tables may refer to: nobody knows what of them is needed.
    pub(super) packs: PackSet,
    /// How many parts could not be read.
    pub(crate) parts: u64,
}

/// Calls `found` for every reference of `snapshots`; the same one may come several times.
///
/// # Errors
/// What the target reports; damaged parts of tables are in the result.
pub(super) async fn walk(
    repository: &Repository,
    snapshots: &[&LoadedCommit],
    monitor: &dyn Monitor,
    found: &mut (dyn FnMut(Reference) + Send),
) -> Result<Blind> {
    let mut walk = Walk {
        repository,
        packs: repository.packs(),
        seen: HashSet::new(),
        blind: Blind::default(),
        monitor,
        found,
    };
    for loaded in snapshots {
        if let Some(TableRoot { level, chunk: Some(chunk), .. }) = &loaded.commit.root {
            walk.table(*level, *chunk, &loaded.references).await?;
        }
    }
    Ok(walk.blind)
}

struct Walk<'a> {
    repository: &'a Repository,
    packs: &'a PackReader,
    /// The first half of the ids of tables' parts that were read.
    seen: HashSet<u128>,
    blind: Blind,
    monitor: &'a dyn Monitor,
    found: &'a mut (dyn FnMut(Reference) + Send),
}

/// A part of a table to be read, and the packs that all below it needs.
struct Part {
    level: u8,
    chunk: ChunkRef,
    packs: PackSet,
}

/// A part as read.
enum Loaded {
    Node(Node),
    Page(Page),
}

impl Walk<'_> {
    async fn table(&mut self, level: u8, root: ChunkRef, references: &PackSet) -> Result<()> {
        let mut pending = vec![Part { level, chunk: root, packs: references.clone() }];
        while let Some(part) = pending.pop() {
            super::check_cancelled(self.monitor)?;
            if !self.is_new(&part.chunk) {
                continue;
            }
            match self.read(&part).await? {
                Some(Loaded::Node(node)) if node.level > 1 => {
                    let below = node.level - 1;
                    pending.extend(node.rows.into_iter().map(|row| Part {
                        level: below,
                        chunk: row.chunk,
                        packs: row.packs,
                    }));
                }
                Some(Loaded::Node(node)) => self.pages(node).await?,
                Some(Loaded::Page(page)) => self.entries(&page).await?,
                None => {}
            }
        }
        Ok(())
    }

    /// The pages of one node, several at once.
    async fn pages(&mut self, node: Node) -> Result<()> {
        let rows: Vec<_> = node.rows.into_iter().filter(|row| self.is_new(&row.chunk)).collect();
        let repository = self.repository.clone();
        let reads = stream::iter(rows).map(move |row| {
            let part = Part { level: 0, chunk: row.chunk, packs: row.packs };
            let repository = repository.clone();
            async move {
                let read = read_part(repository.packs(), &part).await;
                (part, read)
            }
        });
        let mut reads = tasks::ahead(reads, PAGES_AT_ONCE);
        while let Some((part, read)) = reads.next().await {
            super::check_cancelled(self.monitor)?;
            if let Some(Loaded::Page(page)) = self.take(&part, read)? {
                self.entries(&page).await?;
            }
        }
        Ok(())
    }

    async fn entries(&mut self, page: &Page) -> Result<()> {
        for (_, entry) in page.entries() {
            match &entry.content {
                Content::Inline(pieces) => self.pieces(pieces).await?,
                Content::Listed { lists, packs } => {
                    for list in lists {
                        if self.is_new(list) {
                            self.list(*list, packs).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    async fn list(&mut self, list: ChunkRef, packs: &PackSet) -> Result<()> {
        let part = Part { level: 0, chunk: list, packs: packs.clone() };
        let read = match self.packs.locate(&list).await {
            Ok(chunk) => {
                let read = self.packs.table_chunk(&list).await;
                read.and_then(|bytes| PieceList::decode(&bytes)).map(|list| (chunk, list))
            }
            Err(error) => Err(error),
        };
        if let Some(list) = self.take(&part, read)? {
            self.pieces(&list.pieces).await?;
        }
        Ok(())
    }

    async fn pieces(&mut self, pieces: &[Piece]) -> Result<()> {
        for piece in pieces {
            let Piece::Chunk(chunk) = piece else { continue };
            match self.packs.locate(chunk).await {
                Ok(chunk) => (self.found)(Reference { chunk, is_table: false }),
                Err(error) if error.kind() == ErrorKind::Damaged => self.blind.parts += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read(&mut self, part: &Part) -> Result<Option<Loaded>> {
        let read = read_part(self.packs, part).await;
        self.take(part, read)
    }

    /// Counts what was read as referred to; what could not be read makes blind.
    fn take<T>(&mut self, part: &Part, read: Result<(ChunkRef, T)>) -> Result<Option<T>> {
        match read {
            Ok((chunk, loaded)) => {
                (self.found)(Reference { chunk, is_table: true });
                Ok(Some(loaded))
            }
            Err(error) if error.kind() == ErrorKind::Damaged => {
                tracing::warn!(%error, "a part of a snapshot's table cannot be read");
                self.blind.parts += 1;
                let forwarding = self.packs.forwarding();
                self.blind.packs.union(&forwarding.resolve(&part.packs));
                self.blind.packs.insert(part.chunk.pack.id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn is_new(&mut self, chunk: &ChunkRef) -> bool {
        self.seen.insert(fingerprint(chunk))
    }
}

/// Tells chunks of tables apart: ids are keyed hashes, and the same id in another pack is another
/// reference.
fn fingerprint(chunk: &ChunkRef) -> u128 {
    let half =
        |bytes: &[u8]| bytes.first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes));
    let pack = half(chunk.pack.id.session.as_bytes()).rotate_left(chunk.pack.id.counter % 128);
    half(chunk.id.as_bytes()) ^ pack
}

async fn read_part(packs: &PackReader, part: &Part) -> Result<(ChunkRef, Loaded)> {
    let chunk = packs.locate(&part.chunk).await?;
    let bytes = packs.table_chunk(&part.chunk).await?;
    let loaded = match part.level {
        0 => Loaded::Page(Page::decode(&bytes)?),
        _ => Loaded::Node(Node::decode(&bytes)?),
    };
    Ok((chunk, loaded))
}
