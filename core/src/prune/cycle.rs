//! One cycle of the collector, from what is found to an idle head.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    PruneOptions, PruneReport,
    barrier::{self, Patience},
    check_cancelled, cleanup,
    plan::{self, Facts, Plan},
    rewrite, usage,
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        collector::{CollectorHead, CyclePhase},
        commit::Commit,
        forwarding::Forwarding,
    },
    id::{PackId, SessionId},
    monitor::{Monitor, Phase},
    packset::PackSet,
    repository::{Announcement, Overview, PackWriter, Repository, overtaken},
    target::is_for_lack_of_room,
};

/// Bytes of packs as they were listed.
type Sizes = BTreeMap<PackId, u64>;

/// Runs a prune.
pub(super) async fn run(
    repository: &Repository,
    options: &PruneOptions,
    monitor: &dyn Monitor,
) -> Result<PruneReport> {
    monitor.phase(Phase::Opening);
    let mut cycle =
        Cycle { repository, options, monitor, report: PruneReport::default(), sizes: Sizes::new() };
    let overview = cycle.look().await?;
    match overview.view.head().phase {
        CyclePhase::Idle => cycle.begin(overview).await?,
        _ if options.is_dry_run => {
            let message = "an earlier prune is not finished: run one before a plan is made";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        CyclePhase::Condemned => {
            let condemned = cycle.take_over(&overview).await?;
            cycle.finish(condemned, false).await?;
        }
        CyclePhase::Dead => {
            let dead = cycle.take_over(&overview).await?;
            cycle.sweep(dead).await?;
        }
    }
    Ok(cycle.report)
}

struct Cycle<'a> {
    repository: &'a Repository,
    options: &'a PruneOptions,
    monitor: &'a dyn Monitor,
    report: PruneReport,
    sizes: Sizes,
}

