//! Threads and tasks of the engine: named, and a panic comes back as an error.
//!
//! The only file that spawns.

use std::{any::Any, future::Future, thread};

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

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Error::internal(format!("thread {name} panicked")).because(text)
}
