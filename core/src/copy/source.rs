//! A stored snapshot as a source: the table's folders in order, everything as it is stored.
//!
//! Knows nothing of the destination. Memory: a few pages of the table and what is read ahead.

use std::{collections::VecDeque, fmt, io, sync::Arc};

use futures::StreamExt;
use tokio::{runtime::Handle, sync::watch};

use super::{
    ahead::{Ahead, Turn},
    changes::{Changes, Cursor},
    feed::{Feed, Feeder},
    file::StoredFile,
};
use crate::{
    entry::{ChunkRef, Content, Details, Entry, EntryKind, Piece, TreePath},
    error::{ErrorKind, Result},
    repository::{LoadedPage, Repository, Snapshot, Table, packs::PackReader},
    source::{Batch, Folder, Found, InodeKey, Scan, Source, SourceFile},
    tasks::{self, Task},
};

/// Pages read ahead of the walk, beyond those that the table itself reads ahead.
const PAGES_MAX: usize = 2;
/// Bytes of segments in plain that one copy keeps in memory.
const SEGMENTS_BYTES: usize = 64 << 20;
/// A segment in plain: many small chunks, or a large one.
const SEGMENT_BYTES_MIN: usize = 1 << 20;
const SEGMENTS_MIN: usize = 8;
const SEGMENTS_MAX: usize = 32;

/// What walk and files of one source share.
pub(super) struct Shared {
    pub(super) packs: Arc<PackReader>,
    /// Where the reads run: files are read by threads that are none of the async runtime's.
    pub(super) runtime: Handle,
    pub(super) ahead: Ahead,
    is_stopped: watch::Sender<bool>,
}

impl Shared {
    /// Starts `work` that feeds a reader; it ends when the run is to stop, too.
    pub(super) fn start(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Task<()> {
        let _guard = self.runtime.enter();
        let mut stopped = self.is_stopped.subscribe();
        tasks::spawn(name, async move {
            tokio::select! {
                () = work => {}
                _ = stopped.wait_for(|is_stopped| *is_stopped) => {}
            }
            Ok(())
        })
    }
}

/// A snapshot to be copied.
pub(super) struct StoredSource {
    snapshot: Snapshot,
    table: Table,
    changes: Changes,
    shared: Arc<Shared>,
    /// What cannot be read is left out.
    is_rescue: bool,
}

impl StoredSource {
    /// The snapshot without what of it is lost, to be saved beside itself.
    pub(super) fn rescue(origin: &Repository, snapshot: &Snapshot) -> Self {
        let table = origin.table(&snapshot.root).past_damage();
        let source = Self::new(origin, snapshot, table, Changes::none());
        Self { is_rescue: true, ..source }
    }

    /// `before` is a snapshot of the same repository that the destination's parent is a copy of.
    pub(super) async fn open(
        origin: &Repository,
        snapshot: &Snapshot,
        before: Option<&Snapshot>,
    ) -> Result<Self> {
        let table = origin.table(&snapshot.root);
        let before = before.map(|before| origin.table(&before.root));
        let changes = Changes::find(&table, before).await?;
        Ok(Self::new(origin, snapshot, table, changes))
    }

    fn new(origin: &Repository, snapshot: &Snapshot, table: Table, changes: Changes) -> Self {
        let chunk_bytes = origin.settings().chunking.max_bytes().max(SEGMENT_BYTES_MIN);
        let count = (SEGMENTS_BYTES / chunk_bytes).clamp(SEGMENTS_MIN, SEGMENTS_MAX);
        let packs = Arc::new(origin.packs().with_segments(count));
        let ahead = Ahead::new(packs.clone(), count / 4);
        let (is_stopped, _) = watch::channel(false);
        let shared = Arc::new(Shared { packs, runtime: Handle::current(), ahead, is_stopped });
        Self { snapshot: snapshot.clone(), table, changes, shared, is_rescue: false }
    }
}

impl fmt::Debug for StoredSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSource({})", self.snapshot.id)
    }
}

impl Source for StoredSource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let table = self.table.clone();
        let is_rescue = self.is_rescue;
        let feed = |feeder| feed(table, is_rescue, feeder);
        Ok(Box::new(StoredScan {
            pages: Feed::start(&self.shared, "pages to copy", PAGES_MAX, feed),
            changes: self.changes.cursor(&self.shared),
            shared: self.shared.clone(),
            ready: VecDeque::new(),
        }))
    }

    fn roots(&self) -> Vec<String> {
        self.snapshot.paths.clone()
    }

    fn is_all_or_nothing(&self) -> bool {
        !self.is_rescue
    }

    fn interrupt(&self) {
        self.shared.is_stopped.send_replace(true);
    }
}

async fn feed(table: Table, is_rescue: bool, feeder: Feeder<LoadedPage>) -> Feeder<LoadedPage> {
    let mut pages = table.pages();
    while let Some(page) = pages.next().await {
        if let Err(error) = &page
            && is_rescue
            && error.kind() == ErrorKind::Damaged
        {
            tracing::warn!(%error, "a part of the table is left out");
            continue;
        }
        if !feeder.send(page).await {
            break;
        }
    }
    feeder
}

