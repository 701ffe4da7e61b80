//! Finds out whether a storage does what commits rest on, and how fast it is.
//!
//! A storage may accept a condition and ignore it, or check it and then write in two steps: only
//! creators that race show the difference. Works below a scratch prefix with a random name.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;

use super::{
    ByteRange, KeyPrefix, ObjectKey, Operation, SharedTarget, TargetError, TargetErrorKind,
    TargetExt, TargetResult,
};
use crate::runtime::{Runtime, random};

/// How hard to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Creators that race for one key.
    pub creators: usize,
    /// Races.
    pub rounds: usize,
    /// Size of the object that is written and read for its speed; 0 for none.
    pub speed_bytes: usize,
}

impl ProbeOptions {
    /// Little enough to go before every command that depends on it: about a dozen requests.
    pub fn cheap() -> Self {
        Self { creators: 8, rounds: 1, speed_bytes: 0 }
    }

    /// What a user waits for who asks: about three hundred requests, and the speed.
    pub fn thorough() -> Self {
        Self { creators: 32, rounds: 8, speed_bytes: 16 << 20 }
    }
}

/// What create-if-absent is worth on a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum CreateVerdict {
    /// One of all creators won, every time.
    Atomic,
    /// The backend says itself that its create is not atomic.
    Declined,
    /// An existing object was overwritten by a create.
    Ignored,
    /// Several creators were told that they won.
    Raced {
        /// How many, in the worst round.
        winners: usize,
        /// Out of so many.
        creators: usize,
    },
}

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// Whether commits are safe here.
    pub create: CreateVerdict,
    /// Whether a listing shows what was just written.
    pub lists_at_once: bool,
    /// By how much the storage's clock is ahead of ours, in milliseconds, if it tells a time.
    pub clock_ahead_ms: Option<i64>,
    /// Bytes a second, if measured.
    pub speed: Option<Speed>,
    /// Objects of the probe that could not be removed.
    pub left_behind: usize,
}

/// How fast content goes, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Speed {
    /// Into the storage.
    pub put_bytes_per_second: u64,
    /// Out of it.
    pub get_bytes_per_second: u64,
}

impl ProbeReport {
    /// True if a commit is made by exactly one writer, and everybody sees it.
    pub fn is_safe(&self) -> bool {
        self.create == CreateVerdict::Atomic && self.lists_at_once
    }
}

impl fmt::Display for CreateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atomic => f.write_str("exactly one of all creators wins"),
            Self::Declined => f.write_str("the storage cannot decide atomically who creates"),
            Self::Ignored => f.write_str("create-if-absent overwrites what exists"),
            Self::Raced { winners, creators } => {
                write!(f, "{winners} of {creators} creators were told that they won")
            }
        }
    }
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "create:  {}", self.create)?;
        let shown = if self.lists_at_once { "shows" } else { "does NOT show" };
        write!(f, "\nlisting: {shown} at once what was written")?;
        match self.clock_ahead_ms {
            Some(ahead) if ahead.abs() >= 1500 => {
                let word = if ahead > 0 { "ahead of" } else { "behind" };
                write!(f, "\nclock:   {:.1} s {word} ours", ahead.abs() as f64 / 1e3)?;
            }
            Some(_) => f.write_str("\nclock:   agrees with ours")?,
            None => f.write_str("\nclock:   tells no time")?,
        }
        if let Some(speed) = self.speed {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let (put, get) = (speed.put_bytes_per_second, speed.get_bytes_per_second);
            write!(f, "\nspeed:   {:.1} MiB/s in, {:.1} MiB/s out", mib(put), mib(get))?;
        }
        match self.left_behind {
            0 => Ok(()),
            left => write!(f, "\nleft:    {left} objects of the probe could not be removed"),
        }
    }
}

/// Probes `target` below `scratch`.
///
/// # Errors
/// What the target reports, except where that is what the probe looks for.
pub async fn probe(
    target: &SharedTarget,
    runtime: &Runtime,
    scratch: &KeyPrefix,
    options: &ProbeOptions,
) -> TargetResult<ProbeReport> {
    let name = format!("probe-{:016x}", u64::from_le_bytes(random(&*runtime.randomness)));
    let area = ObjectKey::parse(&name).and_then(|name| scratch.join(&name)).map_err(|error| {
        let why = "no room for the probe's keys";
        TargetError::new(TargetErrorKind::Invalid, Operation::Open, why).because(error)
    })?;
    let mut probe = Probe { target, runtime, area, written: Vec::new() };
    let found = probe.run(options).await;
    let left_behind = probe.clean_up().await;
    found.map(|report| ProbeReport { left_behind, ..report })
}

