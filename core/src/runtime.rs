//! Time and randomness as values, so that tests and simulations own both.
//!
//! The only file of the engine that reads the system's clocks and random source.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

/// A point of wall-clock time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds ignored.
///
/// Covers the years 1677 to 2262. Used for display and for fencing, never for safety.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since the epoch (rounded down) and the nanoseconds beyond them.
    pub fn parts(self) -> (i64, u32) {
        (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000) as u32)
    }
}

/// Where the engine takes time from.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits for `duration` of this clock.
    async fn sleep(&self, duration: Duration);
}

/// Where the engine takes random bytes from.
pub trait Randomness: fmt::Debug + Send + Sync {
    /// Fills `out` with bytes fit for keys and salts.
    ///
    /// # Panics
    /// When the system has no randomness to give: continuing would write under guessable keys.
    fn fill(&self, out: &mut [u8]);
}

/// `N` random bytes.
pub fn random<const N: usize>(randomness: &dyn Randomness) -> [u8; N] {
    let mut bytes = [0; N];
    randomness.fill(&mut bytes);
    bytes
}

/// Clock and randomness together, as handed to every operation.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub randomness: Arc<dyn Randomness>,
}

impl Runtime {
    /// The system's clock and randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), randomness: Arc::new(SystemRandomness) }
    }
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let nanoseconds = match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Timestamp(nanoseconds)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The operating system's random source.
#[derive(Debug)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    #[expect(clippy::expect_used, reason = "documented: no randomness, no keys")]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives no random bytes");
    }
}
