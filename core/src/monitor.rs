//! The one way out of a running operation: what it does now, how far it is, what went wrong.
//!
//! Knows nothing of terminals; implementations print, count or ignore.

use std::fmt;

/// What an operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Opening the repository, loading what is needed.
    Opening,
    /// Walking the source and storing what changed.
    BackingUp,
    /// Making the snapshot visible.
    Committing,
    /// Reading snapshots' tables.
    Reading,
    /// Writing files.
    Restoring,
    /// Setting directories' metadata.
    Finishing,
    /// Proving that stored data is what was written.
    Verifying,
    /// Giving back room that nobody needs.
    Pruning,
    /// Writing anew what was lost.
    Repairing,
}

/// Progress counters; every field is a total so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Files (or packs, while verifying) finished.
    pub files_done: u64,
    /// Files known to be to do; grows while a source is walked.
    pub files_total: u64,
    /// Bytes of content finished.
    pub bytes_done: u64,
    /// Bytes of content known to be to do.
    pub bytes_total: u64,
}

/// Something that went wrong with one item while the operation goes on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The path or object it is about, escaped for display.
    pub item: String,
    /// What failed and why, one line.
    pub message: String,
    /// True if the item is missing or wrong in the result; false for a mere note.
    pub is_error: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.item, self.message)
    }
}

/// Receives progress and problems; called from several threads, must return quickly.
pub trait Monitor: Send + Sync {
    /// The operation goes over to `phase`.
    fn phase(&self, phase: Phase) {
        let _ = phase;
    }
    /// Adds to the counters: every field of `delta` is an increment.
    fn advance(&self, delta: Progress) {
        let _ = delta;
    }
    /// One item failed or deserves a note.
    fn problem(&self, problem: &Problem) {
        let _ = problem;
    }
    /// True once the caller wants the operation to stop; polled between pieces of work.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentMonitor;

impl Monitor for SilentMonitor {}
