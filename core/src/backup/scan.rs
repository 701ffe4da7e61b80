//! The walk: merges the source with the parent's table, sends content to be read to the workers
//! and everything in table order to the table's builder.

use std::{collections::HashSet, sync::Arc};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Changes,
    parent::{Before, ParentCursor, Run},
    reader::{FileRead, source_failed},
    shared::{Shared, stopped},
};
use crate::{
    entry::{Entry, EntryKind, TreePath, display_name, is_valid_name},
    error::{Error, Result},
    monitor::{Problem, Progress},
    source::{Batch, Folder, Found, InodeKey, Source},
};

/// A file to be read.
pub(super) struct Job {
    pub(super) folder: Arc<dyn Folder>,
    pub(super) found: Found,
    pub(super) reply: Sender<std::io::Result<FileRead>>,
}

/// The next thing of the table.
pub(super) enum Item {
    /// Unchanged entries of the parent.
    Same(Run),
    /// A new or changed entry.
    Fresh(Box<Fresh>),
}

/// A new or changed entry.
pub(super) struct Fresh {
    pub(super) folder: Arc<TreePath>,
    pub(super) found: Found,
    /// Of a file with several names.
    pub(super) inode: Option<InodeKey>,
    pub(super) state: State,
}

/// How far a new or changed entry is.
pub(super) enum State {
    /// All is known.
    Ready(Box<Entry>),
    /// A worker reads it.
    Reading(Receiver<std::io::Result<FileRead>>),
    /// A further name of an inode that came before.
    HardLink,
}

/// What the walk counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ScanCounts {
    pub(super) files: Changes,
    pub(super) dirs: Changes,
    pub(super) others: Changes,
}

/// How far the walk is.
struct Place {
    folder: Arc<TreePath>,
    name: Vec<u8>,
}

/// Walks the source.
pub(super) struct Scanner {
    parent: ParentCursor,
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    items: Sender<Item>,
    run: Option<Run>,
    counts: ScanCounts,
    /// Inodes with several names whose content is being read.
    linked: HashSet<InodeKey>,
}

impl Scanner {
    pub(super) fn new(
        parent: ParentCursor,
        shared: Arc<Shared>,
        jobs: Sender<Job>,
        items: Sender<Item>,
    ) -> Self {
        let counts = ScanCounts::default();
        Self { parent, shared, jobs, items, run: None, counts, linked: HashSet::new() }
    }

    /// Walks to the end.
    pub(super) fn run(mut self, source: &dyn Source) -> Result<ScanCounts> {
        let mut scan = source.scan().map_err(source_failed)?;
        let mut last = None;
        while let Some(batch) = scan.next_batch().map_err(source_failed)? {
            self.shared.check()?;
            last = Some(self.batch(batch, last)?);
        }
        self.flush_run()?;
        Ok(self.counts)
    }

    /// `last` is where the batch before ended, and so is what is returned.
    fn batch(&mut self, batch: Batch, last: Option<Place>) -> Result<Place> {
        batch.problems.into_iter().for_each(|problem| self.shared.problem(problem));
        let mut place = match last {
            Some(last) if *last.folder == batch.path => last,
            Some(last) if *last.folder > batch.path => {
                return Err(Error::internal("the source walks folders out of order"));
            }
            _ => Place { folder: Arc::new(batch.path), name: Vec::new() },
        };
        for found in batch.entries {
            if !is_valid_name(&found.name) || found.name <= place.name {
                return Err(Error::internal("the source gives names out of order")
                    .on(display_name(&found.name)));
            }
            place.name.clone_from(&found.name);
            self.entry(&place.folder, &batch.folder, found)?;
        }
        Ok(place)
    }

    fn entry(
        &mut self,
        path: &Arc<TreePath>,
        folder: &Arc<dyn Folder>,
        found: Found,
    ) -> Result<()> {
        let is_file = found.stat.kind == EntryKind::File;
        if is_file {
            let total =
                Progress { files_total: 1, bytes_total: found.stat.size, ..Progress::default() };
            self.shared.advance(total);
        }
        match self.parent.look_up(path, &found.name, &found.stat)? {
            Before::Same(page, index) if !folder.has_changed(&found) => {
                self.changes(found.stat.kind).unmodified += 1;
                if is_file {
                    let done = Progress {
                        files_done: 1,
                        bytes_done: found.stat.size,
                        ..Progress::default()
                    };
                    self.shared.advance(done);
                }
                self.extend_run(page, index)
            }
            Before::Nothing => {
                self.changes(found.stat.kind).new += 1;
                self.fresh(path, folder, found)
            }
            Before::Same(..) | Before::Changed => {
                self.changes(found.stat.kind).changed += 1;
                self.fresh(path, folder, found)
            }
        }
    }

    fn changes(&mut self, kind: EntryKind) -> &mut Changes {
        match kind {
            EntryKind::File => &mut self.counts.files,
            EntryKind::Dir => &mut self.counts.dirs,
            _ => &mut self.counts.others,
        }
    }

    fn extend_run(&mut self, page: Arc<super::parent::ParentPage>, index: usize) -> Result<()> {
        if let Some(run) = &mut self.run {
            if Arc::ptr_eq(&run.page, &page) && run.range.end == index {
                run.range.end = index + 1;
                return Ok(());
            }
            self.flush_run()?;
        }
        self.run = Some(Run { page, range: index..index + 1 });
        Ok(())
    }

    fn flush_run(&mut self) -> Result<()> {
        match self.run.take() {
            Some(run) => self.send(Item::Same(run)),
            None => Ok(()),
        }
    }

    fn fresh(
        &mut self,
        path: &Arc<TreePath>,
        folder: &Arc<dyn Folder>,
        found: Found,
    ) -> Result<()> {
        self.flush_run()?;
        let is_file = found.stat.kind == EntryKind::File;
        let inode = (is_file && found.stat.links > 1).then(|| folder.inode(&found));
        let state = if is_file {
            self.file(folder, &found, inode)?
        } else {
            match folder.details(&found) {
                Ok(details) => State::Ready(Box::new(Entry {
                    name: found.name.clone(),
                    stat: found.stat,
                    details,
                    content: crate::entry::Content::default(),
                    is_torn: false,
                })),
                Err(error) => {
                    self.shared.problem(unreadable(path, &found.name, &error));
                    return Ok(());
                }
            }
        };
        self.send(Item::Fresh(Box::new(Fresh { folder: path.clone(), found, inode, state })))
    }

    fn file(
        &mut self,
        folder: &Arc<dyn Folder>,
        found: &Found,
        inode: Option<InodeKey>,
    ) -> Result<State> {
        if inode.is_some_and(|inode| !self.linked.insert(inode)) {
            return Ok(State::HardLink);
        }
        let (reply, answer) = bounded(1);
        let job = Job { folder: folder.clone(), found: found.clone(), reply };
        self.jobs.send(job).map_err(|_| stopped())?;
        Ok(State::Reading(answer))
    }

    fn send(&self, item: Item) -> Result<()> {
        self.items.send(item).map_err(|_| stopped())
    }
}

/// A problem with an entry that is left out.
pub(super) fn unreadable(folder: &TreePath, name: &[u8], error: &std::io::Error) -> Problem {
    Problem {
        item: format!("/{}", folder.join(name).display()),
        message: format!("cannot be read: {error}"),
        is_error: true,
    }
}
