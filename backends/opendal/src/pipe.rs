//! A pipe from an upload to the body of the one request that carries it. Its end must be said: a
//! pipe that is dropped breaks the body off, so that half an object never looks like a whole one.
//!
//! Knows nothing of what is in the body, nor of the request.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// How many pieces may wait for the request. Each is small.
const PIECES_WAITING: usize = 1;

#[derive(Debug)]
enum Step {
    Piece(Bytes),
    End,
}

/// Both ends of a new pipe for `length` bytes, if that is known.
pub(crate) fn pipe(length: Option<u64>) -> (Feed, Body) {
    let (sender, receiver) = channel(PIECES_WAITING);
    (Feed(sender), Body { receiver: Arc::new(Mutex::new(Some(receiver))), length })
}

/// The request has ended, and takes nothing any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed;

/// Where the bytes go in.
#[derive(Debug)]
pub(crate) struct Feed(Sender<Step>);

impl Feed {
    /// Hands on a piece as soon as there is room for it.
    pub(crate) async fn piece(&self, piece: Bytes) -> Result<(), Closed> {
        self.0.send(Step::Piece(piece)).await.map_err(|_| Closed)
    }

    /// Says that this was all.
    pub(crate) async fn end(&self) -> Result<(), Closed> {
        self.0.send(Step::End).await.map_err(|_| Closed)
    }
}

/// Where they come out, for one request only.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    receiver: Arc<Mutex<Option<Receiver<Step>>>>,
    length: Option<u64>,
}

impl Body {
    /// How long it will be, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The body; `None` if a request has had it already.
    pub(crate) fn take(&self) -> Option<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(stream::try_unfold(receiver, |mut receiver| async {
            match receiver.recv().await {
                Some(Step::Piece(piece)) => Ok(Some((piece, receiver))),
                Some(Step::End) => Ok(None),
                None => Err(io::Error::other("the upload was given up")),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    #[tokio::test]
    async fn only_an_end_that_is_said_is_an_end() {
        for is_said in [true, false] {
            let (feed, body) = pipe(None);
            let mut taken = Box::pin(body.take().unwrap());
            assert!(body.take().is_none(), "a body is sent once");
            feed.piece(Bytes::from_static(b"half")).await.unwrap();
            assert_eq!(taken.try_next().await.unwrap().unwrap(), "half");
            if is_said {
                feed.end().await.unwrap();
            } else {
                drop(feed);
            }
            assert_eq!(taken.try_next().await.is_ok_and(|next| next.is_none()), is_said);
        }
    }

    #[tokio::test]
    async fn a_request_that_ended_takes_nothing() {
        let (feed, body) = pipe(None);
        drop(body.take());
        feed.piece(Bytes::from_static(b"late")).await.unwrap_err();
        feed.end().await.unwrap_err();
    }
}
