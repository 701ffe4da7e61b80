//! Reading packs whole: every byte is fetched, every segment opened and decompressed, every
//! chunk hashed again.
//!
//! A pack is fetched in parts of several segments; while threads work on one part, the next one
//! is on its way. So memory holds two parts a worker, however large packs are.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, future, stream};

use super::{
    ReadData, Run, directories,
    findings::{Extent, reason},
    small::Commits,
};
use crate::{
    compress::Decompressor,
    crypto::KeyRing,
    error::{Error, ErrorKind, Result},
    format::{commit::ObjectHash, pack::pack_object_name},
    id::PackId,
    monitor::{Monitor, Progress},
    repository::{
        heal, layout,
        packs::{PackDirectory, PackReader},
    },
    runtime::{Randomness, random},
    target::{ObjectKey, SharedTarget},
    tasks,
};

/// Bytes fetched at once, if no single segment is longer.
const PART_BYTES: u64 = 2 << 20;

/// Something wrong with a part of the pack.
type Flaw = (Extent, String);

/// What reading one pack showed.
struct Outcome {
    pack: PackId,
    flaws: Vec<Flaw>,
    /// True if every byte was looked at.
    is_whole: bool,
}

impl Run<'_> {
    /// Reads the packs that the options ask for.
    pub(super) async fn check_data(&mut self, commits: &Commits) -> Result<()> {
        let chosen = self.choose_packs();
        let work = PackCheck {
            target: self.target.clone(),
            reader: self.packs.clone(),
            keys: self.repository.keys().clone(),
            monitor: self.monitor.clone(),
            idle: Arc::default(),
        };
        let workers = self.options.workers.max(1);
        #[expect(clippy::disallowed_methods, reason = "nothing is awaited but the outcomes")]
        let mut outcomes = stream::iter(chosen)
            .map(|pack| work.clone().check_healing(pack, commits.packs.get(&pack).copied()))
            .buffer_unordered(workers);
        while let Some(outcome) = outcomes.next().await {
            let Outcome { pack, flaws, is_whole } = outcome?;
            self.report.packs_read += u64::from(is_whole);
            for (extent, why) in flaws {
                self.findings.pack(pack, extent, why);
            }
            self.monitor.advance(Progress { files_done: 1, ..Progress::default() });
        }
        Ok(())
    }

    /// The packs to read, and tells the monitor how much that is.
    fn choose_packs(&self) -> Vec<PackId> {
        let stored = &self.inventory.packs;
        let mut packs: Vec<PackId> = stored.keys().copied().collect();
        match self.options.read_data {
            ReadData::None => packs.clear(),
            ReadData::All => {}
            ReadData::Percent(percent) => {
                sample(&mut packs, percent, &*self.repository.runtime().randomness);
            }
        }
        // what is known to be lost need not be lost any more, and the directory alone does not tell
        let known = self.packs.known_damage();
        let named = self.options.packs.iter().copied().chain(known.packs().iter());
        packs.extend(named.filter(|pack| stored.contains_key(pack)));
        packs.sort_unstable();
        packs.dedup();
        if packs.is_empty() {
            return packs;
        }
        let sizes = packs.iter().filter_map(|pack| self.inventory.packs.get(pack));
        let (files_total, bytes_total) = (packs.len() as u64, sizes.sum());
        self.monitor.advance(Progress { files_total, bytes_total, ..Progress::default() });
        packs
    }
}

/// Keeps a random share of `packs`, at least one, in order.
fn sample(packs: &mut Vec<PackId>, percent: f64, randomness: &dyn Randomness) {
    let wanted = (packs.len() as f64 * percent / 100.0).ceil().max(1.0) as usize;
    let mut draws = blake3::Hasher::new_keyed(&random(randomness)).finalize_xof();
    // the first `wanted` steps of a Fisher-Yates shuffle
    for place in 0..wanted.min(packs.len()) {
        let mut draw = [0; 8];
        draws.fill(&mut draw);
        let left = (packs.len() - place) as u64;
        packs.swap(place, place + (u64::from_le_bytes(draw) % left) as usize);
    }
    packs.truncate(wanted);
    packs.sort_unstable();
}

