//! A state of a repository and of everybody who works on it, and what can be said of it.
//!
//! Slots number sessions; the pack of a session has the number of its slot. Slot 0 is an old
//! session whose pack and snapshot exist at the start; then the writers, the maintenance sessions
//! and another old session, whose snapshot refers to pack 0 as well.
//!
//! What a client knows and does not need any more is cleared, so that states that differ in
//! nothing else are one. Knows nothing of steps.

use crate::scope::{A, B, Flaw, Scope};

/// At most so many writers.
pub(crate) const WRITERS: usize = 3;
/// At most so many collectors.
pub(crate) const COLLECTORS: usize = 2;
/// At most so many maintenance sessions.
pub(crate) const REWRITES: usize = 2;
/// The first slot of maintenance sessions.
pub(crate) const FIRST_REWRITE: usize = WRITERS + 1;
/// Packs.
pub(crate) const PACKS: usize = FIRST_REWRITE + REWRITES;
/// The slot of the second old snapshot.
pub(crate) const SECOND_OLD: usize = PACKS;
/// Slots.
pub(crate) const SLOTS: usize = SECOND_OLD + 1;

/// A set of slots or packs.
pub(crate) type Set = u8;

/// The set that holds `member` alone.
pub(crate) const fn only(member: usize) -> Set {
    1 << member
}

/// True if `set` has `member`.
pub(crate) const fn has(set: Set, member: usize) -> bool {
    set & only(member) != 0
}

/// The members of `set`.
pub(crate) fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..8).filter(move |member| has(set, *member))
}

/// What is stored under the commit key of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Commit {
    #[default]
    None,
    Made,
    Aborted,
}

/// Phase of the newest collector head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Condemned,
    Dead,
}

/// What a writer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WriterAt {
    /// Announce, read the head, read the rest: this many of them are done.
    Begin(u8),
    /// Refer to a pack that is there, or store one.
    Choose,
    /// Publish index rows on their own (a mistake).
    PutRows,
    /// Create the commit.
    Commit,
    /// Store the pack (a mistake).
    PutLate,
    Done,
}

/// A writer and what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) at: WriterAt,
    /// Packs that the head says are condemned or dead.
    pub(crate) condemned: Set,
    /// Packs that the head says are gone.
    pub(crate) gone: Set,
    /// Packs that it may refer to.
    pub(crate) usable: Set,
    /// The pack that it refers to.
    pub(crate) pack: u8,
    /// Its index segment names that pack.
    pub(crate) has_rows: bool,
    /// A commit was sent, and the answer was lost.
    pub(crate) is_sent: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            at: WriterAt::Begin(0),
            condemned: 0,
            gone: 0,
            usable: 0,
            pack: 0,
            has_rows: false,
            is_sent: false,
        }
    }
}

impl Writer {
    /// A writer that ended.
    pub(crate) fn done() -> Self {
        Self { at: WriterAt::Done, ..Self::default() }
    }
}

/// What a collector does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum CollectorAt {
    /// Begin a cycle or take one over.
    #[default]
    Begin,
    PublishCondemned,
    ListSessions,
    Barrier,
    Remark,
    /// Announce a maintenance session.
    Announce,
    CheckHead,
    PutCopy,
    CommitMaintenance,
    /// Tombstone the maintenance commits that the new one replaces.
    TombstoneOld,
    PublishDead,
    Delete,
    PublishIdle,
    DeleteHeads,
    /// Drop index rows (a mistake: they are dropped by publishing).
    DropRows,
}

/// A collector and what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Collector {
    pub(crate) at: CollectorAt,
    /// It created its head and must look whether there is a newer one.
    pub(crate) is_unsure: bool,
    /// The number of the head that it read or created.
    pub(crate) head: u8,
    /// The packs of this cycle.
    pub(crate) packs: Set,
    /// Sessions to wait for.
    pub(crate) sessions: Set,
    pub(crate) cycles_left: u8,
    /// The pack to rewrite.
    pub(crate) source: u8,
    /// Its live content; 0 if nothing is rewritten.
    pub(crate) content: u8,
    /// Its maintenance session.
    pub(crate) slot: u8,
    /// Maintenance commits that it has seen.
    pub(crate) seen: Set,
    /// Rewritten packs that nobody refers to any more: where they went is not told again.
    pub(crate) retired: Set,
}