impl Cycle<'_> {
    /// What there is. Nothing is decided on the word of a listing that lacks snapshots, or of
    /// commits that cannot be read.
    async fn look(&self) -> Result<Overview> {
        let overview = self.repository.overview().await?;
        if let Some(damaged) = overview.history.damaged.first() {
            let why = "what its snapshot needs is not known, so that nothing can be removed";
            return Err(Error::damaged(&damaged.item, why)
                .because(damaged.message.clone())
                .hint("`strongroom repair snapshots` names what can be done"));
        }
        let present: BTreeSet<SessionId> = overview.listing.commits().collect();
        let lost = overview.view.head().catalogue.iter().find(|session| {
            !present.contains(session) && !overview.history.tombstones.contains(session)
        });
        if let Some(session) = lost {
            let message = "is not listed, though nobody has forgotten it";
            return Err(Error::damaged(format!("snapshot {session}"), message)
                .hint("nothing was removed; see whether the storage lists all of its objects"));
        }
        Ok(overview)
    }

    /// Begins where no cycle is under way.
    async fn begin(&mut self, overview: Overview) -> Result<()> {
        let overview = self.settle(overview).await?;
        if overview.view.head().phase != CyclePhase::Idle {
            // another collector began meanwhile: what it has condemned must stay so
            return Err(overtaken());
        }
        self.monitor.phase(Phase::Reading);
        let snapshots: Vec<_> = overview.history.snapshots().collect();
        let used = usage::measure(self.repository, &overview, &snapshots, self.monitor).await?;
        self.sizes = used.packs.iter().map(|(pack, usage)| (*pack, usage.size_bytes)).collect();
        let space = self.repository.target().capabilities().await?.space;
        let plan = plan::plan(
            &Facts {
                overview: &overview,
                needed: self.repository.needed_packs(&overview.history).await?,
                usage: &used,
                epoch: self.repository.keys().current().epoch(),
                pack_target_bytes: u64::from(self.repository.settings().pack_target_bytes),
                available_bytes: space.map(|space| space.available_bytes),
            },
            self.options,
        );
        self.note_plan(&plan);
        if self.options.is_dry_run {
            self.note_dry_run(&plan);
            return Ok(());
        }
        if plan.is_empty() {
            return self.tidy(&overview).await;
        }
        let head = CollectorHead {
            phase: CyclePhase::Condemned,
            packs: plan.condemned(),
            catalogue: catalogue(&overview),
            ..self.next(overview.view.head())
        };
        self.publish(&head).await?;
        self.finish(head, plan.compacts_index).await
    }

    /// Gives up the sessions of writers that were killed, so that what they left is collected in
    /// this cycle already.
    async fn settle(&mut self, overview: Overview) -> Result<Overview> {
        if self.options.is_dry_run {
            return Ok(overview);
        }
        let open = self.unfinished(&overview).await?;
        if open.is_empty() {
            return Ok(overview);
        }
        let wait =
            barrier::wait(self.repository, open, Patience::UntilAlive, self.options, self.monitor);
        self.report.sessions_given_up += wait.await?.len() as u64;
        self.look().await
    }

    /// Sessions without a commit: announced ones, and those that have stored something.
    async fn unfinished(&self, overview: &Overview) -> Result<BTreeSet<SessionId>> {
        let ended: BTreeSet<SessionId> = overview.listing.commits().collect();
        let mut open: BTreeSet<SessionId> = overview.listing.sessions().collect();
        open.extend(overview.listing.indexes().map(|(session, _)| session));
        let stored = usage::stored_packs(self.repository).await?;
        open.extend(stored.keys().map(|pack| pack.session));
        Ok(open.difference(&ended).copied().collect())
    }

    /// Publishes what an unfinished cycle was at under a new number: its collector is fenced.
    async fn take_over(&mut self, overview: &Overview) -> Result<CollectorHead> {
        self.report.took_over = true;
        self.sizes = usage::stored_packs(self.repository)
            .await?
            .into_iter()
            .map(|(pack, usage)| (pack, usage.size_bytes))
            .collect();
        let found = overview.view.head();
        let head = CollectorHead {
            phase: found.phase,
            packs: found.packs.clone(),
            catalogue: found.catalogue.clone(),
            ..self.next(found)
        };
        self.publish(&head).await?;
        Ok(head)
    }

    /// From condemned packs to an idle head.
    async fn finish(&mut self, head: CollectorHead, compacts_index: bool) -> Result<()> {
        check_cancelled(self.monitor)?;
        let announced = self.repository.list_meta().await?.sessions().collect();
        let wait = barrier::wait(
            self.repository,
            announced,
            Patience::UntilEnded,
            self.options,
            self.monitor,
        );
        self.report.sessions_given_up += wait.await?.len() as u64;
        let overview = self.look().await?;
        if overview.view.generation() != head.number {
            return Err(overtaken());
        }
        let history = &overview.history;
        let needed = self.repository.needed_packs(history).await?;
        let partly: PackSet = head.packs.iter().filter(|pack| needed.contains(*pack)).collect();
        let moved = match partly.is_empty() && !compacts_index {
            true => None,
            false => self.maintain(&overview, &head, &partly, compacts_index).await?,
        };
        let mut dead = CollectorHead {
            phase: CyclePhase::Dead,
            packs: PackSet::default(),
            catalogue: head.catalogue.clone(),
            ..self.next(&head)
        };
        let moved_away = moved.as_ref().map(|moved| moved.forwarding.clone()).unwrap_or_default();
        let needed = moved_away.resolve(&needed);
        dead.packs = head.packs.iter().filter(|pack| !needed.contains(*pack)).collect();
        dead.gone.union(&dead.packs);
        if let Some(base) = moved.and_then(|moved| moved.base) {
            dead.base = Some(base);
            dead.base_generation = head.number;
            dead.gone = cleanup::trimmed(self.repository, &overview, &dead.gone).await?;
        }
        self.publish(&dead).await?;
        self.sweep(dead).await
    }

    /// The maintenance session: moves what is needed of `partly`, and writes the index anew if
    /// that is wanted. `None` if nothing came of it.
    async fn maintain(
        &mut self,
        overview: &Overview,
        head: &CollectorHead,
        partly: &PackSet,
        compacts_index: bool,
    ) -> Result<Option<Maintained>> {
        let (repository, options) = (self.repository, self.options);
        self.monitor.phase(Phase::Pruning);
        let announcement = Announcement::make(repository, options.client, &options.host).await?;
        // whoever takes over from now on sees the announcement, and waits for it or gives it up
        let work = async {
            repository.expect_newest_head(head.number).await?;
            self.move_and_commit(overview, head, partly, compacts_index, &announcement).await
        };
        let done = tokio::select! {
            biased;
            done = work => done,
            never = announcement.keep_alive() => match never {},
        };
        match done {
            Ok(maintained) => Ok(Some(maintained)),
            Err(error) => {
                // a commit that was sent may still arrive: the session must end, not vanish
                let given_up = repository.give_up(announcement.session()).await?;
                // if it did arrive, forwarding leads to what was moved: the next prune knows of it
                if given_up.is_none() || !is_for_lack_of_room(&error) {
                    return Err(error);
                }
                tracing::warn!(%error, "no room to rewrite packs: only what nobody needs goes");
                Ok(None)
            }
        }
    }

    async fn move_and_commit(
        &mut self,
        overview: &Overview,
        head: &CollectorHead,
        partly: &PackSet,
        compacts_index: bool,
        announcement: &Announcement,
    ) -> Result<Maintained> {
        let (repository, monitor) = (self.repository, self.monitor);
        let session = announcement.session();
        let mut writer = PackWriter::new(repository, session)?;
        let report = &mut self.report;
        let moved =
            rewrite::move_chunks(repository, overview, partly, &mut writer, monitor, report)
                .await?;
        if compacts_index {
            let mut left_out = head.packs.clone();
            left_out.union(&head.gone);
            left_out.union(&overview.history.lost);
            moved.kept.iter().for_each(|pack| left_out.remove(pack));
            cleanup::copy_index(repository, overview, &left_out, &mut writer).await?;
        }
        let written = writer.finish(Vec::new()).await?;
        self.report.packs_rewritten += moved.forwarding.len() as u64;
        self.report.bytes_rewritten += self.bytes_of(moved.forwarding.rewritten());
        self.report.packs_written += written.packs.len() as u64;
        self.report.bytes_written += written.bytes;
        let now = repository.runtime().clock.now();
        let history = &overview.history;
        let mut commit = Commit {
            repository: repository.id(),
            session,
            client: self.options.client,
            heads: history.heads(),
            indexes: written.indexes,
            packs: written.packs,
            generation: head.number,
            time: now,
            started: now,
            committed: now,
            host: self.options.host.clone(),
            added_bytes: written.bytes,
            forwarding: Some(composed(&history.forwarding, &moved.forwarding, overview, head)),
            ..Commit::blank()
        };
        repository.create_commit(&mut commit, &PackSet::default()).await?;
        let base = compacts_index.then_some(session);
        Ok(Maintained { forwarding: moved.forwarding, base })
    }

    /// Deletes what is dead, and what else nobody needs; ends with an idle head.
    async fn sweep(&mut self, dead: CollectorHead) -> Result<()> {
        self.monitor.phase(Phase::Pruning);
        let rewritten = self.report.packs_rewritten;
        let listed: Vec<PackId> =
            dead.packs.iter().filter(|pack| self.sizes.contains_key(pack)).collect();
        self.report.bytes_removed +=
            self.bytes_of(listed.iter().copied()) - self.report.bytes_rewritten;
        self.report.packs_removed += (listed.len() as u64).saturating_sub(rewritten);
        cleanup::remove_packs(self.repository, &dead, &listed, self.monitor).await?;
        let idle = CollectorHead {
            phase: CyclePhase::Idle,
            packs: PackSet::default(),
            catalogue: dead.catalogue.clone(),
            ..self.next(&dead)
        };
        cleanup::retire_maintenance(self.repository, self.options).await?;
        self.publish(&idle).await?;
        let overview = self.repository.overview().await?;
        self.tidy(&overview).await
    }

    /// Removes small objects that are over.
    async fn tidy(&mut self, overview: &Overview) -> Result<()> {
        self.report.objects_removed += cleanup::remove_small(self.repository, overview).await?;
        Ok(())
    }

    /// The next head, with what heads hand down.
    fn next(&self, head: &CollectorHead) -> CollectorHead {
        CollectorHead {
            number: head.number + 1,
            gone: head.gone.clone(),
            base: head.base,
            base_generation: head.base_generation,
            time: self.repository.runtime().clock.now(),
            host: self.options.host.clone(),
            ..CollectorHead::default()
        }
    }

    async fn publish(&self, head: &CollectorHead) -> Result<()> {
        match self.repository.publish_head(head).await? {
            true => Ok(()),
            false => Err(overtaken()),
        }
    }

    fn bytes_of(&self, packs: impl Iterator<Item = PackId>) -> u64 {
        packs.filter_map(|pack| self.sizes.get(&pack)).sum()
    }

    fn note_plan(&mut self, plan: &Plan) {
        self.report.packs_before = self.sizes.len() as u64;
        self.report.bytes_before = plan.stored_bytes;
        self.report.unused_left_bytes = plan.unused_left_bytes;
    }

    /// What carrying the plan out would do.
    fn note_dry_run(&mut self, plan: &Plan) {
        let report = &mut self.report;
        report.packs_removed = plan.dead.len();
        report.bytes_removed = plan.dead_bytes;
        report.packs_rewritten = plan.rewrite.len();
        report.bytes_rewritten = plan.rewrite_bytes;
        report.bytes_written = plan.rewrite_bytes - plan.rewrite_unused_bytes;
        let target = u64::from(self.repository.settings().pack_target_bytes).max(1);
        report.packs_written = report.bytes_written.div_ceil(target);
        let heads = if plan.is_empty() { 0 } else { 3 * 2 + 8 };
        let reads = plan.rewrite.len() * 2 + plan.rewrite_bytes / (1 << 20);
        let deletes = plan.dead.len() + plan.rewrite.len();
        report.requests_estimated = heads + reads + report.packs_written + deletes;
    }
}

/// What a maintenance session brought about.
struct Maintained {
    /// Where packs of this cycle went.
    forwarding: Forwarding,
    /// Set if its index segments stand for all older ones.
    base: Option<SessionId>,
}

/// Snapshots and maintenance that later listings must show, unless they were forgotten.
fn catalogue(overview: &Overview) -> Vec<SessionId> {
    let live = overview.history.commits.iter().filter(|loaded| loaded.is_made());
    live.map(|loaded| loaded.commit.session).collect()
}

/// All forwarding that is still needed: earlier rows lead on to where their packs went now. Rows
/// are left out only for packs that this cycle has condemned and that no snapshot refers to: no
/// writer has taken over a reference to them since.
fn composed(
    earlier: &Forwarding,
    now: &Forwarding,
    overview: &Overview,
    head: &CollectorHead,
) -> Forwarding {
    let references = overview.history.references();
    let mut all = Forwarding::default();
    for (from, to) in earlier.rows() {
        if references.contains(from) || !head.packs.contains(from) {
            all.insert(from, &now.resolve(to));
        }
    }
    all.override_with(now);
    all
}
