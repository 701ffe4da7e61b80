//! Repetition of one part of a call: a block, a page. Whole calls are repeated by a layer outside.

use std::time::Duration;

use strongroom_core::target::{TargetError, TargetResult};

/// How often a part is tried.
const TRIES_MAX: u32 = 7;

/// The wait before the second try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// The longest wait before a try.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The tries of one part of a call.
#[derive(Default)]
pub(crate) struct Tries {
    failed: u32,
}

impl Tries {
    /// Whether a try before this one failed, and may have been carried out all the same.
    pub(crate) fn any_failed(&self) -> bool {
        self.failed > 0
    }

    /// Waits until the next try is due, or gives the error that ends the call.
    pub(crate) async fn wait_after(&mut self, error: TargetError) -> TargetResult<()> {
        self.failed += 1;
        if !error.is_retryable() || self.failed >= TRIES_MAX {
            return Err(error);
        }
        let wait = WAIT_FIRST.saturating_mul(1 << (self.failed - 1).min(10));
        let wait = wait.max(error.wait_asked().unwrap_or_default()).min(WAIT_MAX);
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