impl Collector {
    /// A collector between two cycles.
    pub(crate) fn resting(cycles_left: u8) -> Self {
        Self { cycles_left, ..Self::default() }
    }
}

/// Where rewritten packs went: two bits for each pack.
pub(crate) type Forwarding = u16;

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct State {
    /// Packs that are stored.
    pub(crate) stored: Set,
    /// Packs that index segments of commits name.
    pub(crate) rows: Set,
    /// Packs that index segments without a commit name (a mistake).
    pub(crate) loose_rows: Set,
    pub(crate) commits: [Commit; SLOTS],
    /// The pack that each snapshot refers to.
    pub(crate) references: [u8; SLOTS],
    /// Tombstones.
    pub(crate) forgotten: Set,
    /// Announcements of sessions that have no commit yet.
    pub(crate) announced: Set,
    /// Snapshots whose writer was told that they stand.
    pub(crate) acknowledged: Set,
    /// Number of the newest head; the oldest that was not deleted.
    pub(crate) head: u8,
    pub(crate) oldest_head: u8,
    pub(crate) phase: Phase,
    /// Packs of that phase.
    pub(crate) condemned: Set,
    pub(crate) gone: Set,
    /// Requests that may be applied once more.
    pub(crate) late_deletes: Set,
    pub(crate) late_puts: Set,
    /// Of each maintenance session: content of its pack, forwarding, the head that it saw.
    pub(crate) copied: [u8; REWRITES],
    pub(crate) forwardings: [Forwarding; REWRITES],
    pub(crate) generations: [u8; REWRITES],
    pub(crate) writers: [Writer; WRITERS],
    pub(crate) collectors: [Collector; COLLECTORS],
}

/// The pack that `forwarding` has for `pack`.
fn forwarded(forwarding: Forwarding, pack: usize) -> Option<usize> {
    match forwarding >> (2 * pack) & 3 {
        0 => None,
        successor => Some(FIRST_REWRITE + usize::from(successor) - 1),
    }
}

/// `forwarding` with `pack` leading to `successor`.
pub(crate) fn forward(forwarding: Forwarding, pack: usize, successor: usize) -> Forwarding {
    let number = (successor - FIRST_REWRITE + 1) as Forwarding;
    forwarding & !(3 << (2 * pack)) | number << (2 * pack)
}

impl State {
    /// A repository with one pack and the snapshots that refer to it.
    pub(crate) fn start(scope: &Scope) -> Self {
        let mut state = Self { stored: only(0), rows: only(0), ..Self::default() };
        state.commits[0] = Commit::Made;
        if scope.has_two_contents {
            state.commits[SECOND_OLD] = Commit::Made;
        }
        for collector in &mut state.collectors[..scope.collectors] {
            collector.cycles_left = scope.cycles;
        }
        state
    }

    /// The content that the snapshot of `slot` needs.
    pub(crate) fn wanted(slot: usize, scope: &Scope) -> u8 {
        match slot {
            0 => A,
            SECOND_OLD => B,
            writer => scope.wants[writer - 1],
        }
    }

    /// What `pack` holds, if it is stored.
    pub(crate) fn content(&self, pack: usize, scope: &Scope) -> u8 {
        match pack {
            0 if scope.has_two_contents => A | B,
            0 => A,
            copy if copy >= FIRST_REWRITE => self.copied[copy - FIRST_REWRITE],
            writer => scope.wants[writer - 1],
        }
    }

