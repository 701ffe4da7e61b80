//! The walk: merges the source with the parents' tables, sends content to be read to the workers
//! and everything in table order to the tables' builders. One walk serves all lanes.

use std::{collections::HashSet, sync::Arc};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{
    Changes,
    parent::{Before, ParentCursor, ParentPage, Run},
    reader::{FileRead, source_failed},
    shared::{Lanes, Shared, stopped},
};
use crate::{
    entry::{Entry, EntryKind, TreePath, display_name, is_valid_name},
    error::{Error, Result},
    monitor::{Problem, Progress},
    source::{Batch, Folder, Found, InodeKey, Source},
};

/// A file to be read, once, and the lanes that need it.
pub(super) struct Job {
    pub(super) folder: Arc<dyn Folder>,
    pub(super) found: Found,
    pub(super) replies: Vec<(usize, Reply)>,
}

/// Where a lane's table gets the file.
pub(super) type Reply = Sender<std::io::Result<FileRead>>;

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
    /// The lane tells the monitor when it is done: one of those that need it does.
    pub(super) is_counted: bool,
    pub(super) state: State,
}

/// How far a new or changed entry is.
#[derive(Clone)]
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

/// What the walk is compared with, and where its results go, for one lane.
pub(super) struct LaneScan {
    parent: ParentCursor,
    shared: Arc<Shared>,
    items: Sender<Item>,
    run: Option<Run>,
    counts: ScanCounts,
    /// Inodes with several names whose content is being read.
    linked: HashSet<InodeKey>,
}

/// Walks the source.
pub(super) struct Scanner {
    lanes: Vec<LaneScan>,
    shared: Arc<Lanes>,
    jobs: Sender<Job>,
    /// The lanes that the entry at hand is new to; here to be reused.
    concerned: Vec<usize>,
}

impl Scanner {
    pub(super) fn new(lanes: Vec<LaneScan>, shared: Arc<Lanes>, jobs: Sender<Job>) -> Self {
        Self { lanes, shared, jobs, concerned: Vec::new() }
    }

    /// Walks to the end; what was counted is by lane.
    pub(super) fn run(mut self, source: &dyn Source) -> Result<Vec<ScanCounts>> {
        let mut scan = source.scan().map_err(source_failed)?;
        let mut last = None;
        while let Some(batch) = scan.next_batch().map_err(source_failed)? {
            self.shared.check()?;
            last = Some(self.batch(batch, last)?);
        }
        for lane in self.lanes.iter_mut().filter(|lane| !lane.shared.is_over()) {
            if let Err(error) = lane.flush_run() {
                lane.shared.fail(error);
            }
        }
        Ok(self.lanes.into_iter().map(|lane| lane.counts).collect())
    }

    /// `last` is where the batch before ended, and so is what is returned.
    fn batch(&mut self, batch: Batch, last: Option<Place>) -> Result<Place> {
        batch.problems.iter().for_each(|problem| self.shared.problem(problem));
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
        let bytes = found.stat.size;
        if is_file {
            let total = Progress { files_total: 1, bytes_total: bytes, ..Progress::default() };
            self.shared.advance(total);
        }
        let mut concerned = std::mem::take(&mut self.concerned);
        concerned.clear();
        self.each_lane(|number, lane| {
            if lane.compare(path, folder, &found)? {
                concerned.push(number);
            }
            Ok(())
        });
        if !concerned.is_empty() {
            self.fresh(path, folder, found, &concerned)?;
        } else if is_file {
            let done = Progress { files_done: 1, bytes_done: bytes, ..Progress::default() };
            self.shared.advance(done);
        }
        self.concerned = concerned;
        Ok(())
    }

