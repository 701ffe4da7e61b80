//! How long to wait for a storage before it counts as stalled. Knows nothing of what is sent.

use std::time::Duration;

use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::{is_void, mapped};

/// A small request that takes longer has stalled. Connecting (10 s) is a part of it.
const CALL_TIME_MAX: Duration = Duration::from_secs(45);

/// How long tidying up after a failure may keep the failure back.
const TIDY_TIME_MAX: Duration = Duration::from_secs(3);

/// A transfer is looked at in windows of this length ...
const WINDOW: Duration = Duration::from_secs(45);

/// ... each of which must bring at least this much, or the end.
const WINDOW_BYTES_MIN: u64 = 64 << 10;

/// The slowest upload in one piece that is not a stall, in bytes a second.
const UPLOAD_RATE_MIN: u64 = 32 << 10;

type Answer<T> = opendal::Result<T>;

/// The answer to a small request, or that it stalled.
pub(crate) async fn call<T>(
    operation: Operation,
    request: impl Future<Output = Answer<T>>,
) -> TargetResult<T> {
    limited(operation, CALL_TIME_MAX, request).await
}

/// The answer to a request that carries `bytes` to the storage, or that it stalled.
pub(crate) async fn upload<T>(
    bytes: u64,
    request: impl Future<Output = Answer<T>>,
) -> TargetResult<T> {
    let sending = Duration::from_secs(bytes / UPLOAD_RATE_MIN);
    limited(Operation::Put, CALL_TIME_MAX + sending, request).await
}

/// The slowest that a server copies an upload before it answers, in bytes a second.
const COPY_RATE_MIN: u64 = 32 << 20;

/// The answer to a request whose body of `bytes` is on its way already, or that it stalled.
/// Servers and proxies that copy what they got once more may take longer for much.
pub(crate) async fn answer<T>(
    bytes: u64,
    request: impl Future<Output = Answer<T>>,
) -> TargetResult<T> {
    let copying = Duration::from_secs(bytes / COPY_RATE_MIN);
    limited(Operation::Put, CALL_TIME_MAX + copying, request).await
}

async fn limited<T>(
    operation: Operation,
    time_max: Duration,
    request: impl Future<Output = Answer<T>>,
) -> TargetResult<T> {
    match timeout(time_max, request).await {
        Ok(answer) => answer.map_err(|error| mapped(operation, error)),
        Err(_) => Err(stalled(operation)),
    }
}

const STALLED: &str = "the storage stalled: no progress worth the name in 45 s";

fn stalled(operation: Operation) -> TargetError {
    TargetError::new(TargetErrorKind::Unavailable, operation, STALLED)
}

/// True if asking anything more of the storage would only make waiting longer.
pub(crate) fn is_stall(error: &TargetError) -> bool {
    error.to_string().contains(STALLED)
}

/// Tries to tidy up after a failure, for a moment: the storage may be what failed.
pub(crate) async fn tidy(what: &str, request: impl Future<Output = Answer<()>>) {
    match timeout(TIDY_TIME_MAX, request).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, what, "could not tidy up"),
        Err(_) => tracing::debug!(what, "no time to tidy up"),
    }
}

/// Asks again after answers that say nothing of the question: ones that were meant for another
/// (FTP), or that were cut short because something else changed meanwhile (WebDAV listings).
#[derive(Debug, Default)]
pub(crate) struct Again {
    tries: u32,
}

impl Again {
    /// True if `outcome` is such an answer and another try is due; waits a moment before.
    pub(crate) async fn after<T>(&mut self, outcome: &TargetResult<T>) -> bool {
        const TRIES_MAX: u32 = 9;
        const WAIT_FIRST: Duration = Duration::from_millis(4);
        let says_nothing = outcome.as_ref().is_err_and(is_void);
        if !says_nothing || self.tries == TRIES_MAX {
            return false;
        }
        tokio::time::sleep(WAIT_FIRST * 2_u32.pow(self.tries)).await;
        self.tries += 1;
        true
    }
}

/// Watches over a download: nothing for long, or next to nothing, is a stall.
#[derive(Debug)]
pub(crate) struct Watch {
    window_ends: Instant,
    bytes: u64,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        Self { window_ends: Instant::now() + WINDOW, bytes: 0 }
    }

    /// The next step of a download, which `size` measures.
    pub(crate) async fn step<T>(
        &mut self,
        request: impl Future<Output = Answer<T>>,
        size: impl Fn(&T) -> u64,
    ) -> TargetResult<T> {
        if Instant::now() >= self.window_ends {
            if self.bytes < WINDOW_BYTES_MIN {
                return Err(stalled(Operation::Get));
            }
            *self = Self::begin();
        }
        // One step may take the rest of this window and a little more, never for ever.
        let deadline = self.window_ends + Duration::from_secs(5);
        match timeout_at(deadline, request).await {
            Ok(Ok(step)) => {
                self.bytes += size(&step);
                Ok(step)
            }
            Ok(Err(error)) => Err(mapped(Operation::Get, error)),
            Err(_) => Err(stalled(Operation::Get)),
        }
    }
}

/// Watches over an upload piece by piece. Only the time counts in which the storage is waited
/// for: where the pieces come from may take its time.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    waited: Duration,
    bytes: u64,
}

impl Sending {
    /// The next step of an upload, which hands on `bytes`.
    pub(crate) async fn step<T>(
        &mut self,
        bytes: u64,
        step: impl Future<Output = T>,
    ) -> TargetResult<T> {
        let began = Instant::now();
        let done = timeout(WINDOW.saturating_sub(self.waited), step).await;
        let Ok(done) = done else { return Err(stalled(Operation::Put)) };
        self.waited += began.elapsed();
        self.bytes += bytes;
        if self.bytes >= WINDOW_BYTES_MIN {
            *self = Self::default();
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_trickle_are_stalls() {
        let began = Instant::now();
        let silent = call(Operation::Head, std::future::pending::<Answer<()>>()).await;
        assert!(silent.unwrap_err().is_retryable());
        assert!(began.elapsed() < Duration::from_secs(60));

        let (began, mut watch) = (Instant::now(), Watch::begin());
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(1)
        };
        let error = loop {
            match watch.step(slow(), |bytes| *bytes).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), TargetErrorKind::Unavailable);
        assert!(began.elapsed() < Duration::from_secs(60));

        let mut watch = Watch::begin();
        for _ in 0..200 {
            let fast = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(1 << 20)
            };
            watch.step(fast, |bytes| *bytes).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_storage_makes_an_upload_stall() {
        let second = || tokio::time::sleep(Duration::from_secs(1));
        let (began, mut sending) = (Instant::now(), Sending::default());
        let error = loop {
            match sending.step(1, second()).await {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(error.is_retryable() && is_stall(&error), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));

        let mut sending = Sending::default();
        for _ in 0..200 {
            // A source that takes a minute for each byte.
            tokio::time::sleep(Duration::from_secs(60)).await;
            sending.step(1, std::future::ready(())).await.unwrap();
        }
        for _ in 0..200 {
            sending.step(WINDOW_BYTES_MIN, second()).await.unwrap();
        }
    }
}
