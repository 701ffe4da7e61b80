//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use std::future::Future;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::{
    error::{Failure, Result},
    exit::Exit,
    output::Console,
};

/// Whether the user asked to stop; cheap to clone.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Watches for signals from now on. Must be called inside of the runtime.
    pub fn watch(console: Console) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::new(Exit::Failed, error.to_string()).doing("cannot watch for signals")
        };
        let mut ctrl_c = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            for count in 0u32.. {
                tokio::select! {
                    _ = ctrl_c.recv() => {}
                    _ = terminate.recv() => {}
                }
                if count > 0 {
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
                console.warn("stopping cleanly; interrupt again to stop at once");
                // Without receivers nothing is running that could be stopped.
                let _ = sender.send(true);
            }
        });
        Ok(Self(receiver))
    }

    /// True once the user asked to stop.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs `work` until it is done or the user asks to stop: for work that only reads and may
    /// be dropped at any point.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut receiver = self.0.clone();
        tokio::select! {
            result = work => result,
            _ = receiver.wait_for(|is_set| *is_set) => Err(Failure::interrupted()),
        }
    }
}
