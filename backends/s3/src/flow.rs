//! Whether a request gets on, and how often a part of a call is tried.
//!
//! Knows nothing of S3. A call is given up when too little moves for too long; the limit is on
//! progress and not on time, because nobody knows how slow an honest line is.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Silence longer than this ends a request.
const QUIET_MAX: Duration = Duration::from_secs(50);

/// Less than this in [`QUIET_MAX`] counts as silence.
const PROGRESS_BYTES: u64 = 16 << 10;

const LOOK_EVERY: Duration = Duration::from_secs(5);

const TRIES_MAX: u32 = 8;
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(8);

/// A storage that asks for more than this gets its wait from the layer outside.
const WAIT_ASKED_MAX: Duration = Duration::from_secs(60);

/// How many bytes a request has moved so far, in either direction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// `bytes` were moved.
    pub(crate) fn moved(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The other side shows that it is at work, however few bytes it sends.
    pub(crate) fn alive(&self) {
        self.0.fetch_add(PROGRESS_BYTES, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Nothing moved for too long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stalled;

/// Runs `request` for as long as `progress` grows.
pub(crate) async fn guarded<T>(
    progress: &Progress,
    request: impl Future<Output = T>,
) -> Result<T, Stalled> {
    let mut request = pin!(request);
    let (mut seen, mut since) = (progress.bytes(), Instant::now());
    loop {
        if let Ok(output) = tokio::time::timeout(LOOK_EVERY, &mut request).await {
            return Ok(output);
        }
        let bytes = progress.bytes();
        if bytes.saturating_sub(seen) >= PROGRESS_BYTES {
            (seen, since) = (bytes, Instant::now());
        } else if since.elapsed() >= QUIET_MAX {
            return Err(Stalled);
        }
    }
}

/// The tries of one part of a call: exponential back-off with jitter, bounded.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    failed: u32,
}

impl Tries {
    /// Waits before the next try; false if there is none. `asked` is what the storage asks for.
    pub(crate) async fn wait(&mut self, asked: Option<Duration>) -> bool {
        self.failed += 1;
        let asked = asked.unwrap_or_default();
        if self.failed >= TRIES_MAX || asked > WAIT_ASKED_MAX {
            return false;
        }
        let bound = WAIT_FIRST.saturating_mul(1 << (self.failed - 1)).min(WAIT_MAX);
        tokio::time::sleep(jittered(bound).max(asked)).await;
        true
    }
}

/// Between half of `bound` and all of it, so that parts that failed together come back apart.
fn jittered(bound: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness waits are merely not spread.
    let _ = getrandom::fill(&mut random);
    bound / 2 + bound * u32::from(random[0]) / 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_trickle_end_a_request_and_a_slow_line_does_not() {
        let start = Instant::now();
        let silent = guarded(&Progress::default(), std::future::pending::<()>()).await;
        assert!(silent.is_err());
        assert!(start.elapsed() <= Duration::from_secs(60));

        let start = Instant::now();
        let progress = Progress::default();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                progress.moved(1);
            }
        };
        assert!(guarded::<()>(&progress, trickle).await.is_err());
        assert!(start.elapsed() <= Duration::from_secs(60));

        let progress = Progress::default();
        let slow = async {
            for _ in 0..600 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                progress.moved(2000);
            }
        };
        assert!(guarded(&progress, slow).await.is_ok());

        let progress = Progress::default();
        let working = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                progress.alive();
            }
        };
        assert!(guarded(&progress, working).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn tries_are_bounded_and_keep_the_wait_that_was_asked_for() {
        let (start, mut tries, mut count) = (Instant::now(), Tries::default(), 1);
        while tries.wait(None).await {
            count += 1;
        }
        assert_eq!(count, TRIES_MAX);
        assert!(start.elapsed() >= Duration::from_secs(10), "outlives the restart of a server");
        let start = Instant::now();
        assert!(Tries::default().wait(Some(Duration::from_secs(7))).await);
        assert!(start.elapsed() >= Duration::from_secs(7));
        assert!(!Tries::default().wait(Some(Duration::from_secs(3600))).await);
    }
}