/// A walk over the table.
struct StoredScan {
    pages: Feed<LoadedPage>,
    changes: Cursor,
    shared: Arc<Shared>,
    /// Folders of the last page that are not given out yet.
    ready: VecDeque<Batch>,
}

impl Scan for StoredScan {
    /// A folder of which the table has no entry has no batch.
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        while self.ready.is_empty() {
            match self.pages.next().map_err(io::Error::other)? {
                Some(page) => self.page(page)?,
                None => return Ok(None),
            }
        }
        Ok(self.ready.pop_front())
    }
}

impl StoredScan {
    fn page(&mut self, loaded: LoadedPage) -> io::Result<()> {
        let changed = self.changes.of_page(&loaded).map_err(io::Error::other)?;
        let mut changed = changed.into_iter();
        for (number, group) in loaded.page.groups.iter().enumerate() {
            let states = group.entries.iter().zip(changed.by_ref());
            let states: Vec<State> = states.map(|(entry, is)| self.state(entry, is)).collect();
            let entries = group
                .entries
                .iter()
                .map(|entry| Found { name: entry.name.clone(), stat: entry.stat })
                .collect();
            let folder = StoredFolder {
                loaded: loaded.clone(),
                group: number,
                states,
                shared: self.shared.clone(),
            };
            self.ready.push_back(Batch {
                path: group.folder.clone(),
                entries,
                folder: Arc::new(folder),
                problems: Vec::new(),
            });
        }
        Ok(())
    }

    /// Small files that are going to be read are announced to the reader ahead.
    fn state(&self, entry: &Entry, has_changed: bool) -> State {
        let is_read = has_changed && entry.stat.kind == EntryKind::File;
        let turn = match &entry.content {
            Content::Inline(pieces) if is_read && entry.stat.size <= SEGMENT_BYTES_MIN as u64 => {
                first_chunk(pieces).map(|chunk| self.shared.ahead.announce(chunk))
            }
            _ => None,
        };
        State { has_changed, turn }
    }
}

fn first_chunk(pieces: &[Piece]) -> Option<ChunkRef> {
    pieces.iter().find_map(|piece| match piece {
        Piece::Chunk(chunk) => Some(*chunk),
        Piece::Hole(_) => None,
    })
}

/// What the walk found out about an entry.
struct State {
    has_changed: bool,
    turn: Option<Turn>,
}

/// A part of a folder that lies in one page.
struct StoredFolder {
    loaded: LoadedPage,
    group: usize,
    states: Vec<State>,
    shared: Arc<Shared>,
}

impl fmt::Debug for StoredFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.loaded.page.groups.get(self.group).map(|group| &group.folder);
        write!(f, "StoredFolder({})", path.unwrap_or(&TreePath::root()).display())
    }
}

impl StoredFolder {
    fn find(&self, found: &Found) -> io::Result<(&Entry, &State)> {
        let entries = self.loaded.page.groups.get(self.group).map(|group| &group.entries[..]);
        let entries = entries.unwrap_or_default();
        let at = entries.binary_search_by(|entry| entry.name.cmp(&found.name));
        let at = at.map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        match (entries.get(at), self.states.get(at)) {
            (Some(entry), Some(state)) => Ok((entry, state)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Folder for StoredFolder {
    fn details(&self, found: &Found) -> io::Result<Details> {
        Ok(self.find(found)?.0.details.clone())
    }

    fn open(&self, found: &Found) -> io::Result<Box<dyn SourceFile>> {
        let (entry, state) = self.find(found)?;
        if let Some(turn) = state.turn {
            self.shared.ahead.reached(turn, &self.shared);
        }
        Ok(Box::new(StoredFile::open(entry, self.shared.clone())))
    }

    fn has_changed(&self, found: &Found) -> bool {
        self.find(found).map_or(true, |(_, state)| state.has_changed)
    }

    /// The table may hold numbers of several file systems and times, so that equal numbers need
    /// not mean one inode. Names that agree in everything are one as far as a restore can tell.
    fn inode(&self, found: &Found) -> InodeKey {
        let mut hasher = blake3::Hasher::new();
        if let Ok((entry, _)) = self.find(found) {
            hasher.update(format!("{:?} {:?}", entry.stat, entry.details).as_bytes());
            hash_content(&mut hasher, &entry.content);
        }
        let mut halves = [[0; 8]; 2];
        hasher.finalize_xof().fill(halves.as_flattened_mut());
        let [first, second] = halves.map(u64::from_le_bytes);
        (first, second)
    }
}

fn hash_content(hasher: &mut blake3::Hasher, content: &Content) {
    match content {
        Content::Inline(pieces) => {
            for piece in pieces {
                match piece {
                    Piece::Chunk(chunk) => hasher.update(chunk.id.as_bytes()),
                    Piece::Hole(length) => hasher.update(&length.to_le_bytes()),
                };
            }
        }
        Content::Listed { lists, .. } => {
            for list in lists {
                hasher.update(list.id.as_bytes());
            }
        }
    }
}
