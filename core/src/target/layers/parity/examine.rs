//! Examining one object with what stands beside it, and setting right what is not.

use bytes::Bytes;
use futures::future::join;

use super::{Beside, ParityLayer, failed, found};
use crate::{
    format::{
        copy,
        parity::{Outcome, Parity},
    },
    target::{
        BackupTarget, ByteRange, ObjectKey, Operation, PutMode, TargetError, TargetErrorKind,
        TargetExt, TargetResult,
    },
    tasks,
};

/// What was found about an object, and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healing {
    /// Nothing is wrong.
    Intact,
    /// The object is right; what stands beside it was missing or damaged, and is stored anew.
    Completed,
    /// The object was damaged or missing, and is stored anew.
    Rebuilt,
    /// There is no such object any more, nor anything beside it.
    Gone,
    /// It is damaged or missing, and why it cannot be healed. Nothing was written.
    Impossible(String),
}

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    /// Whether the object may be taken for right where nothing beside it says otherwise. Not for
    /// who knows that it is damaged.
    pub(super) completes: bool,
    /// Whether anything is written.
    pub(super) writes: bool,
}

impl Task {
    /// Somebody found the object damaged.
    pub(super) const HEAL: Self = Self { completes: false, writes: true };
}

/// What reading an object gave.
enum Found {
    Missing,
    Unreadable(TargetError),
    Bytes(Bytes),
}

impl Found {
    fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn is(&self, content: &Bytes) -> bool {
        self.bytes() == Some(content)
    }
}

fn impossible(why: impl Into<String>) -> TargetResult<Healing> {
    Ok(Healing::Impossible(why.into()))
}

impl ParityLayer {
    /// Examines `key`. Reads the primary before what stands beside it: of an object that is
    /// deleted meanwhile, nothing is left beside it once the primary is missing.
    pub(super) async fn examine(&self, key: &ObjectKey, task: Task) -> TargetResult<Healing> {
        match self.scheme.beside(key) {
            Beside::Nothing => impossible("it is not protected"),
            Beside::Parity(parity) => self.examine_sharded(key, &parity, task).await,
            Beside::Copies(copies) => self.examine_copied(key, &copies, task).await,
        }
    }

    async fn examine_sharded(
        &self,
        key: &ObjectKey,
        beside: &ObjectKey,
        task: Task,
    ) -> TargetResult<Healing> {
        let mut object = self.look(key).await?;
        let parity = self.look(beside).await?;
        let is_parity_there = !matches!(parity, Found::Missing);
        let parsed = parity.bytes().and_then(|bytes| Parity::parse(key.as_str(), bytes.clone()));
        let Some(parity) = parsed else {
            return match object {
                Found::Missing if is_parity_there => {
                    impossible("it is missing, and its parity is damaged")
                }
                Found::Missing => Ok(Healing::Gone),
                Found::Bytes(content) if task.completes => {
                    if task.writes {
                        self.add_parity(key, beside, vec![content]).await?;
                    }
                    Ok(Healing::Completed)
                }
                Found::Bytes(_) => impossible("its parity is missing or damaged"),
                Found::Unreadable(error) => Err(error),
            };
        };
        if matches!(object, Found::Unreadable(_)) {
            object = Found::Bytes(self.read_shards(key, &parity).await);
        }
        self.heal_sharded(key, beside, object, parity, task).await
    }

    async fn heal_sharded(
        &self,
        key: &ObjectKey,
        beside: &ObjectKey,
        object: Found,
        parity: Parity,
        task: Task,
    ) -> TargetResult<Healing> {
        let is_missing = matches!(object, Found::Missing);
        let content = object.bytes().cloned().unwrap_or_default();
        let work = {
            let content = content.clone();
            move || Ok((parity.heal(&content)?, parity.is_whole(), parity.geometry().data_shards()))
        };
        let healed = tasks::spawn_blocking("heal", work).await;
        let (outcome, is_whole, shards) =
            healed.map_err(|error| failed(key, Operation::Get, error))?;
        let (content, healing) = match outcome {
            // an empty object is intact as nothing is: but it has to be there
            Outcome::Intact if !is_missing => (content, Healing::Intact),
            Outcome::Intact => (content, Healing::Rebuilt),
            Outcome::Healed { data, .. } => (data.into(), Healing::Rebuilt),
            Outcome::Hopeless { .. } if is_missing => {
                return impossible("it is missing, and has more shards than parity rebuilds");
            }
            Outcome::Hopeless { damaged } => {
                return impossible(format!(
                    "{damaged} of {shards} shards are damaged, more than parity rebuilds"
                ));
            }
        };
        if healing == Healing::Rebuilt && task.writes {
            self.store(key, &content, is_missing).await?;
        }
        if task.completes && !is_whole {
            if task.writes {
                self.add_parity(key, beside, vec![content]).await?;
            }
            return Ok(if healing == Healing::Intact { Healing::Completed } else { healing });
        }
        Ok(healing)
    }

