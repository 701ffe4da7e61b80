//! The directories of all packs, beside what index segments say of them.

use futures::{StreamExt, stream};

use super::{Run, directories, small::Commits};
use crate::{
    error::Result,
    format::{commit::ObjectHash, index::IndexedPack},
    id::{PackId, SessionId},
    monitor::Progress,
    packset::PackSet,
    repository::packs::PackDirectory,
    tasks,
};

/// Directories read at once.
const READS_AT_ONCE: usize = 8;

type Read = std::result::Result<PackDirectory, String>;

impl Run<'_> {
    /// Reads every index segment and the directory of every pack, and compares them.
    pub(super) async fn check_structure(&mut self, commits: &mut Commits) -> Result<()> {
        let mut checked = PackSet::default();
        let mut indexes = self.read_indexes();
        while let Some(((session, counter), object, read)) = indexes.next().await {
            self.check_cancelled()?;
            let counts = commits.counts_index_of(session);
            if !counts && !self.inventory.commits.contains_key(&session) {
                self.report.unreferenced += 1;
            }
            let expected = written_index(commits, session, counter);
            let Some(mut rows) = self.open_index(&object, read, expected)? else {
                self.lost_indexes.extend(counts.then(|| object.key.to_string()));
                continue;
            };
            rows.retain(|row| commits.is_usable(row.pack.id));
            if counts {
                self.check_rows(object.key.as_str(), rows, commits, &mut checked).await?;
            }
        }
        let others: Vec<PackId> =
            self.inventory.packs.keys().filter(|pack| !checked.contains(**pack)).copied().collect();
        let is_committed = |pack: &&PackId| {
            commits.is_usable(**pack)
                && commits.loaded.get(&pack.session).is_some_and(|loaded| loaded.is_made())
        };
        let referred = commits.referred_packs();
        let is_wanted = |pack: &&PackId| is_committed(pack) || referred.contains(**pack);
        self.unindexed = others.iter().filter(is_wanted).copied().collect();
        self.has_repaired_index = commits.live().any(|(_, loaded)| loaded.commit.is_repair);
        let mut reads = self.read_directories(others);
        while let Some(read) = reads.next().await {
            let (pack, read) = read?;
            self.take_directory(pack, &read)?;
        }
        Ok(())
    }

    /// Compares the rows of an index segment with the packs that they are about.
    async fn check_rows(
        &mut self,
        index: &str,
        rows: Vec<IndexedPack>,
        commits: &mut Commits,
        checked: &mut PackSet,
    ) -> Result<()> {
        let packs = rows.iter().map(|row| row.pack.id).collect();
        let mut reads = self.read_directories(packs);
        for row in rows {
            let Some(read) = reads.next().await else { break };
            let (pack, read) = read?;
            if !checked.contains(pack) {
                self.take_directory(pack, &read)?;
                checked.insert(pack);
            }
            if let Some(hash) = row.hash {
                commits.packs.entry(pack).or_insert(hash);
            }
            let Ok(directory) = &read else { continue };
            let is_same = row.pack == *directory.pack()
                && row.size_bytes == directory.end()
                && row.directory == *directory.directory();
            if !is_same {
                let why = format!("says something else of pack {pack} than the pack itself");
                self.findings.object(index, why);
            }
        }
        Ok(())
    }

    /// Reads directories, in the given order.
    fn read_directories(
        &self,
        packs: Vec<PackId>,
    ) -> stream::BoxStream<'static, Result<(PackId, Read)>> {
        let reader = self.packs.clone();
        let reads = stream::iter(packs).map(move |pack| {
            let reader = reader.clone();
            async move { Ok((pack, directories::read(&reader, pack).await?)) }
        });
        tasks::ahead(reads, READS_AT_ONCE)
    }

    fn take_directory(&mut self, pack: PackId, read: &Read) -> Result<()> {
        self.check_cancelled()?;
        let size = self.inventory.packs.get(&pack).copied();
        self.directories.add(pack, size, read, &mut self.findings);
        if self.counts_directories() {
            self.monitor.advance(Progress { files_done: 1, ..Progress::default() });
        }
        Ok(())
    }
}

/// What a commit says of an index segment of its session.
fn written_index(commits: &Commits, session: SessionId, counter: u32) -> Option<ObjectHash> {
    let commit = &commits.loaded.get(&session)?.commit;
    let written = commit.indexes.iter().find(|written| written.counter == counter)?;
    Some(written.hash)
}
