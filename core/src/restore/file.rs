//! One file on its way: pieces arrive in any order from any thread, the last one finishes it.

use std::{
    io,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use super::{Context, folders::Folder};
use crate::{
    entry::{Content, Entry, Stat},
    source::SinkFile,
};

/// A file that the plan wants to be as in the snapshot.
#[derive(Debug)]
pub(super) struct FileJob {
    /// Where it goes.
    pub(super) folder: Arc<Folder>,
    /// What it is to be.
    pub(super) entry: Entry,
    /// The regular file that is there now.
    pub(super) existing: Option<Stat>,
    /// For the further names of the same inode.
    pub(super) outcome: Option<Arc<Outcome>>,
}

/// How a file that has further names ended.
#[derive(Debug, Default)]
pub(super) struct Outcome(AtomicU8);

/// What an [`Outcome`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is still under way.
    Pending,
    /// It is there, as in the snapshot.
    Right,
    /// It could not be restored.
    Failed,
}

impl Outcome {
    pub(super) fn get(&self) -> Ending {
        match self.0.load(Ordering::Acquire) {
            0 => Ending::Pending,
            1 => Ending::Right,
            _ => Ending::Failed,
        }
    }

    pub(super) fn set(&self, is_right: bool) {
        self.0.store(if is_right { 1 } else { 2 }, Ordering::Release);
    }
}

impl FileJob {
    /// Notes that the file is as in the snapshot, or never will be.
    pub(super) fn end(&self, is_right: bool) {
        if let Some(outcome) = &self.outcome {
            outcome.set(is_right);
        }
    }
}

#[derive(Debug)]
enum State {
    /// Nothing is written yet.
    Planned,
    /// Under its temporary name.
    Open(Box<dyn SinkFile>),
    /// Finished or given up.
    Closed,
}

/// A file being written.
#[derive(Debug)]
pub(super) struct FileWork {
    context: Arc<Context>,
    job: FileJob,
    state: RwLock<State>,
    /// Pieces still to come, and one for the gatherer while it may add more.
    pending: AtomicU64,
    written_bytes: AtomicU64,
    has_failed: AtomicBool,
}

impl FileWork {
    /// Begins the file; the content of its entry goes to the caller. It is held once.
    pub(super) fn begin(context: &Arc<Context>, mut job: FileJob) -> (Arc<Self>, Content) {
        context.control.in_flight.begin();
        let content = std::mem::take(&mut job.entry.content);
        let work = Self {
            context: context.clone(),
            job,
            state: RwLock::new(State::Planned),
            pending: AtomicU64::new(1),
            written_bytes: AtomicU64::new(0),
            has_failed: AtomicBool::new(false),
        };
        (Arc::new(work), content)
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.job.entry
    }

    pub(super) fn folder(&self) -> &Arc<Folder> {
        &self.job.folder
    }

    /// Its path in the snapshot for people.
    pub(super) fn display(&self) -> String {
        self.job.folder.display(&self.context.control.base, &self.job.entry.name)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Adds pieces to come.
    pub(super) fn hold(&self, pieces: u64) {
        self.pending.fetch_add(pieces, Ordering::Relaxed);
    }

    /// Takes pieces off; true for the last ones: then the caller has to [`Self::conclude`].
    #[must_use]
    pub(super) fn release(&self, pieces: u64) -> bool {
        self.pending.fetch_sub(pieces, Ordering::AcqRel) == pieces
    }

    /// Writes a piece. Failures concern this file only, or stop the run.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        if self.has_failed() {
            return;
        }
        match self.try_write(offset, bytes) {
            Ok(()) => {
                let length = bytes.len() as u64;
                self.written_bytes.fetch_add(length, Ordering::Relaxed);
                self.context.control.done(0, length);
            }
            Err(error) => self.fail_io("cannot be written", error),
        }
    }

    fn try_write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        loop {
            match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
                State::Open(file) => return file.write_at(offset, bytes),
                State::Closed => return Ok(()),
                State::Planned => {}
            }
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if matches!(*state, State::Planned) {
                *state = State::Open(self.create()?);
            }
        }
    }

    fn create(&self) -> io::Result<Box<dyn SinkFile>> {
        let entry = &self.job.entry;
        self.context.folders.open(&self.job.folder)?.create_file(&entry.name, entry.stat.size)
    }

    /// Gives the file up: what was written is dropped, what was there stays. Only the first
    /// failure is reported.
    pub(super) fn fail(&self, message: impl Into<String>) {
        if self.give_up() {
            self.context.control.problem(self.display(), message);
        }
    }

    fn fail_io(&self, doing: &str, error: io::Error) {
        if self.give_up() {
            self.context.control.item_failed(self.display(), doing, error);
        }
    }

    fn give_up(&self) -> bool {
        let is_first = !self.has_failed.swap(true, Ordering::AcqRel);
        if is_first {
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
            self.job.end(false);
            self.context.control.exempt(self.job.folder.key_of(&self.job.entry.name));
        }
        is_first
    }

    /// Makes the file visible with its metadata, once nothing more is to come.
    pub(super) fn conclude(&self) {
        let control = &self.context.control;
        let written = self.written_bytes.load(Ordering::Acquire);
        if !self.has_failed() {
            match self.finish() {
                Ok(notes) => {
                    self.job.end(true);
                    control.count.files_restored.add(1);
                    control.count.bytes_restored.add(written);
                    self.report(notes);
                }
                Err(error) => self.fail_io("cannot be finished", error),
            }
        }
        control.done(1, self.job.entry.stat.size.saturating_sub(written));
    }

    fn finish(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let file = match std::mem::replace(&mut *state, State::Closed) {
            State::Open(file) => file,
            State::Planned => self.create()?,
            State::Closed => return Ok(Vec::new()),
        };
        drop(state);
        file.finish(&self.job.entry)
    }

    fn report(&self, notes: Vec<String>) {
        if notes.is_empty() {
            return;
        }
        self.context.control.exempt(self.job.folder.key_of(&self.job.entry.name));
        let item = self.display();
        notes.into_iter().for_each(|note| self.context.control.problem(item.clone(), note));
    }
}

impl Drop for FileWork {
    fn drop(&mut self) {
        self.context.control.in_flight.end();
    }
}