    async fn examine_copied(
        &self,
        key: &ObjectKey,
        copies: &[ObjectKey; 2],
        task: Task,
    ) -> TargetResult<Healing> {
        let object = self.look(key).await?;
        let (first, second) = join(self.look(&copies[0]), self.look(&copies[1])).await;
        let found = [first?, second?];
        let content = found.each_ref().map(|copy| copy::content(key.as_str(), copy.bytes()?));
        let truth = match &content {
            // of two that differ, an interrupted replacement left the one that is not the primary
            [Some(_), Some(second)] if object.is(second) => Some(second),
            [first, second] => first.as_ref().or(second.as_ref()),
        };
        let Some(truth) = truth.cloned() else {
            return self.examine_alone(key, copies, object, &found, task).await;
        };
        let is_missing = matches!(object, Found::Missing);
        let is_right = object.is(&truth);
        let stale: Vec<&ObjectKey> = copies
            .iter()
            .zip(&content)
            .filter(|(_, content)| content.as_ref() != Some(&truth))
            .map(|(copy, _)| copy)
            .collect();
        if task.writes && !is_right {
            self.store(key, &truth, is_missing).await?;
            let good = copies.iter().filter(|copy| !stale.contains(copy));
            self.withdraw_if_copies_gone(key, good).await?;
        }
        if task.writes && !stale.is_empty() {
            self.put_copies(key, stale.iter().copied(), &truth).await?;
        }
        Ok(match (is_right, stale.is_empty()) {
            (false, _) => Healing::Rebuilt,
            (true, false) => Healing::Completed,
            (true, true) => Healing::Intact,
        })
    }

    /// No copy is good: at best the object is, and the copies are made from it.
    async fn examine_alone(
        &self,
        key: &ObjectKey,
        copies: &[ObjectKey; 2],
        object: Found,
        found: &[Found; 2],
        task: Task,
    ) -> TargetResult<Healing> {
        let are_missing = found.iter().all(|copy| matches!(copy, Found::Missing));
        let content = match object {
            Found::Bytes(content) => content,
            Found::Missing if are_missing => return Ok(Healing::Gone),
            Found::Missing => return impossible("it is missing, and its copies are damaged"),
            Found::Unreadable(error) => return Err(error),
        };
        let is_testified = found
            .iter()
            .filter_map(Found::bytes)
            .any(|copy| copy::testifies(key.as_str(), copy, &content));
        if !is_testified && !task.completes {
            return impossible("no copy is good");
        }
        if !is_testified && !are_missing {
            return impossible("its copies are damaged, so that nothing tells whether it is right");
        }
        if task.writes {
            self.put_copies(key, copies.iter(), &content).await?;
        }
        Ok(Healing::Completed)
    }

    /// Stores the healed primary. What somebody creates meanwhile stays.
    async fn store(&self, key: &ObjectKey, content: &Bytes, is_new: bool) -> TargetResult<()> {
        let mode = if is_new { PutMode::Create } else { PutMode::Replace };
        match self.inner.put(key, content.clone().into(), mode).await {
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
    }

    /// Removes the primary that was just stored anew if its copies are gone: somebody deleted
    /// the object meanwhile.
    async fn withdraw_if_copies_gone(
        &self,
        key: &ObjectKey,
        copies: impl Iterator<Item = &ObjectKey>,
    ) -> TargetResult<()> {
        for copy in copies {
            if found(self.inner.head(copy).await)?.is_some() {
                return Ok(());
            }
        }
        self.inner.delete(key).await
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// Those that are not about this object alone.
    async fn look(&self, key: &ObjectKey) -> TargetResult<Found> {
        use TargetErrorKind::{Corrupt, NotFound, Unavailable, Unexpected};
        match self.inner.get_full(key).await {
            Ok(bytes) => Ok(Found::Bytes(bytes)),
            Err(error) => match error.kind() {
                NotFound => Ok(Found::Missing),
                Corrupt | Unavailable | Unexpected => Ok(Found::Unreadable(error)),
                _ => Err(error),
            },
        }
    }

    /// The object shard by shard, those that cannot be read as zeros.
    async fn read_shards(&self, key: &ObjectKey, parity: &Parity) -> Bytes {
        let geometry = parity.geometry();
        let mut content = vec![0; geometry.data_bytes()];
        for shard in 0..geometry.data_shards() {
            let range = geometry.data_range(shard);
            let (offset, length) = (range.start as u64, range.len() as u64);
            let read = self.inner.get(key, ByteRange::From { offset, length }).await;
            if let Ok(bytes) = read
                && bytes.len() == range.len()
            {
                content[range].copy_from_slice(&bytes);
            }
        }
        content.into()
    }
}
