//! Restores from a repository in memory into a sink in memory.

mod content;
mod damage;
mod existing;
mod hostile;
mod random;
mod tree;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{RestoreOptions, RestoreReport, restore};
use crate::{
    entry::{EntryKind, FileTime},
    error::Result,
    monitor::{Monitor, Phase, Progress, SilentMonitor},
    repository::Snapshot,
    testing::{
        MemorySource,
        sink::MemorySink,
        world::{World, noise},
    },
};

/// A source, its backup, and a sink.
struct Scene {
    world: World,
    source: Arc<MemorySource>,
    snapshot: Snapshot,
    sink: MemorySink,
}

impl Scene {
    async fn of(source: MemorySource) -> Self {
        let (world, source) = (World::new().await, Arc::new(source));
        let snapshot = world.backup(&source).await;
        Self { world, source, snapshot, sink: MemorySink::new() }
    }

    /// Some files of all sizes in some folders.
    async fn some_files() -> Self {
        let source = MemorySource::default();
        fill(&source);
        Self::of(source).await
    }

    async fn try_restore(&self, options: &RestoreOptions) -> Result<RestoreReport> {
        self.restore_with(options, Arc::new(SilentMonitor)).await
    }

    async fn restore_with(
        &self,
        options: &RestoreOptions,
        monitor: Arc<dyn Monitor>,
    ) -> Result<RestoreReport> {
        let sink = Arc::new(self.sink.clone());
        restore(&self.world.repository, &self.snapshot, sink, options, monitor).await
    }

    /// Restores without a problem.
    async fn restore(&self, options: &RestoreOptions) -> RestoreReport {
        let report = self.try_restore(options).await.unwrap();
        assert_eq!(report.problems, []);
        report
    }

    /// The sink holds exactly what the source does.
    fn assert_restored(&self) {
        let (wanted, found) = (self.source.see(), self.sink.see());
        let paths: BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
        for path in paths {
            let shown = path.display();
            let wanted = wanted.get(path).unwrap_or_else(|| panic!("{shown} is too much"));
            let found = found.get(path).unwrap_or_else(|| panic!("{shown} is missing"));
            assert_eq!(wanted.stat.kind, found.stat.kind, "{shown}");
            assert_eq!(wanted.stat.size, found.stat.size, "{shown}");
            assert_eq!(wanted.stat.mode, found.stat.mode, "{shown}");
            assert_eq!(wanted.stat.mtime, found.stat.mtime, "{shown}");
            assert_eq!(wanted.stat.device_number, found.stat.device_number, "{shown}");
            assert_eq!(wanted.details, found.details, "{shown}");
            if wanted.stat.kind == EntryKind::File {
                assert!(*wanted.content == found.content(), "content of {shown}");
            }
        }
    }
}

fn fill(source: &MemorySource) {
    let sizes = [0, 1, 500, 1 << 10, 5_000, 100_000, 3 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        source.put(&format!("file-{number}"), noise(number as u64, size));
        source.put(&format!("folder/below/file-{number}"), noise(100 + number as u64, size / 2));
    }
    source.put("folder/same", noise(5, 100_000));
    source.put("text", b"all work and no play makes jack a dull boy\n".repeat(5_000));
    source.put_other("folder/empty", EntryKind::Dir, None);
}

fn time(seconds: i64) -> FileTime {
    FileTime { seconds, nanoseconds: 0 }
}

/// Counts what it is told, and cancels after so many files.
#[derive(Debug, Default)]
struct Watcher {
    told: Mutex<Progress>,
    phases: Mutex<Vec<Phase>>,
    problems: AtomicU64,
    cancel_after_files: Option<u64>,
}

impl Monitor for Watcher {
    fn phase(&self, phase: Phase) {
        self.phases.lock().unwrap().push(phase);
    }

    fn advance(&self, delta: Progress) {
        let mut told = self.told.lock().unwrap();
        told.files_done += delta.files_done;
        told.files_total += delta.files_total;
        told.bytes_done += delta.bytes_done;
        told.bytes_total += delta.bytes_total;
    }

    fn problem(&self, _: &crate::monitor::Problem) {
        self.problems.fetch_add(1, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        let done = self.told.lock().unwrap().files_done;
        self.cancel_after_files.is_some_and(|limit| done >= limit)
    }
}
