//! What the async side reads for a thread that waits for it: a bounded channel whose end is said,
//! so that a reader that was stopped is never taken for one that is done.

use tokio::sync::mpsc;

use super::source::Shared;
use crate::{
    error::{Error, ErrorKind, Result},
    tasks::Task,
};

/// The thread's end.
pub(super) struct Feed<T> {
    items: mpsc::Receiver<Result<Option<T>>>,
    is_over: bool,
    _task: Task<()>,
}

/// The async end.
pub(super) struct Feeder<T>(mpsc::Sender<Result<Option<T>>>);

impl<T: Send + 'static> Feed<T> {
    /// Runs `work`, at most `ahead` items ahead of the thread.
    pub(super) fn start<F>(
        shared: &Shared,
        name: &'static str,
        ahead: usize,
        work: impl FnOnce(Feeder<T>) -> F,
    ) -> Self
    where
        F: Future<Output = Feeder<T>> + Send + 'static,
    {
        let (sender, items) = mpsc::channel(ahead);
        let work = work(Feeder(sender));
        let task = shared.start(name, async move {
            let Feeder(sender) = work.await;
            // nobody listens if the reader has enough
            let _ = sender.send(Ok(None)).await;
        });
        Self { items, is_over: false, _task: task }
    }

    /// The next item; `None` at the end. Waits: not for async threads.
    ///
    /// # Errors
    /// What was sent, or `Interrupted` if the end was not reached.
    pub(super) fn next(&mut self) -> Result<Option<T>> {
        if self.is_over {
            return Ok(None);
        }
        match self.items.blocking_recv() {
            Some(Ok(Some(item))) => Ok(Some(item)),
            Some(Ok(None)) => {
                self.is_over = true;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::new(ErrorKind::Interrupted, "the copy was interrupted")),
        }
    }
}

impl<T> Feeder<T> {
    /// Sends an item; false if nobody wants more, or it was an error: the end either way.
    pub(super) async fn send(&self, item: Result<T>) -> bool {
        let is_error = item.is_err();
        self.0.send(item.map(Some)).await.is_ok() && !is_error
    }
}
