//! Writes lost parts of the index anew, from the directories of the packs that they were about.
//!
//! The rows go into a session of their own, as a collector's do: announced before anything is
//! read, so that a collector waits for it, and ended by a commit without a snapshot. Packs that
//! are condemned, gone or damaged get no rows.

use std::sync::Arc;

use futures::{StreamExt, stream};

use super::{RepairOptions, find};
use crate::{
    error::{ErrorKind, Result},
    format::{commit::Commit, index::IndexedPack},
    id::{PackId, SessionId},
    monitor::{Monitor, Phase, Problem, Progress},
    packset::PackSet,
    repository::{
        Announcement, Overview, PackWriter, Repository, layout::MetaName, packs::PackDirectory,
    },
    tasks,
    verify::{Damage, Depth},
};

/// Directories read at once.
const READS_AT_ONCE: usize = 8;

/// What was, or would be, written of the index.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct IndexReport {
    /// Index segments that are lost or damaged.
    pub lost: Vec<String>,
    /// Packs whose rows are missing, and are written (after a dry run: would be).
    pub packs: u64,
    /// Chunks in them.
    pub chunks: u64,
    /// Packs that get no rows because they are damaged themselves.
    pub left_out: Vec<String>,
    /// The index segments that were written.
    pub written: Vec<String>,
    /// What else is damaged; other parts of repair care for that.
    pub damage: Vec<Damage>,
    /// Objects that were healed on the way.
    pub healed: Vec<String>,
}

/// Finds out which packs no index row tells of, and writes rows for them.
///
/// # Errors
/// Those of a verification; `Conflict` if a collector gave the session up meanwhile.
pub async fn index(
    repository: &Repository,
    options: &RepairOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<IndexReport> {
    let found = find(repository, options, Depth::Index, monitor.clone()).await?;
    let is_other = |damage: &Damage| !found.lost_indexes.contains(&damage.object);
    let mut report = IndexReport {
        damage: found.report.damage.iter().filter(|damage| is_other(damage)).cloned().collect(),
        lost: found.lost_indexes,
        healed: found.report.healed,
        ..IndexReport::default()
    };
    if found.unindexed.is_empty() {
        return Ok(report);
    }
    monitor.phase(Phase::Repairing);
    let work = Work { repository, options, monitor: &*monitor, missing: &found.unindexed };
    match options.is_dry_run {
        true => work.plan(&mut report).await?,
        false => work.carry_out(&mut report).await?,
    }
    Ok(report)
}

struct Work<'a> {
    repository: &'a Repository,
    options: &'a RepairOptions,
    monitor: &'a dyn Monitor,
    missing: &'a PackSet,
}

impl Work<'_> {
    async fn plan(&self, report: &mut IndexReport) -> Result<()> {
        let overview = self.repository.overview().await?;
        self.each_row(&overview, report, async |_| Ok(())).await
    }

    /// The session, from its announcement to its end.
    async fn carry_out(&self, report: &mut IndexReport) -> Result<()> {
        let Self { repository, options, .. } = self;
        let announcement = Announcement::make(repository, options.client, &options.host).await?;
        let session = announcement.session();
        let done = tokio::select! {
            biased;
            done = self.write(session, report) => done,
            never = announcement.keep_alive() => match never {},
        };
        if done.is_err() {
            // a commit that was sent may still arrive: the session must end before it vanishes
            repository.give_up(session).await?;
        }
        announcement.withdraw().await;
        done
    }

    async fn write(&self, session: SessionId, report: &mut IndexReport) -> Result<()> {
        let repository = self.repository;
        let overview = repository.overview().await?;
        let mut writer = PackWriter::new(repository, session)?;
        self.each_row(&overview, report, async |row| writer.add_row(row).await).await?;
        let written = writer.finish(Vec::new()).await?;
        let names = written.indexes.iter();
        report.written =
            names.map(|one| MetaName::Index(session, one.counter).to_string()).collect();
        let now = repository.runtime().clock.now();
        let mut commit = Commit {
            repository: repository.id(),
            session,
            client: self.options.client,
            heads: overview.history.heads(),
            indexes: written.indexes,
            generation: overview.view.generation(),
            time: now,
            started: now,
            committed: now,
            host: self.options.host.clone(),
            added_bytes: written.bytes,
            is_repair: true,
            ..Commit::blank()
        };
        repository.create_commit(&mut commit, &PackSet::default()).await?;
        Ok(())
    }

    /// Calls `take` with the row of every pack that lacks one and is sound as far as its
    /// directory tells.
    async fn each_row(
        &self,
        overview: &Overview,
        report: &mut IndexReport,
        mut take: impl AsyncFnMut(IndexedPack) -> Result<()>,
    ) -> Result<()> {
        let repository = self.repository;
        let wanted: Vec<PackId> =
            self.missing.iter().filter(|pack| overview.view.is_reusable(*pack)).collect();
        let files_total = wanted.len() as u64;
        self.monitor.advance(Progress { files_total, ..Progress::default() });
        let repository = repository.clone();
        let reads = stream::iter(wanted).map(move |pack| {
            let repository = repository.clone();
            async move { (pack, read(&repository, pack).await) }
        });
        let mut reads = tasks::ahead(reads, READS_AT_ONCE);
        while let Some((pack, directory)) = reads.next().await {
            match directory {
                Ok(directory) => {
                    let row = row(&directory);
                    report.packs += 1;
                    report.chunks += chunks_of(&row);
                    take(row).await?;
                }
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    let (item, message) = (format!("packs/{pack}"), error.to_string());
                    report.left_out.push(item.clone());
                    self.monitor.problem(&Problem { item, message, is_error: true });
                }
                Err(error) => return Err(error),
            }
            self.monitor.advance(Progress { files_done: 1, ..Progress::default() });
        }
        Ok(())
    }
}

async fn read(repository: &Repository, pack: PackId) -> Result<PackDirectory> {
    repository.packs().read_directory(pack, None).await
}

fn row(directory: &PackDirectory) -> IndexedPack {
    IndexedPack {
        pack: *directory.pack(),
        size_bytes: directory.end(),
        hash: None,
        directory: directory.directory().clone(),
    }
}

fn chunks_of(row: &IndexedPack) -> u64 {
    row.directory.segments.iter().map(|segment| segment.chunks.len() as u64).sum()
}
