//! Going through all objects: checks each with what stands beside it, heals, and completes what
//! an interrupted writer left out. Needs no key.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use serde::Serialize;

use super::{Beside, Healing, ParityLayer, examine::Task, scheme::COPIES, scheme::PARITY};
use crate::{
    monitor::{Monitor, Progress},
    target::{BackupTarget, KeyPrefix, ObjectKey, TargetError, TargetErrorKind, TargetResult},
    tasks,
};

/// Objects examined at once; each is held in memory whole.
const OBJECTS_AT_ONCE: usize = 4;

/// How to scrub.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScrubOptions {
    /// Say what would be done; write nothing.
    pub is_dry_run: bool,
    /// Remove the parity and the copies of objects that are missing and cannot be rebuilt.
    pub removes_orphans: bool,
    /// Leave out the objects that have parity.
    pub only_small: bool,
}

/// What a scrub found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ScrubReport {
    /// Objects that have parity.
    pub packs: u64,
    /// Objects that have copies.
    pub small_objects: u64,
    /// Objects that were damaged or missing, and are stored anew.
    pub healed: Vec<String>,
    /// Objects whose parity or copies were missing or damaged, and are stored anew.
    pub completed: Vec<String>,
    /// Objects that cannot be healed.
    pub damaged: Vec<Unhealed>,
    /// Of those, the ones whose parity and copies were removed.
    pub orphans_removed: Vec<String>,
}

/// An object that cannot be healed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unhealed {
    /// The object.
    pub object: String,
    /// What is wrong with it, and why that stays so.
    pub message: String,
}

impl ParityLayer {
    /// Checks every protected object; heals, and completes what is missing beside it.
    ///
    /// Writers may be at work meanwhile, and others may delete. Progress counts objects. Once the
    /// monitor says so, it stops, with the report of what was done.
    ///
    /// # Errors
    /// What keeps the scrub from going on; what concerns one object is in the report.
    pub async fn scrub(
        &self,
        options: ScrubOptions,
        monitor: &dyn Monitor,
    ) -> TargetResult<ScrubReport> {
        let keys = self.protected_keys(options).await?;
        let files_total = keys.len() as u64;
        monitor.advance(Progress { files_total, ..Progress::default() });
        let task = Task { completes: true, writes: !options.is_dry_run };
        let mut report = ScrubReport::default();
        let looks = keys
            .into_iter()
            .take_while(|_| !monitor.is_cancelled())
            .map(|key| async move { (self.look_at(&key, task, options).await, key) });
        tasks::each(looks, OBJECTS_AT_ONCE, |(looked, key)| {
            let (healing, is_orphan) = looked?;
            self.note(&mut report, &key, healing);
            report.orphans_removed.extend(is_orphan.then(|| key.to_string()));
            monitor.advance(Progress { files_done: 1, ..Progress::default() });
            Ok::<_, TargetError>(())
        })
        .await?;
        Ok(report)
    }

    /// Examines one object; true if only what lies beside it was there, and is removed.
    async fn look_at(
        &self,
        key: &ObjectKey,
        task: Task,
        options: ScrubOptions,
    ) -> TargetResult<(Healing, bool)> {
        let healing = match self.examine(key, task).await {
            Err(error) if !is_of_one_object(&error) => return Err(error),
            Err(error) => Healing::Impossible(error.to_string()),
            Ok(healing) => healing,
        };
        let removes = options.removes_orphans && !options.is_dry_run;
        let is_orphan = removes
            && matches!(healing, Healing::Impossible(_))
            && super::found(self.inner.head(key).await).is_ok_and(|found| found.is_none());
        if is_orphan {
            for beside in self.scheme.beside(key).keys() {
                self.inner.delete(beside).await?;
            }
        }
        Ok((healing, is_orphan))
    }

    fn note(&self, report: &mut ScrubReport, key: &ObjectKey, healing: Healing) {
        match (self.scheme.beside(key), &healing) {
            (_, Healing::Gone) => return,
            (Beside::Parity(_), _) => report.packs += 1,
            _ => report.small_objects += 1,
        }
        match healing {
            Healing::Intact | Healing::Gone => {}
            Healing::Completed => report.completed.push(key.to_string()),
            Healing::Rebuilt => report.healed.push(key.to_string()),
            Healing::Impossible(message) => {
                report.damaged.push(Unhealed { object: key.to_string(), message });
            }
        }
    }

    /// Every object that is there, or has something beside it.
    async fn protected_keys(&self, options: ScrubOptions) -> TargetResult<BTreeSet<ObjectKey>> {
        let mut keys: BTreeSet<ObjectKey> = self.scheme.copied().iter().cloned().collect();
        if !options.only_small {
            self.gather(PARITY, &mut keys, |key| self.scheme.of_parity(&key)).await?;
            self.gather(self.scheme.sharded().as_str(), &mut keys, Some).await?;
        }
        for copies in COPIES {
            self.gather(copies, &mut keys, |key| self.scheme.of_copy(&key)).await?;
        }
        for folder in self.scheme.copied() {
            self.gather(folder.as_str(), &mut keys, Some).await?;
        }
        Ok(keys)
    }

    async fn gather(
        &self,
        folder: &str,
        keys: &mut BTreeSet<ObjectKey>,
        key_of: impl Fn(ObjectKey) -> Option<ObjectKey>,
    ) -> TargetResult<()> {
        let Ok(prefix) = KeyPrefix::parse(folder) else { return Ok(()) };
        let mut objects = self.inner.list(&prefix);
        while let Some(object) = objects.try_next().await? {
            keys.extend(key_of(object.key));
        }
        Ok(())
    }
}

/// Errors that do not keep other objects from being examined.
fn is_of_one_object(error: &TargetError) -> bool {
    use TargetErrorKind::{Corrupt, Denied, Full, Unexpected};
    matches!(error.kind(), Corrupt | Denied | Full | Unexpected)
}
