//! What a prune will do: which packs go as a whole, and which are rewritten.

use std::collections::BTreeSet;

use super::{PruneOptions, UnusedMax, usage::Usage};
use crate::{
    id::{PackId, SessionId},
    packset::PackSet,
    repository::Overview,
};

/// Packs smaller than this share of a full one are put together, once there are many.
const SMALL_SHARE: u64 = 4;
/// So many small packs are many.
const SMALL_PACKS_MAX: usize = 24;
/// Index segments are put together once there are more.
const INDEX_SEGMENTS_MAX: u64 = 96;

/// The packs that a prune is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Nobody needs them.
    pub(super) dead: PackSet,
    /// Partly needed, to be rewritten.
    pub(super) rewrite: PackSet,
    /// Packs whose forwarding nobody needs any more.
    pub(super) retired: PackSet,
    /// True if the index is to be written anew.
    pub(super) compacts_index: bool,
    pub(super) dead_bytes: u64,
    pub(super) rewrite_bytes: u64,
    /// Of the bytes to be rewritten those that nobody needs.
    pub(super) rewrite_unused_bytes: u64,
    /// Bytes that nobody needs, and that stay.
    pub(super) unused_left_bytes: u64,
    pub(super) stored_bytes: u64,
}

impl Plan {
    /// True if there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.rewrite.is_empty() && !self.compacts_index
    }

    /// Everything to be condemned.
    pub(super) fn condemned(&self) -> PackSet {
        let mut all = self.dead.clone();
        all.union(&self.rewrite);
        if self.is_maintained() {
            all.union(&self.retired);
        }
        all
    }

    /// True if a maintenance session is needed.
    pub(super) fn is_maintained(&self) -> bool {
        !self.rewrite.is_empty() || self.compacts_index
    }
}

/// What is known when a plan is made.
pub(super) struct Facts<'a> {
    pub(super) overview: &'a Overview,
    /// Every pack that snapshots need.
    pub(super) needed: PackSet,
    pub(super) usage: &'a Usage,
    /// The key epoch that new packs are sealed in.
    pub(super) epoch: u32,
    pub(super) pack_target_bytes: u64,
    /// Room on the storage, if it tells.
    pub(super) available_bytes: Option<u64>,
}

/// Makes the plan.
pub(super) fn plan(facts: &Facts<'_>, options: &PruneOptions) -> Plan {
    let history = &facts.overview.history;
    let references = history.references();
    let needed = &facts.needed;
    let ended: BTreeSet<SessionId> = facts.overview.listing.commits().collect();
    let mut plan = Plan::default();
    let mut partly = Vec::new();
    for (pack, usage) in &facts.usage.packs {
        plan.stored_bytes += usage.size_bytes;
        if needed.contains(*pack) {
            partly.push(*pack);
        } else if ended.contains(&pack.session) {
            plan.dead.insert(*pack);
            plan.dead_bytes += usage.size_bytes;
        }
    }
    choose_rewrites(&mut plan, partly, facts, options);
    let retired = history.forwarding.rewritten().filter(|pack| !references.contains(*pack));
    plan.retired = retired.collect();
    let usage = facts.usage;
    plan.compacts_index = usage.index_segments > INDEX_SEGMENTS_MAX
        || (usage.index_rows > 16 && usage.index_rows_void * 4 > usage.index_rows);
    plan
}

/// The packs with most waste first, until what stays is little enough.
fn choose_rewrites(
    plan: &mut Plan,
    partly: Vec<PackId>,
    facts: &Facts<'_>,
    options: &PruneOptions,
) {
    let usage_of = |pack: &PackId| facts.usage.packs.get(pack).copied().unwrap_or_default();
    let known =
        |pack: &PackId| usage_of(pack).plain_bytes > 0 && !facts.usage.blind.packs.contains(*pack);
    let mut candidates: Vec<PackId> = partly.iter().copied().filter(known).collect();
    candidates.sort_by_key(|pack| {
        let usage = usage_of(pack);
        let waste = usage.unused_bytes() * 1_000_000 / usage.size_bytes.max(1);
        (std::cmp::Reverse(waste), *pack)
    });
    let mut unused: u64 = candidates.iter().map(|pack| usage_of(pack).unused_bytes()).sum();
    let kept_bytes = plan.stored_bytes - plan.dead_bytes;
    let unused_max = options.unused_max.of(kept_bytes.saturating_sub(unused));
    let is_old = |pack: &PackId| usage_of(pack).epoch.is_some_and(|epoch| epoch < facts.epoch);
    let is_small =
        |pack: &PackId| usage_of(pack).size_bytes * SMALL_SHARE < facts.pack_target_bytes;
    let smalls = candidates.iter().filter(|pack| is_small(pack)).count();
    let mut room = options.rewrite_bytes_max.unwrap_or(u64::MAX);
    // what is rewritten lies there twice for a while
    let mut space = facts.available_bytes.unwrap_or(u64::MAX) / 2;
    for pack in &candidates {
        let usage = usage_of(pack);
        let live = usage.size_bytes - usage.unused_bytes();
        let is_wasteful = unused > unused_max && usage.unused_bytes() > 0;
        let is_wanted = is_wasteful || is_old(pack) || (smalls > SMALL_PACKS_MAX && is_small(pack));
        if !is_wanted || usage.size_bytes > room || live > space {
            continue;
        }
        room -= usage.size_bytes;
        space -= live;
        unused -= usage.unused_bytes();
        plan.rewrite.insert(*pack);
        plan.rewrite_bytes += usage.size_bytes;
        plan.rewrite_unused_bytes += usage.unused_bytes();
    }
    plan.unused_left_bytes = unused;
}

impl UnusedMax {
    /// The limit in bytes where so many are used. A share is one of all that is there afterwards.
    fn of(self, used_bytes: u64) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Bytes(limit) => limit,
            Self::Percent(percent) if percent >= 100.0 => u64::MAX,
            Self::Percent(percent) => (used_bytes as f64 * percent / (100.0 - percent)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::UnusedMax;

    #[test]
    fn a_share_is_one_of_what_is_there_afterwards() {
        assert_eq!(UnusedMax::Percent(0.0).of(1_000), 0);
        assert_eq!(UnusedMax::Percent(5.0).of(950), 50);
        assert_eq!(UnusedMax::Percent(50.0).of(1_000), 1_000);
        assert_eq!(UnusedMax::Percent(100.0).of(1), u64::MAX);
        assert_eq!(UnusedMax::Bytes(7).of(1_000), 7);
    }
}
