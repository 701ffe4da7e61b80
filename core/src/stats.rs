//! Statistics: how large snapshots are, what of that is stored, and what nobody needs.
//!
//! Reads the index and the tables; no content. Memory is bounded as for a prune.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    error::{Error, ErrorKind, Result},
    format::page::TableRoot,
    id::SessionId,
    monitor::{Monitor, Phase},
    prune::usage::{self, Usage},
    repository::{LoadedCommit, Overview, Repository},
};

/// What some snapshots hold and take.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct StatsReport {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Files in them; a file counts once in every snapshot.
    pub files: u64,
    /// Directories in them.
    pub dirs: u64,
    /// Links, pipes, sockets, devices.
    pub others: u64,
    /// Bytes that restoring all of them writes.
    pub size_bytes: u64,
    /// Distinct content of their files in bytes, before compression.
    pub unique_bytes: u64,
    /// Distinct parts of their tables in bytes, before compression.
    pub table_bytes: u64,
    /// Distinct chunks of content and tables.
    pub chunks: u64,
    /// About how many bytes of packs hold these chunks.
    pub stored_bytes: u64,
    /// How often the same content is stored once: `size_bytes / unique_bytes`.
    pub dedup_ratio: f64,
    /// What compression saves, headers and padding included: `(unique_bytes + table_bytes) /
    /// stored_bytes`.
    pub compression_ratio: f64,
    /// Parts of tables that cannot be read: what they refer to is not counted.
    pub unreadable_parts: u64,
    /// The whole repository; only if all of its snapshots were looked at.
    pub repository: Option<RepositoryStats>,
}

/// What a repository takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct RepositoryStats {
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// About how many of these bytes no snapshot needs.
    pub unused_bytes: u64,
    /// Index segments that count.
    pub index_segments: u64,
    /// Small objects: everything but packs.
    pub small_objects: u64,
    /// Their bytes.
    pub small_bytes: u64,
}

/// Measures the snapshots `ids`, or all and the repository with them if there are none.
///
/// # Errors
/// `NotFound` for a snapshot that is not there, and what the target reports. Damaged parts are
/// counted, not fatal.
pub async fn stats(
    repository: &Repository,
    ids: &[SessionId],
    monitor: Arc<dyn Monitor>,
) -> Result<StatsReport> {
    monitor.phase(Phase::Reading);
    let overview = repository.overview().await?;
    let chosen = choose(&overview, ids)?;
    let usage = usage::measure(repository, &overview, &chosen, &*monitor).await?;
    let mut report = StatsReport { snapshots: chosen.len() as u64, ..StatsReport::default() };
    let roots = chosen.iter().filter_map(|loaded| loaded.commit.root.as_ref());
    roots.for_each(|root| report.count(root));
    report.measure(&usage);
    report.repository = ids.is_empty().then(|| whole(&overview, &usage));
    Ok(report)
}

fn choose<'a>(overview: &'a Overview, ids: &[SessionId]) -> Result<Vec<&'a LoadedCommit>> {
    let all = overview.history.snapshots();
    let wanted: BTreeSet<SessionId> = ids.iter().copied().collect();
    if wanted.is_empty() {
        return Ok(all.collect());
    }
    let chosen: Vec<_> = all.filter(|loaded| wanted.contains(&loaded.commit.session)).collect();
    let found: BTreeSet<SessionId> = chosen.iter().map(|loaded| loaded.commit.session).collect();
    match wanted.difference(&found).next() {
        None => Ok(chosen),
        Some(id) => Err(Error::new(ErrorKind::NotFound, "there is no such snapshot").on(id)),
    }
}

impl StatsReport {
    fn count(&mut self, root: &TableRoot) {
        let counts = &root.counts;
        self.files += counts.files;
        self.dirs += counts.dirs;
        self.others += counts.others;
        self.size_bytes += counts.bytes;
    }

    fn measure(&mut self, usage: &Usage) {
        for pack in usage.packs.values() {
            self.unique_bytes += pack.live_bytes - pack.table_bytes;
            self.table_bytes += pack.table_bytes;
            self.chunks += pack.live_chunks;
            if pack.live_bytes > 0 {
                self.stored_bytes += pack.size_bytes - pack.unused_bytes();
            }
        }
        self.dedup_ratio = ratio(self.size_bytes, self.unique_bytes);
        self.compression_ratio = ratio(self.unique_bytes + self.table_bytes, self.stored_bytes);
        self.unreadable_parts = usage.blind.parts;
    }
}

/// 1 if there is nothing to compare.
fn ratio(before: u64, after: u64) -> f64 {
    if after == 0 { 1.0 } else { before as f64 / after as f64 }
}

fn whole(overview: &Overview, usage: &Usage) -> RepositoryStats {
    let small = overview.listing.objects.iter().map(|(_, object)| object.size_bytes);
    let mut stats = RepositoryStats {
        packs: usage.packs.len() as u64,
        index_segments: usage.index_segments,
        small_objects: small.len() as u64,
        small_bytes: small.sum(),
        ..RepositoryStats::default()
    };
    for pack in usage.packs.values() {
        stats.pack_bytes += pack.size_bytes;
        // of packs that no index row tells of, nothing or all is needed
        stats.unused_bytes +=
            if pack.live_bytes == 0 { pack.size_bytes } else { pack.unused_bytes() };
    }
    stats
}
