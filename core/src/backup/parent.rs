//! The parent snapshot: which one, and a cursor over its table that keeps step with the walk.

use std::{ops::Range, sync::Arc};

use tokio::sync::mpsc::Receiver;

use super::{BackupOptions, Parent};
use crate::{
    entry::{Entry, EntryKind, FileTime, Stat, TreePath},
    error::{Error, ErrorKind, Result},
    repository::{LoadedPage, Snapshot, SnapshotKind, WriterView},
    runtime::Timestamp,
};

/// The snapshot whose unchanged entries may be reused. `snapshots` is sorted oldest first.
pub(super) fn choose<'a>(
    snapshots: &'a [Snapshot],
    roots: &[String],
    options: &BackupOptions,
) -> Result<Option<&'a Snapshot>> {
    if let Parent::Snapshot(id) = options.parent {
        let found = snapshots.iter().find(|snapshot| snapshot.id == id);
        return found
            .map(Some)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such parent").on(id));
    }
    let is_like_this =
        |snapshot: &&Snapshot| snapshot.host == options.host && snapshot.paths == roots;
    let mut candidates = snapshots.iter().rev().filter(is_like_this);
    Ok(match options.kind {
        SnapshotKind::Full => None,
        SnapshotKind::Incremental => candidates.next(),
        SnapshotKind::Differential => {
            candidates.find(|snapshot| snapshot.kind == SnapshotKind::Full)
        }
    })
}

/// A page of the parent.
#[derive(Debug)]
pub(super) struct ParentPage {
    pub(super) loaded: LoadedPage,
    /// Group and entry numbers of all entries in order.
    flat: Vec<(u32, u32)>,
    /// False if what it needs is condemned or lost: its entries are read again.
    is_reusable: bool,
}

impl ParentPage {
    fn new(loaded: LoadedPage, view: &WriterView) -> Self {
        let groups = loaded.page.groups.iter().enumerate();
        let flat = groups
            .flat_map(|(group, rows)| (0..rows.entries.len()).map(move |row| (group, row)))
            .map(|(group, row)| (group as u32, row as u32))
            .collect();
        let is_reusable = view.may_reuse(&loaded.row.packs);
        Self { loaded, flat, is_reusable }
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.flat.len()
    }

    /// The `index`-th entry and its folder.
    pub(super) fn get(&self, index: usize) -> Option<(&TreePath, &Entry)> {
        let (group, row) = self.flat.get(index)?;
        let group = self.loaded.page.groups.get(*group as usize)?;
        Some((&group.folder, group.entries.get(*row as usize)?))
    }
}

/// Consecutive entries of one page, all unchanged.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) page: Arc<ParentPage>,
    pub(super) range: Range<usize>,
}

impl Run {
    /// True if the whole page is unchanged.
    pub(super) fn is_whole_page(&self) -> bool {
        self.range == (0..self.page.len())
    }
}

/// Moves over the parent's table while the walk moves over the source.
pub(super) struct ParentCursor {
    pages: Option<Receiver<Result<LoadedPage>>>,
    page: Option<Arc<ParentPage>>,
    index: usize,
    /// Stamps not older than this may have changed again without a trace.
    trusted_until: FileTime,
    view: Arc<WriterView>,
}

/// What the parent has under a name.
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// The same, unchanged: its place.
    Same(Arc<ParentPage>, usize),
    /// Something that changed.
    Changed,
}

impl ParentCursor {
    /// Without a parent: everything is new.
    pub(super) fn none() -> Self {
        Self {
            pages: None,
            page: None,
            index: 0,
            trusted_until: FileTime::default(),
            view: Arc::default(),
        }
    }

    /// Over the pages of a parent that began to be read at `started`. Of pages that need what
    /// `view` does not allow, nothing is reused.
    pub(super) fn new(
        pages: Receiver<Result<LoadedPage>>,
        started: Timestamp,
        view: Arc<WriterView>,
    ) -> Self {
        let (seconds, nanoseconds) = started.parts();
        let trusted_until = FileTime { seconds, nanoseconds };
        Self { pages: Some(pages), page: None, index: 0, trusted_until, view }
    }

    /// Looks `name` of `folder` up. Calls must come in table order.
    pub(super) fn look_up(
        &mut self,
        folder: &TreePath,
        name: &[u8],
        stat: &Stat,
    ) -> Result<Before> {
        loop {
            let Some(page) = self.page()? else { return Ok(Before::Nothing) };
            let Some((its_folder, entry)) = page.get(self.index) else {
                return Err(Error::internal("the parent's cursor left its page"));
            };
            match its_folder.cmp(folder).then_with(|| entry.name.as_slice().cmp(name)) {
                std::cmp::Ordering::Less => self.index += 1,
                std::cmp::Ordering::Greater => return Ok(Before::Nothing),
                std::cmp::Ordering::Equal => {
                    let before = if page.is_reusable && self.is_unchanged(entry, stat) {
                        Before::Same(page.clone(), self.index)
                    } else {
                        Before::Changed
                    };
                    self.index += 1;
                    return Ok(before);
                }
            }
        }
    }

    /// The page that the cursor is in, loading the next one at the end.
    fn page(&mut self) -> Result<Option<Arc<ParentPage>>> {
        while self.page.as_ref().is_none_or(|page| self.index >= page.len()) {
            let Some(pages) = &mut self.pages else { return Ok(None) };
            match pages.blocking_recv() {
                Some(Ok(loaded)) => {
                    self.page = Some(Arc::new(ParentPage::new(loaded, &self.view)));
                    self.index = 0;
                }
                // what it listed is read again
                Some(Err(error)) if error.kind() == ErrorKind::Damaged => {
                    tracing::warn!(%error, "a page of the parent is left out");
                    self.page = None;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.pages = None;
                    self.page = None;
                    return Ok(None);
                }
            }
        }
        Ok(self.page.clone())
    }

    /// Inode, times, size and everything else that one stat tells are as they were, and the
    /// times are old enough to be believed.
    ///
    /// The device number is left out: it changes over reboots. So is the room in use, which file
    /// systems decide late.
    fn is_unchanged(&self, entry: &Entry, now: &Stat) -> bool {
        let before = &entry.stat;
        let is_equal =
            Stat { device: before.device, allocated_bytes: before.allocated_bytes, ..*now }
                == *before;
        is_equal && !entry.is_torn && (now.kind != EntryKind::File || self.is_settled(now))
    }

    /// False if the file could have been written once more within the same time stamp after it
    /// was read: the stamp lies within the file system's granularity of our reading it.
    fn is_settled(&self, stat: &Stat) -> bool {
        // whole seconds speak for a file system that keeps no finer times
        let granularity_ns: i64 =
            if stat.ctime.nanoseconds == 0 { 2_000_000_000 } else { 20_000_000 };
        let nanoseconds = |time: FileTime| {
            i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
        };
        nanoseconds(stat.ctime) + i128::from(granularity_ns) < nanoseconds(self.trusted_until)
    }
}