/// What is needed to check any pack.
#[derive(Clone)]
struct PackCheck {
    target: SharedTarget,
    reader: Arc<PackReader>,
    keys: KeyRing,
    monitor: Arc<dyn Monitor>,
    /// Decompressors with their buffers, used again for the next part.
    idle: Arc<Mutex<Vec<Decompressor>>>,
}

/// Segments that are fetched together; the first part begins with the header.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
    segments: std::ops::Range<u32>,
}

impl PackCheck {
    /// Checks a pack; one that is damaged and can be healed is checked anew.
    async fn check_healing(self, pack: PackId, expected: Option<ObjectHash>) -> Result<Outcome> {
        let outcome = self.clone().check(pack, expected).await?;
        if outcome.flaws.is_empty() || !heal(&*self.target, &layout::pack_key(pack)?).await {
            return Ok(outcome);
        }
        self.check(pack, expected).await
    }

    async fn check(self, pack: PackId, expected: Option<ObjectHash>) -> Result<Outcome> {
        let mut outcome = Outcome { pack, flaws: Vec::new(), is_whole: false };
        let directory = match directories::read(&self.reader, pack).await? {
            Ok(directory) => Arc::new(directory),
            Err(why) => {
                outcome.flaws.push((Extent::Whole, why));
                return Ok(outcome);
            }
        };
        let key = layout::pack_key(pack)?;
        let parts = parts_of(&directory);
        let mut hasher = blake3::Hasher::new();
        let mut next = match parts.first() {
            Some(part) => Some(self.fetch(&key, part).await),
            None => None,
        };
        for (number, part) in parts.iter().enumerate() {
            let Some(fetched) = next.take() else { break };
            let bytes = match fetched {
                Ok(bytes) => bytes,
                Err(error) => {
                    outcome.flaws.push((part.extent(), reason(error)?));
                    next = self.fetch_after(&key, &parts, number).await;
                    continue;
                }
            };
            let work = self.work(&directory, part, bytes, hasher);
            let (checked, following) =
                future::join(work, self.fetch_after(&key, &parts, number)).await;
            let flaws;
            (hasher, flaws) = checked?;
            outcome.flaws.extend(flaws);
            next = following;
        }
        outcome.is_whole = outcome.flaws.is_empty();
        let is_other = |expected: ObjectHash| *hasher.finalize().as_bytes() != expected;
        if outcome.is_whole && expected.is_some_and(is_other) {
            let why = "is not the object that was written: its BLAKE3 differs".to_owned();
            outcome.flaws.push((Extent::none(), why));
        }
        Ok(outcome)
    }

    /// Fetches the part after `number`, if there is one.
    async fn fetch_after(
        &self,
        key: &ObjectKey,
        parts: &[Part],
        number: usize,
    ) -> Option<Result<Bytes>> {
        match parts.get(number + 1) {
            Some(part) => Some(self.fetch(key, part).await),
            None => None,
        }
    }

    async fn fetch(&self, key: &ObjectKey, part: &Part) -> Result<Bytes> {
        if self.monitor.is_cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "the verification was interrupted"));
        }
        let bytes = self.reader.read(key, part.start, part.end - part.start).await?;
        let bytes_done = bytes.len() as u64;
        self.monitor.advance(Progress { bytes_done, ..Progress::default() });
        Ok(bytes)
    }

    /// Checks one part on a thread of its own.
    async fn work(
        &self,
        directory: &Arc<PackDirectory>,
        part: &Part,
        bytes: Bytes,
        hasher: blake3::Hasher,
    ) -> Result<(blake3::Hasher, Vec<Flaw>)> {
        let (directory, part) = (directory.clone(), part.clone());
        let (keys, idle) = (self.keys.clone(), self.idle.clone());
        tasks::spawn_blocking("verify", move || {
            let idle = || idle.lock().unwrap_or_else(PoisonError::into_inner);
            let reused = idle().pop();
            let decompressor = match reused {
                Some(decompressor) => decompressor,
                None => Decompressor::new()?,
            };
            let mut opened = OpenedPart { keys, directory, decompressor, hasher };
            let flaws = opened.check(&part, bytes);
            idle().push(opened.decompressor);
            Ok((opened.hasher, flaws))
        })
        .await
    }
}