    /// Slots of snapshots that stand.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = usize> {
        let is_live =
            |slot: &usize| self.commits[*slot] == Commit::Made && !has(self.forgotten, *slot);
        (0..FIRST_REWRITE).chain([SECOND_OLD]).filter(is_live)
    }

    /// Maintenance commits without a tombstone.
    pub(crate) fn maintenance(&self) -> Set {
        let is_live =
            |slot: &usize| self.commits[*slot] == Commit::Made && !has(self.forgotten, *slot);
        (FIRST_REWRITE..PACKS).filter(is_live).fold(0, |set, slot| set | only(slot))
    }

    /// Where the content of `pack` is: rows of later maintenance commits replace earlier ones.
    pub(crate) fn resolve(&self, pack: usize) -> usize {
        self.resolve_by(pack, self.maintenance())
    }

    /// The same by these maintenance commits alone.
    pub(crate) fn resolve_by(&self, pack: usize, maintenance: Set) -> usize {
        if maintenance == 0 {
            return pack;
        }
        let rows = members(maintenance).filter_map(|slot| {
            let number = slot - FIRST_REWRITE;
            let successor = forwarded(self.forwardings[number], pack)?;
            Some((self.generations[number], slot, successor))
        });
        rows.max().map_or(pack, |(_, _, successor)| successor)
    }

    /// The packs that snapshots need.
    pub(crate) fn live(&self, scope: &Scope) -> Set {
        let packs = self.snapshots().map(|slot| usize::from(self.references[slot]));
        let resolve = |pack| match scope.has(Flaw::LiveIgnoresForwarding) {
            true => pack,
            false => self.resolve(pack),
        };
        packs.fold(0, |set, pack| set | only(resolve(pack)))
    }

    /// Rewritten packs that no snapshot refers to.
    pub(crate) fn unreferenced_rewritten(&self) -> Set {
        let references =
            self.snapshots().fold(0, |set, slot| set | only(self.references[slot].into()));
        (0..PACKS)
            .filter(|pack| self.resolve(*pack) != *pack && !has(references, *pack))
            .fold(0, |set, pack| set | only(pack))
    }

    /// The content of `pack` that snapshots need.
    pub(crate) fn live_content(&self, pack: usize, scope: &Scope) -> u8 {
        let needed = self
            .snapshots()
            .filter(|slot| self.resolve(usize::from(self.references[*slot])) == pack);
        needed.fold(0, |content, slot| content | Self::wanted(slot, scope))
    }

    /// Packs that count as indexed.
    pub(crate) fn indexed(&self) -> Set {
        self.rows & !self.gone
    }

    /// What must never be: a snapshot that cannot be restored, or one that vanished.
    pub(crate) fn loss(&self, scope: &Scope) -> Option<&'static str> {
        for slot in self.snapshots() {
            let pack = self.resolve(usize::from(self.references[slot]));
            let is_there = has(self.stored & self.indexed(), pack);
            if !is_there || self.content(pack, scope) & Self::wanted(slot, scope) == 0 {
                return Some("a live snapshot cannot be restored");
            }
        }
        let stays = |slot| self.commits[slot] == Commit::Made || has(self.forgotten, slot);
        if members(self.acknowledged).any(|slot| !stays(slot)) {
            return Some("an acknowledged snapshot is gone");
        }
        None
    }

    /// What the step from `before` must not do.
    pub(crate) fn misstep(&self, before: &Self) -> Option<&'static str> {
        let counted = (0..PACKS).filter(|pack| {
            has(self.indexed(), *pack)
                || self.commits[*pack] == Commit::None && !has(before.gone, *pack)
        });
        let removed = before.stored & !self.stored;
        if counted.into_iter().any(|pack| has(removed, pack)) {
            return Some("a pack left the store without having been published as dead (I3)");
        }
        let is_closed = before.phase == Phase::Dead && self.phase == Phase::Idle;
        if is_closed && before.condemned & self.indexed() != 0 {
            return Some("a dead pack left the head before its index rows were dropped (I4)");
        }
        let resolved = before.commits.iter().zip(&self.commits);
        if resolved.into_iter().any(|(old, new)| *old != Commit::None && old != new) {
            return Some("a session was resolved twice (I6)");
        }
        None
    }

    /// True if nothing is stored or indexed that no snapshot needs, and no cycle is open.
    pub(crate) fn is_clean(&self, scope: &Scope) -> bool {
        let live = self.live(scope);
        self.phase == Phase::Idle && self.stored == live && self.indexed() == live
    }
}
