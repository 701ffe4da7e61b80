//! Verify: prove that a repository holds what its snapshots say.
//!
//! One listing shows what is stored. Small objects are read whole and opened; the directories of
//! packs are compared with the index; the table of every snapshot is walked and every reference
//! looked up; on demand every byte of every pack is read, opened and hashed again. Damage of one
//! object never stops the verification: it is named, with the snapshots and files that need it.
//!
//! Reads from the target only, never from what the repository keeps in memory, and writes
//! nothing but the scratch place of a test restore; and, where a repository has parity, what it
//! heals.

mod affected;
mod changes;
mod data;
mod directories;
mod findings;
mod heal;
mod inventory;
mod scratch;
mod small;
mod structure;
mod tables;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use self::{
    directories::Directories,
    findings::{Findings, reason},
    inventory::Inventory,
    small::Commits,
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::damage::Damage as Lost,
    id::{PackId, SessionId},
    monitor::{Monitor, Phase, Problem, Progress},
    packset::PackSet,
    repository::{Cache, History, Pin, Repository, Snapshot, SnapshotList, packs::PackReader},
    restore::RestoreReport,
    source::Sink,
    target::{BackupTarget, ByteRange, ObjectMeta, SharedTarget, layers::MetricsLayer},
};

/// How much of the packs' content is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReadData {
    /// None: structure only.
    #[default]
    None,
    /// A random share of the packs, in percent (0 < p < 100).
    Percent(f64),
    /// Every byte.
    All,
}

/// One verification.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// How much content is read.
    pub read_data: ReadData,
    /// Snapshots to restore into the scratch sink for comparison; the newest if empty.
    pub snapshots: Vec<SessionId>,
    /// An empty place to restore into: restores, reads back, compares, and empties it again.
    pub restore_into: Option<Arc<dyn Sink>>,
    /// Threads that open and check; at least 1 (0 counts as 1).
    pub workers: usize,
    /// Packs that are read in any case; those of which something is known to be lost are, too.
    pub packs: Vec<PackId>,
}

/// Something that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// Ids of the snapshots that need it.
    pub snapshots: Vec<String>,
    /// Paths that need it (at most 100 a piece of damage).
    pub files: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// Snapshots whose tables were walked.
    pub snapshots: u64,
    /// Entries in them.
    pub entries: u64,
    /// Objects of any kind that were read and checked, packs apart.
    pub objects: u64,
    /// Packs that exist.
    pub packs: u64,
    /// Packs whose every byte was checked.
    pub packs_read: u64,
    /// Bytes read from the target.
    pub bytes_read: u64,
    /// Objects that nothing refers to (left by interrupted runs; harmless).
    pub unreferenced: u64,
    /// What is damaged or missing.
    pub damage: Vec<Damage>,
    /// Objects that were damaged or missing, or whose copies were, and are healed.
    pub healed: Vec<String>,
    /// Result of the test restore.
    pub restore: Option<RestoreReport>,
    /// How long it took.
    pub duration: Duration,
}

/// Verifies the repository.
///
/// # Errors
/// `Invalid` for a share that is none or a scratch place that is not empty, `NotFound` for a
/// snapshot to restore that is not there, and whatever keeps the verification from going on;
/// damage is in the report.
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<VerifyReport> {
    Ok(examine(repository, options, Depth::All, monitor).await?.report)
}

/// How far an examination goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Index segments and directories of packs.
    Index,
    /// Everything.
    All,
}

/// A verification, for those who set right what it finds.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    /// What was found.
    pub(crate) report: VerifyReport,
    /// What is lost of packs, with the chunks that snapshots miss now.
    pub(crate) lost: Lost,
    /// Stored packs of sessions that were committed which no index row that counts is about.
    pub(crate) unindexed: PackSet,
    /// Index segments that should count, and cannot be read; none if no row is missing.
    pub(crate) lost_indexes: Vec<String>,
}

/// As [`verify`].
///
/// # Errors
/// Those of [`verify`].
pub(crate) async fn examine(
    repository: &Repository,
    options: &VerifyOptions,
    depth: Depth,
    monitor: Arc<dyn Monitor>,
) -> Result<Examination> {
    let repository = &repository.without_cache();
    if let ReadData::Percent(percent) = options.read_data
        && !(percent > 0.0 && percent < 100.0)
    {
        let message = format!("{percent} is not a share between 0 and 100 percent");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if let Some(sink) = &options.restore_into {
        scratch::check_empty(sink).await?;
    }
    let clock = repository.runtime().clock.clone();
    let began = clock.monotonic();
    monitor.phase(Phase::Verifying);
    let mended = heal::small_objects(repository, &monitor).await?;
    let mut run = Run::new(repository, options, monitor).await?;
    let mut commits = run.check_commits().await?;
    let snapshots = run.snapshots_to_restore(&commits)?;
    run.check_all(&mut commits, depth).await?;
    run.restore(&snapshots).await?;
    let mut found = run.finish();
    found.report.healed = mended.all(repository);
    found.report.duration = clock.monotonic().saturating_sub(began);
    Ok(found)
}

/// A running verification.
struct Run<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    monitor: Arc<dyn Monitor>,
    target: SharedTarget,
    /// The same target, for what it counts.
    metrics: Arc<MetricsLayer>,
    /// Not the repository's own reader: what that one read before counts for nothing.
    packs: Arc<PackReader>,
    /// What this machine remembered before the inventory was taken.
    remembered: Option<Pin>,
    inventory: Inventory,
    directories: Directories,
    findings: Findings,
    report: VerifyReport,
    unindexed: PackSet,
    /// A repair has written parts of the index anew.
    has_repaired_index: bool,
    lost_indexes: Vec<String>,
}

