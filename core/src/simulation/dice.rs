//! Everything that happens by chance in a simulation, and its clocks: decided by the seed alone.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::runtime::{Clock, Randomness, Timestamp};

/// A stream of chance.
#[derive(Debug)]
pub(super) struct Dice(Mutex<u64>);

impl Dice {
    /// The stream of these numbers.
    pub(super) fn new(parts: &[u64]) -> Self {
        Self(Mutex::new(parts.iter().fold(0, |state, part| scrambled(state ^ part))))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scrambled(*state)
    }

    /// From 0 to `end`, that excluded.
    pub(super) fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in so many of a thousand cases.
    pub(super) fn happens(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// Between nothing and `longest`.
    pub(super) fn wait(&self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as u64 + 1))
    }
}

/// A mixing step: every bit of the result depends on every bit of `number`.
fn scrambled(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Bytes for keys and salts of one process, the same in every run of a seed.
#[derive(Debug)]
pub(super) struct SeededRandomness {
    key: [u8; 32],
    calls: AtomicU64,
}

impl SeededRandomness {
    pub(super) fn new(parts: &[u64]) -> Self {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        let key = blake3::derive_key("strongroom simulation randomness", &bytes);
        Self { key, calls: AtomicU64::new(0) }
    }
}

impl Randomness for SeededRandomness {
    fn fill(&self, out: &mut [u8]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&call.to_le_bytes()).finalize_xof().fill(out);
    }
}

/// Lanes of time: see [`in_lane`].
const LANES: u64 = 16;

/// The first moment of `lane` that is at least `duration` away.
///
/// Things of different actors never happen in the same millisecond, so that nothing depends on
/// the order in which a runtime wakes tasks up.
pub(super) async fn in_lane(start: Instant, lane: u64, duration: Duration) {
    let at = (Instant::now() + duration - start).as_micros().div_ceil(1000) as u64;
    let rest = (lane + LANES - at % LANES) % LANES;
    tokio::time::sleep_until(start + Duration::from_millis(at + rest)).await;
}

/// How often a wall clock may jump.
const JUMP_EVERY: Duration = Duration::from_secs(3600);
/// How far a wall clock may be off.
const OFF_MAX: Duration = Duration::from_secs(400 * 24 * 3600);

/// The clocks of one actor: the monotonic one is right, the wall clock jumps.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    pub(super) start: Instant,
    pub(super) lane: u64,
    pub(super) seed: u64,
}

#[async_trait]
impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.monotonic();
        let era = elapsed.as_secs() / JUMP_EVERY.as_secs();
        let dice = Dice::new(&[self.seed, self.lane, era]);
        let off = if dice.happens(300) { dice.wait(OFF_MAX) } else { Duration::ZERO };
        let nanoseconds = elapsed.as_nanos() as i64 - off.as_nanos() as i64;
        Timestamp(1_700_000_000_000_000_000 + nanoseconds)
    }

    fn monotonic(&self) -> Duration {
        Instant::now() - self.start
    }

    async fn sleep(&self, duration: Duration) {
        in_lane(self.start, self.lane, duration).await;
    }
}
