//! What a search covers: how many actors, which parts of the protocol, and which mistake is made.
//!
//! Knows nothing of states.

use crate::state::WRITERS;

/// Bounds of a search. Clients may stop for ever at every step (a crash is the same), so none of
/// these bounds how an actor fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// Writers; each makes at most one snapshot.
    pub(crate) writers: usize,
    /// What each writer backs up.
    pub(crate) wants: [u8; WRITERS],
    /// Collectors.
    pub(crate) collectors: usize,
    /// How many cycles each collector begins or takes over.
    pub(crate) cycles: u8,
    /// Maintenance sessions: how many partly used packs can be rewritten.
    pub(crate) rewrites: usize,
    /// The first pack holds content B besides A, and a second snapshot refers to it.
    pub(crate) has_two_contents: bool,
    /// The second writer is a later run of the client of the first, and may adopt its pack.
    pub(crate) adoption: bool,
    /// Old collector heads are deleted: their keys can be created again.
    pub(crate) heads_are_deleted: bool,
    /// The upload of a pack may be applied once more at any later time.
    pub(crate) late_puts: bool,
    /// A writer may give up by itself: its announcement goes, its pack stays.
    pub(crate) withdrawals: bool,
    /// Collectors never tire: numbers are renamed so that there are finitely many states.
    pub(crate) is_endless: bool,
    /// What is done wrong.
    pub(crate) flaw: Option<Flaw>,
}

/// Content of packs and snapshots.
pub(crate) const A: u8 = 1;
/// The other content.
pub(crate) const B: u8 = 2;

impl Scope {
    /// Sessions, condemned and dead packs, fencing, take-over; late duplicates of deletes.
    pub(crate) const fn base(writers: usize, collectors: usize) -> Self {
        Self {
            writers,
            wants: [A; WRITERS],
            collectors,
            cycles: 1,
            rewrites: 0,
            has_two_contents: false,
            adoption: false,
            heads_are_deleted: false,
            late_puts: false,
            withdrawals: false,
            is_endless: false,
            flaw: None,
        }
    }

    /// The same with a mistake.
    pub(crate) const fn with(self, flaw: Flaw) -> Self {
        Self { flaw: Some(flaw), ..self }
    }

    /// True if this mistake is made.
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

/// Mistakes that a simpler protocol would make. Each loses data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// No sessions: the collector deletes what no snapshot refers to.
    NoSessions,
    /// No sessions either: condemned packs are deleted after a period of grace.
    GracePeriod,
    /// The commit is made before the pack is stored.
    CommitBeforePack,
    /// The index is read before the session is announced.
    IndexBeforeSession,
    /// The index is read before the collector head.
    IndexBeforeHead,
    /// Sessions are listed before the condemned packs are published.
    ListBeforePublish,
    /// What is dead is not computed again after the barrier.
    NoRemark,
    /// Sessions are fenced by deleting their announcement.
    FenceByDelete,
    /// A writer that got no answer to its commit takes its announcement back.
    WithdrawsWhileSending,
    /// The keys of aborted commits are freed when a cycle ends.
    AbortedKeysFreed,
    /// Forgetting a snapshot frees the key of its commit.
    ForgetFreesKey,
    /// Packs are named by their content.
    ContentNames,
    /// Heads are replaced instead of created.
    HeadsReplaced,
    /// The cycle ends before the index rows of dead packs are dropped, and packs go last.
    CycleEndsFirst,
    /// Index rows are dropped only after the packs were deleted and the cycle has ended.
    RowsDroppedAfterDeleting,
    /// Index rows count although their session has no commit.
    RowsWithoutCommit,
    /// The listing of sessions may be stale.
    StaleSessionList,
    /// The listing of snapshots may be empty, and the catalogue is not checked.
    EmptySnapshotList,
    /// After creating a head a collector does not look whether there is a newer one.
    NoListAfterCreate,
    /// Holding a snapshot brings it back although it was forgotten.
    HoldRevives,
    /// A pack of an interrupted run is adopted although it is condemned.
    AdoptsCondemned,
    /// A pack of an interrupted run is adopted although it was deleted once.
    AdoptsGone,
    /// A new base of the index forgets gone packs that no index row names.
    GoneWithoutRowsForgotten,
    /// Packs are rewritten before the sessions were waited for.
    RewritesBeforeBarrier,
    /// Packs are published as dead before the maintenance commit.
    DeadBeforeMaintenance,
    /// The collector does not look at the heads after announcing its maintenance session.
    NoHeadCheck,
    /// Pages of the parent are reused although their pack is condemned.
    ReusesCondemnedPages,
    /// The live set is what the references say, without forwarding.
    LiveIgnoresForwarding,
    /// A maintenance commit leaves out where packs went earlier.
    ForwardingNotComposed,
    /// It leaves out where packs went that nobody refers to, without having condemned them.
    RetiresUncondemned,
    /// The maintenance commit that is replaced is tombstoned before the new one is made.
    TombstoneBeforeMaintenance,
}