    /// Works for the lanes that still go on; one that fails is left out from then on.
    fn each_lane(&mut self, mut work: impl FnMut(usize, &mut LaneScan) -> Result<()>) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if !lane.shared.is_over()
                && let Err(error) = work(number, lane)
            {
                lane.shared.fail(error);
            }
        }
    }

    /// Takes up an entry that is new to the `concerned` lanes.
    fn fresh(
        &mut self,
        path: &Arc<TreePath>,
        folder: &Arc<dyn Folder>,
        found: Found,
        concerned: &[usize],
    ) -> Result<()> {
        let is_file = found.stat.kind == EntryKind::File;
        let inode = (is_file && found.stat.links > 1).then(|| folder.inode(&found));
        let states = match is_file {
            true => self.file(folder, &found, inode, concerned)?,
            false => match folder.details(&found) {
                Ok(details) => {
                    let entry = Entry {
                        name: found.name.clone(),
                        stat: found.stat,
                        details,
                        content: crate::entry::Content::default(),
                        is_torn: false,
                    };
                    vec![State::Ready(Box::new(entry)); concerned.len()]
                }
                Err(error) => {
                    let problem = unreadable(path, &found.name, &error);
                    self.each_lane(|number, lane| {
                        if concerned.contains(&number) {
                            lane.shared.problem(problem.clone());
                        }
                        Ok(())
                    });
                    return Ok(());
                }
            },
        };
        self.hand_out(path, &found, inode, concerned.iter().copied().zip(states))
    }

    /// Sends the entry to the table of each lane.
    fn hand_out(
        &mut self,
        path: &Arc<TreePath>,
        found: &Found,
        inode: Option<InodeKey>,
        states: impl Iterator<Item = (usize, State)>,
    ) -> Result<()> {
        let mut is_counted = true;
        for (number, state) in states {
            let Some(lane) = self.lanes.get_mut(number) else { continue };
            let fresh =
                Fresh { folder: path.clone(), found: found.clone(), inode, is_counted, state };
            match lane.flush_run().and_then(|()| lane.send(Item::Fresh(Box::new(fresh)))) {
                Ok(()) => is_counted = false,
                Err(error) => lane.shared.fail(error),
            }
        }
        Ok(())
    }

    /// Has the file read for those of the `concerned` lanes that do not know its inode.
    fn file(
        &mut self,
        folder: &Arc<dyn Folder>,
        found: &Found,
        inode: Option<InodeKey>,
        concerned: &[usize],
    ) -> Result<Vec<State>> {
        let mut replies = Vec::with_capacity(concerned.len());
        let mut states = Vec::with_capacity(concerned.len());
        for number in concerned {
            let linked = self.lanes.get_mut(*number).map(|lane| &mut lane.linked);
            if let (Some(linked), Some(inode)) = (linked, inode)
                && !linked.insert(inode)
            {
                states.push(State::HardLink);
                continue;
            }
            let (reply, answer) = bounded(1);
            replies.push((*number, reply));
            states.push(State::Reading(answer));
        }
        if !replies.is_empty() {
            let job = Job { folder: folder.clone(), found: found.clone(), replies };
            self.jobs.send(job).map_err(|_| stopped())?;
        }
        Ok(states)
    }
}

impl LaneScan {
    pub(super) fn new(parent: ParentCursor, shared: Arc<Shared>, items: Sender<Item>) -> Self {
        let counts = ScanCounts::default();
        Self { parent, shared, items, run: None, counts, linked: HashSet::new() }
    }

    /// Looks the entry up in the parent; true if it is new or changed.
    fn compare(
        &mut self,
        path: &TreePath,
        folder: &Arc<dyn Folder>,
        found: &Found,
    ) -> Result<bool> {
        let before = self.parent.look_up(path, &found.name, &found.stat)?;
        let changes = match found.stat.kind {
            EntryKind::File => &mut self.counts.files,
            EntryKind::Dir => &mut self.counts.dirs,
            _ => &mut self.counts.others,
        };
        match before {
            Before::Same(page, index) if !folder.has_changed(found) => {
                changes.unmodified += 1;
                self.extend_run(page, index)?;
                return Ok(false);
            }
            Before::Same(..) | Before::Changed => changes.changed += 1,
            Before::Nothing => changes.new += 1,
        }
        Ok(true)
    }

    fn extend_run(&mut self, page: Arc<ParentPage>, index: usize) -> Result<()> {
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
