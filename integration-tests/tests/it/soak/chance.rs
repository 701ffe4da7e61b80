//! Chance that is the same in every run of a seed.

use std::time::Duration;

/// A stream of chance.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of this actor.
    pub fn new(seed: u64, actor: &str) -> Self {
        let hash = blake3::hash(format!("{seed} {actor}").as_bytes());
        Self(hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// From 0 to `end`, that excluded.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ number >> 31) % end.max(1)
    }

    /// True in so many of a hundred cases.
    pub fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Between nothing and `longest`.
    pub fn wait(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as u64 + 1))
    }
}