impl<'a> Run<'a> {
    async fn new(
        repository: &'a Repository,
        options: &'a VerifyOptions,
        monitor: Arc<dyn Monitor>,
    ) -> Result<Self> {
        let metrics = Arc::new(MetricsLayer::new(repository.target().clone()));
        let target: SharedTarget = metrics.clone();
        let packs =
            Arc::new(PackReader::new(target.clone(), repository.keys().clone(), Cache::default()));
        let remembered = repository.remembered().await?;
        let inventory = Inventory::list(&*target).await?;
        // what is sealed under keys that this run does not have would look damaged
        repository.expect_known_epoch(inventory.newest_epoch()).await?;
        Ok(Self {
            repository,
            options,
            monitor,
            target,
            metrics,
            directories: Directories::new(packs.clone()),
            packs,
            remembered,
            inventory,
            findings: Findings::default(),
            report: VerifyReport::default(),
            unindexed: PackSet::default(),
            has_repaired_index: false,
            lost_indexes: Vec::new(),
        })
    }

    async fn check_all(&mut self, commits: &mut Commits, depth: Depth) -> Result<()> {
        self.note_junk();
        self.check_keys().await?;
        self.check_sessions().await?;
        self.check_named(commits).await?;
        self.count_packs(commits);
        self.check_structure(commits).await?;
        if depth == Depth::Index {
            return self.check_undisturbed(commits).await;
        }
        self.check_data(commits).await?;
        self.check_tables(commits).await?;
        self.check_undisturbed(commits).await?;
        self.find_affected(commits).await
    }

    /// Objects that are none of ours.
    fn note_junk(&mut self) {
        self.report.unreferenced += self.inventory.junk_count;
        for key in &self.inventory.junk {
            let message = "is no object of a repository".to_owned();
            self.monitor.problem(&Problem { item: key.to_string(), message, is_error: false });
        }
    }

    fn count_packs(&mut self, commits: &Commits) {
        let referred = commits.referred_packs();
        let inventory = &self.inventory;
        // a commit that cannot be read may refer to anything that its session stored
        let is_free = |pack: &&PackId| {
            !referred.contains(**pack)
                && (commits.loaded.contains_key(&pack.session)
                    || !inventory.commits.contains_key(&pack.session))
        };
        self.report.packs = inventory.packs.len() as u64;
        self.report.unreferenced += inventory.packs.keys().filter(is_free).count() as u64;
        if self.counts_directories() {
            let files_total = self.report.packs;
            self.monitor.advance(Progress { files_total, ..Progress::default() });
        }
    }

    /// True if progress counts directories of packs, because packs are not read whole.
    fn counts_directories(&self) -> bool {
        self.options.read_data == ReadData::None
    }

    /// The snapshots for the test restore.
    fn snapshots_to_restore(&self, commits: &Commits) -> Result<Vec<Snapshot>> {
        if self.options.restore_into.is_none() {
            return Ok(Vec::new());
        }
        let commits = commits.live().map(|(_, loaded)| loaded.clone()).collect();
        let all = SnapshotList::new(&History { commits, ..History::default() }).snapshots;
        if self.options.snapshots.is_empty() {
            return Ok(all.last().cloned().into_iter().collect());
        }
        let find = |id: &SessionId| {
            let found = all.iter().find(|snapshot| snapshot.id == *id).cloned();
            found.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such snapshot").on(id))
        };
        self.options.snapshots.iter().map(find).collect()
    }

    /// The test restore, if one is asked for.
    async fn restore(&mut self, snapshots: &[Snapshot]) -> Result<()> {
        let Some(sink) = &self.options.restore_into else { return Ok(()) };
        let workers = self.options.workers.max(1);
        let (repository, monitor) = (self.repository, &self.monitor);
        match scratch::test_restore(repository, snapshots, sink, workers, monitor).await {
            Ok(report) => self.report.restore = Some(report),
            Err(error) if error.kind() == ErrorKind::Damaged => {
                let name = error.object().unwrap_or("test restore").to_owned();
                self.findings.object(name, format!("test restore: {}", reason(error)?));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn finish(mut self) -> Examination {
        let mut report = self.report;
        report.bytes_read = self.metrics.snapshot().get.bytes;
        let lost = self.findings.lost();
        let known = self.packs.known_damage();
        known.packs().iter().for_each(|pack| self.findings.forgive(pack));
        self.unindexed =
            self.unindexed.iter().filter(|pack| !known.packs().contains(*pack)).collect();
        if self.unindexed.is_empty() && self.has_repaired_index {
            // a repair has written all rows anew: nothing misses these
            self.lost_indexes.drain(..).for_each(|name| self.findings.forgive_object(&name));
        }
        report.damage = self.findings.into_damage();
        for damage in &report.damage {
            let (item, message) = (damage.object.clone(), damage.message.clone());
            self.monitor.problem(&Problem { item, message, is_error: true });
        }
        let (unindexed, lost_indexes) = (self.unindexed, self.lost_indexes);
        Examination { report, lost, unindexed, lost_indexes }
    }

    /// Turns an error about the object `name` into a finding.
    fn note(&mut self, name: &str, result: Result<()>) -> Result<()> {
        if let Err(error) = result {
            self.findings.object(name, reason(error)?);
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<()> {
        if self.monitor.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "the verification was interrupted"));
        }
        Ok(())
    }
}

/// All bytes of an object that must not be larger than `bytes_max`.
async fn read_object(
    target: &dyn BackupTarget,
    object: &ObjectMeta,
    bytes_max: u64,
) -> Result<Bytes> {
    if object.size_bytes > bytes_max {
        let why = format!("has {} bytes, more than such an object can have", object.size_bytes);
        return Err(Error::damaged(&object.key, why));
    }
    Ok(target.get(&object.key, ByteRange::Full).await?)
}
