//! Finds out whether a storage does what commits rest on, and how fast it is.
//!
//! A storage may accept a condition and ignore it, or check it and then write in two steps: only
//! creators that race show the difference. Works in an area with a random name below `probe`.
//!
//! Probes that were killed leave their areas behind; who may, removes them. A probe that is at work
//! in one has to begin anew then, and so knows it by its first object, which is removed first.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use serde::Serialize;

use super::{
    ByteRange, InvalidKey, KeyPrefix, ObjectKey, Operation, SharedTarget, TargetError,
    TargetErrorKind, TargetExt, TargetResult,
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
    /// Whether to remove what killed probes left behind.
    pub removes_leftovers: bool,
}

/// All areas lie below this folder.
const FOLDER: &str = "probe";
/// The first object of an area.
const BEGUN: &str = "begun";
/// So often a probe begins anew whose area was removed by somebody else.
const ATTEMPTS_MAX: usize = 4;

impl ProbeOptions {
    /// Little enough to go before every command that depends on it: about a dozen requests.
    pub fn cheap() -> Self {
        Self { creators: 8, rounds: 1, speed_bytes: 0, removes_leftovers: false }
    }

    /// What a user waits for who asks: about three hundred requests, and the speed.
    pub fn thorough() -> Self {
        Self { creators: 32, rounds: 8, speed_bytes: 16 << 20, removes_leftovers: false }
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
    let mut attempt = 1;
    loop {
        let mut probe = Probe::of(target, runtime, scratch)?;
        let found = probe.run(options).await;
        let is_safe = found.as_ref().is_ok_and(ProbeReport::is_safe);
        let begins_anew = !is_safe && attempt < ATTEMPTS_MAX && probe.was_removed().await;
        let left_behind = probe.clean_up(options).await;
        if !begins_anew {
            return found.map(|report| ProbeReport { left_behind, ..report });
        }
        attempt += 1;
    }
}

struct Probe<'a> {
    target: &'a SharedTarget,
    runtime: &'a Runtime,
    /// Where the areas of all probes are.
    folder: ObjectKey,
    /// Where this one is at work.
    area: ObjectKey,
    has_begun: bool,
    written: Vec<ObjectKey>,
    /// Objects of other probes.
    others: Vec<ObjectKey>,
}

impl<'a> Probe<'a> {
    fn of(
        target: &'a SharedTarget,
        runtime: &'a Runtime,
        scratch: &KeyPrefix,
    ) -> TargetResult<Self> {
        let number = u64::from_le_bytes(random(&*runtime.randomness));
        let folder = ObjectKey::parse(FOLDER).and_then(|name| scratch.join(&name));
        let folder = folder.map_err(no_room)?;
        let area = ObjectKey::parse(&format!("{folder}/{number:016x}")).map_err(no_room)?;
        let (written, others) = (Vec::new(), Vec::new());
        Ok(Self { target, runtime, folder, area, has_begun: false, written, others })
    }

    async fn run(&mut self, options: &ProbeOptions) -> TargetResult<ProbeReport> {
        let begun = self.key(BEGUN)?;
        self.target.create(&begun, self.content(16)).await?;
        self.has_begun = true;
        let create = self.races(options).await?;
        let (lists_at_once, clock_ahead_ms) = self.last_write().await?;
        let speed = match options.speed_bytes {
            0 => None,
            bytes => Some(self.speed(bytes).await?),
        };
        Ok(ProbeReport { create, lists_at_once, clock_ahead_ms, speed, left_behind: 0 })
    }

    /// Whether somebody took the area for that of a killed probe.
    async fn was_removed(&self) -> bool {
        let Some(begun) = self.written.first().filter(|_| self.has_begun) else { return false };
        self.target.exists(begun).await.is_ok_and(|is_there| !is_there)
    }