struct Probe<'a> {
    target: &'a SharedTarget,
    runtime: &'a Runtime,
    area: ObjectKey,
    written: Vec<ObjectKey>,
}

impl Probe<'_> {
    async fn run(&mut self, options: &ProbeOptions) -> TargetResult<ProbeReport> {
        let create = self.races(options).await?;
        let (lists_at_once, clock_ahead_ms) = self.last_write().await?;
        let speed = match options.speed_bytes {
            0 => None,
            bytes => Some(self.speed(bytes).await?),
        };
        Ok(ProbeReport { create, lists_at_once, clock_ahead_ms, speed, left_behind: 0 })
    }

    fn key(&mut self, name: &str) -> TargetResult<ObjectKey> {
        let key = ObjectKey::parse(&format!("{}/{name}", self.area)).map_err(|error| {
            let why = "no room for the probe's keys";
            TargetError::new(TargetErrorKind::Invalid, Operation::Open, why).because(error)
        })?;
        self.written.push(key.clone());
        Ok(key)
    }

    fn content(&self, length: usize) -> Bytes {
        let mut content = vec![0; length];
        self.runtime.randomness.fill(&mut content);
        content.into()
    }

    async fn races(&mut self, options: &ProbeOptions) -> TargetResult<CreateVerdict> {
        let creators = options.creators.max(2);
        let mut worst = 1;
        for round in 0..options.rounds.max(1) {
            let key = self.key(&format!("race-{round}"))?;
            let contents: Vec<Bytes> =
                (0..creators).map(|_| self.content(64 << (round % 8))).collect();
            let racers = contents.iter().map(|content| self.target.create(&key, content.clone()));
            let (mut winners, mut unsettled) = (0, None);
            for outcome in join_all(racers).await {
                match outcome {
                    Ok(()) => winners += 1,
                    Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {}
                    // a storage under strain; who was told nothing has not won
                    Err(error) if error.is_retryable() => unsettled = Some(error),
                    Err(error) => return Err(error),
                }
            }
            if winners == 0
                && let Some(error) = unsettled
            {
                return Err(error);
            }
            worst = worst.max(winners);
            if round == 0 && self.overwrites(&key).await? {
                return Ok(CreateVerdict::Ignored);
            }
        }
        Ok(match worst {
            1 if self.target.capabilities().await?.atomic_create => CreateVerdict::Atomic,
            1 => CreateVerdict::Declined,
            winners => CreateVerdict::Raced { winners, creators },
        })
    }

    /// Whether a create in the place of an existing object is done.
    async fn overwrites(&self, key: &ObjectKey) -> TargetResult<bool> {
        match self.target.create(key, self.content(100)).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes an object. Whether it is listed, and by how much the storage's clock was ahead:
    /// nothing, if the time that it noted lies between the beginning and the end of the write.
    async fn last_write(&mut self) -> TargetResult<(bool, Option<i64>)> {
        let now_ms = |probe: &Self| probe.runtime.clock.now().0 / 1_000_000;
        let key = self.key("listed")?;
        let began_ms = now_ms(self);
        self.target.create(&key, self.content(16)).await?;
        let ended_ms = now_ms(self);
        let area = KeyPrefix::parse(self.area.as_str()).map_err(|error| {
            TargetError::new(TargetErrorKind::Invalid, Operation::List, "a bad prefix")
                .because(error)
        })?;
        let listed = self.target.list_all(&area).await?;
        let found = listed.into_iter().find(|object| object.key == key);
        let noted = found.as_ref().and_then(|object| object.modified_ms);
        let ahead = noted.map(|noted| noted - noted.clamp(began_ms, ended_ms.max(began_ms)));
        Ok((found.is_some(), ahead))
    }

    async fn speed(&mut self, bytes: usize) -> TargetResult<Speed> {
        let key = self.key("speed")?;
        let content = self.content(bytes);
        let clock = &self.runtime.clock;
        let began = clock.monotonic();
        self.target.create(&key, content).await?;
        let written = clock.monotonic();
        let read = self.target.get(&key, ByteRange::Full).await?;
        let finished = clock.monotonic();
        Ok(Speed {
            put_bytes_per_second: rate(bytes, written.saturating_sub(began)),
            get_bytes_per_second: rate(read.len(), finished.saturating_sub(written)),
        })
    }

    /// Removes what was written; how much stayed. Rights may not suffice, which is no error: a
    /// storage that lets nobody delete is a good place for backups.
    async fn clean_up(self) -> usize {
        const AT_ONCE: usize = 8;
        let count = self.written.len();
        match self.target.delete_many(self.written, AT_ONCE).await {
            Ok(()) => 0,
            Err(error) => {
                tracing::debug!(%error, "objects of the probe stay");
                count
            }
        }
    }
}