impl Part {
    fn extent(&self) -> Extent {
        Extent::Segments(self.segments.clone().collect::<BTreeSet<u32>>())
    }
}

/// Cuts a pack into parts at the ends of segments.
fn parts_of(directory: &PackDirectory) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part { start: 0, end: 0, segments: 0..0 };
    for number in 0..directory.segments().len() as u32 {
        let Ok(range) = directory.segment_range(number) else { break };
        if !part.segments.is_empty() && range.end - part.start > PART_BYTES {
            let start = part.end;
            parts.push(part);
            part = Part { start, end: start, segments: number..number };
        }
        part.end = range.end;
        part.segments.end = number + 1;
    }
    parts.push(part);
    parts
}

/// A part being checked.
struct OpenedPart {
    keys: KeyRing,
    directory: Arc<PackDirectory>,
    decompressor: Decompressor,
    /// Over all bytes of the pack.
    hasher: blake3::Hasher,
}

impl OpenedPart {
    /// Everything that is wrong with the segments of `part`, of which `bytes` are what is there.
    fn check(&mut self, part: &Part, bytes: Bytes) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        // in place if nobody else holds the buffer
        let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let mut rest = &mut bytes[..];
        let mut position = part.start;
        for number in part.segments.clone() {
            // each segment is hashed and opened while it is in cache
            if let Err(error) = self.check_segment(&mut rest, &mut position, number) {
                let why = reason(error).unwrap_or_else(|error| error.to_string());
                flaws.push((Extent::segment(number), why));
            }
        }
        flaws
    }

    /// Takes segment `number` off the front of `rest`, which begins at `position` of the pack,
    /// with what lies before it (header and directory before the first one).
    fn check_segment(
        &mut self,
        rest: &mut &mut [u8],
        position: &mut u64,
        number: u32,
    ) -> Result<()> {
        let directory = &*self.directory;
        let damaged = |why: String| Error::damaged(pack_object_name(directory.pack().id), why);
        let range = directory.segment_range(number)?;
        let before = rest.split_off_mut(..(range.start - *position) as usize);
        let sealed = rest.split_off_mut(..(range.end - range.start) as usize);
        let (Some(before), Some(sealed)) = (before, sealed) else {
            return Err(damaged(format!("segment {number} is truncated")));
        };
        *position = range.end;
        self.hasher.update(before).update(sealed);
        let mut plain = directory.plain_segment(number, sealed, &mut self.decompressor)?;
        let row = directory.segments().get(number as usize);
        for (id, length) in row.map(|row| row.chunks.as_slice()).unwrap_or_default() {
            let chunk = plain.split_off(..*length as usize).unwrap_or_default();
            if self.keys.chunk_keys().chunk_id(chunk) != *id {
                let why = format!("segment {number}: chunk {id} is not what its id says");
                return Err(damaged(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::SessionId, runtime::SystemRandomness};

    #[test]
    fn a_sample_is_a_share_without_repeats_and_never_empty() {
        let all: Vec<PackId> =
            (0..1000).map(|counter| PackId { session: SessionId([1; 16]), counter }).collect();
        for (percent, expected) in [(0.001, 1), (1.0, 10), (12.34, 124), (99.99, 1000)] {
            let mut packs = all.clone();
            sample(&mut packs, percent, &SystemRandomness);
            assert_eq!(packs.len(), expected, "{percent} %");
            assert!(packs.windows(2).all(|pair| pair[0] < pair[1]));
        }
        let mut none = Vec::new();
        sample(&mut none, 50.0, &SystemRandomness);
        assert!(none.is_empty());
    }
}