    fn key(&mut self, name: &str) -> TargetResult<ObjectKey> {
        let key = ObjectKey::parse(&format!("{}/{name}", self.area)).map_err(no_room)?;
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
        let folder = KeyPrefix::parse(self.folder.as_str()).map_err(no_room)?;
        let listed = self.target.list_all(&folder).await?;
        let found = listed.iter().find(|object| object.key == key).cloned();
        let keys = listed.into_iter().map(|object| object.key);
        self.others = keys.filter(|key| !key.as_str().starts_with(self.area.as_str())).collect();
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
    async fn clean_up(self, options: &ProbeOptions) -> usize {
        const AT_ONCE: usize = 8;
        let mut first = Vec::new();
        let mut rest = self.written;
        if options.removes_leftovers {
            let (begun, others) = self.others.into_iter().partition(|key| key.name() == BEGUN);
            first = begun;
            rest.extend::<Vec<_>>(others);
        }
        let count = first.len() + rest.len();
        let removed = match self.target.delete_many(first, AT_ONCE).await {
            Ok(()) => self.target.delete_many(rest, AT_ONCE).await,
            error => error,
        };
        match removed {
            Ok(()) => 0,
            Err(error) => {
                tracing::debug!(%error, "objects of the probe stay");
                count
            }
        }
    }
}

fn no_room(error: InvalidKey) -> TargetError {
    let why = "no room for the probe's keys";
    TargetError::new(TargetErrorKind::Invalid, Operation::Open, why).because(error)
}

fn rate(bytes: usize, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    u64::try_from(bytes as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

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
        /// Somebody else removes all that is written to the first area.
        IsClearedOnce,
    }

    #[derive(Debug)]
    struct Liar {
        memory: MemoryTarget,
        lie: Lie,
        first_area: Mutex<Option<String>>,
    }

    impl Liar {
        fn new(lie: Lie) -> Arc<Self> {
            Arc::new(Self { memory: MemoryTarget::new(), lie, first_area: Mutex::default() })
        }

        async fn clear(&self, key: &ObjectKey) -> TargetResult<()> {
            let (area, name) = key.as_str().rsplit_once('/').unwrap();
            let first = self.first_area.lock().unwrap().get_or_insert(area.to_owned()).clone();
            if first == area && name != BEGUN {
                let begun = ObjectKey::parse(&format!("{area}/{BEGUN}")).unwrap();
                self.memory.delete(&begun).await?;
                self.memory.delete(key).await?;
            }
            Ok(())
        }
    }

    impl fmt::Display for Liar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("liar")
        }
    }

    #[async_trait]
    impl BackupTarget for Liar {
        async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
            if self.lie == Lie::ChecksThenWrites && mode == PutMode::Create {
                if self.memory.exists(key).await? {
                    let (kind, operation) = (TargetErrorKind::AlreadyExists, Operation::Put);
                    return Err(TargetError::new(kind, operation, "exists").on(key));
                }
                tokio::task::yield_now().await;
            }
            let is_honest = self.lie == Lie::IsClearedOnce;
            let mode = if is_honest { mode } else { PutMode::Replace };
            self.memory.put(key, payload, mode).await?;
            if is_honest { self.clear(key).await } else { Ok(()) }
        }
        async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
            self.memory.get(key, range).await
        }
        async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
            self.memory.head(key).await
        }
        fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
            self.memory.list(prefix)
        }
        async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
            self.memory.delete(key).await
        }
        async fn capabilities(&self) -> TargetResult<Capabilities> {
            self.memory.capabilities().await
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
        let found = report(Liar::new(Lie::Overwrites), &ProbeOptions::cheap()).await;
        assert_eq!(found.create, CreateVerdict::Ignored);
        let found = report(Liar::new(Lie::ChecksThenWrites), &ProbeOptions::cheap()).await;
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
    async fn what_killed_probes_left_is_removed_where_that_is_wanted() {
        let target: SharedTarget = Arc::new(MemoryTarget::new());
        for name in ["probe/1/begun", "probe/1/race-0", "probe/2/listed", "packs/x"] {
            target.create(&ObjectKey::parse(name).unwrap(), vec![1]).await.unwrap();
        }
        let left = async || target.list_all(&KeyPrefix::all()).await.unwrap().len();
        let (runtime, all) = (Runtime::system(), KeyPrefix::all());
        let found = probe(&target, &runtime, &all, &ProbeOptions::cheap()).await.unwrap();
        assert!((found.is_safe(), left().await) == (true, 4), "{found}");
        let options = ProbeOptions { removes_leftovers: true, ..ProbeOptions::cheap() };
        let found = probe(&target, &runtime, &all, &options).await.unwrap();
        assert!((found.is_safe(), left().await) == (true, 1), "{found}");
    }

    #[tokio::test]
    async fn a_probe_begins_anew_where_its_area_was_removed() {
        let found = report(Liar::new(Lie::IsClearedOnce), &ProbeOptions::cheap()).await;
        assert!(found.is_safe(), "{found}");
    }

    #[tokio::test]
    async fn what_cannot_be_removed_is_counted() {
        let layer = FaultLayer::new(Arc::new(MemoryTarget::new()), Runtime::system().clock);
        layer.add(FaultRule::fail(Operation::Delete, TargetErrorKind::Denied));
        let target: SharedTarget = Arc::new(layer);
        let options = ProbeOptions::cheap();
        let found = probe(&target, &Runtime::system(), &KeyPrefix::all(), &options).await.unwrap();
        assert!(found.is_safe());
        assert_eq!(found.left_behind, 3);
    }
}