fn rate(bytes: usize, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures::stream::BoxStream;

    use super::*;
    use crate::target::{
        BackupTarget, Capabilities, MemoryTarget, ObjectMeta, Payload, PutMode,
        layers::{FaultEffect, FaultLayer, FaultRule},
    };

    /// How a storage may lie about creates.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Lie {
        Overwrites,
        ChecksThenWrites,
    }

    #[derive(Debug)]
    struct Liar(MemoryTarget, Lie);

    impl fmt::Display for Liar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("liar")
        }
    }

    #[async_trait]
    impl BackupTarget for Liar {
        async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
            if self.1 == Lie::ChecksThenWrites && mode == PutMode::Create {
                if self.0.exists(key).await? {
                    let (kind, operation) = (TargetErrorKind::AlreadyExists, Operation::Put);
                    return Err(TargetError::new(kind, operation, "exists").on(key));
                }
                tokio::task::yield_now().await;
            }
            self.0.put(key, payload, PutMode::Replace).await
        }
        async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
            self.0.get(key, range).await
        }
        async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
            self.0.head(key).await
        }
        fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
            self.0.delete(key).await
        }
        async fn capabilities(&self) -> TargetResult<Capabilities> {
            self.0.capabilities().await
        }
    }

    async fn report(target: SharedTarget, options: &ProbeOptions) -> ProbeReport {
        let found = probe(&target, &Runtime::system(), &KeyPrefix::all(), options).await.unwrap();
        assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
        found
    }

    #[tokio::test]
    async fn an_honest_storage_is_found_safe() {
        let clock = Runtime::system().clock;
        let target: SharedTarget = Arc::new(MemoryTarget::with_clock(clock));
        let found = report(target.clone(), &ProbeOptions::cheap()).await;
        assert!(found.is_safe() && found.speed.is_none(), "{found}");
        assert_eq!(found.clock_ahead_ms, Some(0));
        let thorough = ProbeOptions { speed_bytes: 1 << 20, ..ProbeOptions::thorough() };
        let found = report(target, &thorough).await;
        assert!(found.is_safe() && found.speed.is_some(), "{found}");
        assert!(found.to_string().contains("MiB/s in"));
    }

    #[tokio::test]
    async fn lies_about_creates_are_told_apart() {
        let liar = |lie| Arc::new(Liar(MemoryTarget::new(), lie));
        let found = report(liar(Lie::Overwrites), &ProbeOptions::cheap()).await;
        assert_eq!(found.create, CreateVerdict::Ignored);
        let found = report(liar(Lie::ChecksThenWrites), &ProbeOptions::cheap()).await;
        assert_eq!(found.create, CreateVerdict::Raced { winners: 8, creators: 8 });
        assert!(!found.is_safe());
    }

    #[tokio::test]
    async fn listings_that_lag_are_found() {
        let layer = FaultLayer::new(Arc::new(MemoryTarget::new()), Runtime::system().clock);
        layer.add(FaultRule::new(Operation::List, FaultEffect::Truncate(0)));
        let found = report(Arc::new(layer), &ProbeOptions::cheap()).await;
        assert!(!found.lists_at_once && !found.is_safe());
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_counted() {
        let layer = FaultLayer::new(Arc::new(MemoryTarget::new()), Runtime::system().clock);
        layer.add(FaultRule::fail(Operation::Delete, TargetErrorKind::Denied));
        let target: SharedTarget = Arc::new(layer);
        let options = ProbeOptions::cheap();
        let found = probe(&target, &Runtime::system(), &KeyPrefix::all(), &options).await.unwrap();
        assert!(found.is_safe());
        assert_eq!(found.left_behind, 2);
    }
}
