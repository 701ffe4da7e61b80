//! Threads and tasks of the engine: named, and a panic comes back as an error. Work that runs
//! apart from whoever waits for it has no name, and its panic goes on where it is waited for.
//!
//! The only file that spawns.

use std::{
    any::Any,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use crate::error::{Error, Result};

/// A running thread with a result.
#[derive(Debug)]
pub struct Thread<T> {
    name: &'static str,
    handle: thread::JoinHandle<Result<T>>,
}

impl<T> Thread<T> {
    /// Waits for the end of the thread.
    ///
    /// # Errors
    /// What the thread returned, or `Internal` if it panicked.
    pub fn join(self) -> Result<T> {
        self.handle.join().unwrap_or_else(|panic| Err(panicked(self.name, &*panic)))
    }
}

/// Starts a thread named `name`.
///
/// # Errors
/// `Internal` if the system gives no thread.
pub fn spawn_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Thread<T>> {
    let handle = thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::internal(format!("cannot start thread {name}")).because(error))?;
    Ok(Thread { name, handle })
}

/// Runs blocking `work` off the async threads and waits for it.
///
/// # Errors
/// What `work` returned, or `Internal` if it panicked.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub async fn spawn_blocking<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("{name} stopped")).because(error)),
    }
}

/// A task on the async runtime; aborted when this is dropped.
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: tokio::task::JoinHandle<Result<T>>,
}

impl<T> Task<T> {
    /// Waits for the end of the task.
    ///
    /// # Errors
    /// What the task returned, or `Internal` if it panicked.
    pub async fn join(mut self) -> Result<T> {
        match (&mut self.handle).await {
            Ok(result) => result,
            Err(error) => Err(Error::internal(format!("{} stopped", self.name)).because(error)),
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Starts a task named `name`.
#[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Task<T> {
    Task { name, handle: tokio::spawn(work) }
}

/// Runs `work` as a task of its own, unless it is done at once, and waits for it: it goes on while
/// whoever waits looks after something else. Dropped, it is aborted.
pub async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    Apart::begin(work).await
}

/// Runs up to `at_once` of `works` at the same time, as tasks of their own, and gives their
/// results in order.
///
/// They go on while whoever takes the results waits for something else. Those of
/// [`StreamExt::buffered`] stand still then, and with them what they hold: one of the calls that
/// a target takes at once, or the one reading that others of the same thing wait for. If that is
/// what the taker waits for, it waits for ever.
pub fn ahead<'a, W>(
    works: impl Stream<Item = W> + Send + 'a,
    at_once: usize,
) -> BoxStream<'a, W::Output>
where
    W: Future<Output: Send> + Send + 'static,
{
    let begun = works.map(Apart::begin);
    #[expect(clippy::disallowed_methods, reason = "tasks do not stand still")]
    begun.buffered(at_once).boxed()
}

/// Runs up to `at_once` of `works` at the same time; `take` gets their results in order. It
/// cannot wait for anything: nothing stands still meanwhile, as is told at [`ahead`].
///
/// # Errors
/// The first one of `take`; what was begun is dropped.
pub fn each<'a, W, E>(
    works: impl IntoIterator<Item = W, IntoIter: Send + 'a>,
    at_once: usize,
    mut take: impl FnMut(W::Output) -> std::result::Result<(), E> + Send + 'a,
) -> BoxFuture<'a, std::result::Result<(), E>>
where
    W: Future<Output: Send> + Send + 'a,
    E: Send + 'a,
{
    let works = stream::iter(works);
    let each = async move {
        #[expect(clippy::disallowed_methods, reason = "nothing is awaited but the results")]
        let mut results = works.buffered(at_once);
        while let Some(result) = results.next().await {
            take(result)?;
        }
        Ok(())
    };
    each.boxed()
}

/// Work that goes on by itself; aborted when this is dropped.
enum Apart<T> {
    /// It was done at once, as is what lies in memory already: a task would cost more.
    Done(Option<T>),
    /// A task of its own.
    Running(tokio::task::JoinHandle<T>),
}

impl<T: Send + 'static> Apart<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut work = Box::pin(work);
        match work.as_mut().now_or_never() {
            Some(result) => Self::Done(Some(result)),
            // the task asks again, so that nothing is missed that nobody was woken for
            None => Self::Running(tokio::spawn(work)),
        }
    }
}

impl<T> Unpin for Apart<T> {}

impl<T> Future for Apart<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let task = match &mut *self {
            Self::Done(result) => return result.take().map_or(Poll::Pending, Poll::Ready),
            Self::Running(task) => task,
        };
        match ready!(Pin::new(task).poll(context)) {
            Ok(result) => Poll::Ready(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // the runtime ends, and whoever waits ends with it
                Err(_) => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        if let Self::Running(task) = self {
            task.abort();
        }
    }
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::internal(format!("thread {name} panicked")).because(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    /// Takes the only turn, lets others go first, and gives it back.
    async fn take_turn(turns: Arc<Semaphore>, number: u32) -> u32 {
        let _turn = turns.acquire().await.unwrap();
        tokio::task::yield_now().await;
        number
    }

    #[tokio::test]
    async fn what_was_begun_goes_on_while_its_reader_waits() {
        let turns = Arc::new(Semaphore::new(1));
        let works = stream::iter(0..20).map(|number| take_turn(turns.clone(), number));
        let mut results = ahead(works, 4);
        let mut expected = 0;
        while let Some(number) = results.next().await {
            assert_eq!(number, expected);
            expected += 1;
            take_turn(turns.clone(), 0).await;
        }
        assert_eq!(expected, 20);
    }

    #[tokio::test]
    async fn results_are_taken_in_order_until_one_is_refused() {
        let works = (0..20u32).map(|number| async move {
            for _ in number..20 {
                tokio::task::yield_now().await;
            }
            number
        });
        let mut taken = Vec::new();
        let refused = each(works, 8, |number| match number {
            12 => Err(number),
            number => {
                taken.push(number);
                Ok(())
            }
        });
        assert_eq!(refused.await, Err(12));
        assert_eq!(taken, (0..12).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_panic_reaches_whoever_waits() {
        let work = async {
            tokio::task::yield_now().await;
            panic!("as told");
        };
        let caught = std::panic::AssertUnwindSafe(apart::<()>(work)).catch_unwind().await;
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"as told"));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_given_up() {
        let (held, given_up) = oneshot::channel::<()>();
        let endless = apart(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(endless.now_or_never().is_none());
        assert!(given_up.await.is_err());
    }
}
