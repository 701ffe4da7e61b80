//! The simple door: encrypted streams of unknown length on any target, without a repository.
//!
//! One stream is one object, sealed frame by frame in constant memory. The object's key is bound
//! into its sealing, so an object that was swapped, renamed, truncated or extended is refused.
//! Knows nothing of chunks, packs, snapshots or passwords.

mod file;

pub use self::file::{get_sealed_file, put_sealed_file};

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, try_join},
    stream::{self, BoxStream},
};

use crate::{
    crypto::KeyRing,
    error::{Error, ErrorKind, Result},
    format::{
        object::{HEADER_BYTES, ObjectType},
        stream::{FRAME_PLAIN_BYTES, FRAME_SEALED_BYTES, StreamLayout, StreamOpener, StreamSealer},
    },
    runtime::{Randomness, SystemRandomness},
    target::{
        BackupTarget, ByteRange, ObjectKey, Operation, Payload, PutMode, SharedTarget, TargetError,
        TargetErrorKind, TargetResult,
    },
};

/// How much one request reads.
const READ_BYTES: u64 = 4 << 20;
/// How many frames one request for a range reads: about as much.
const READ_FRAMES: u64 = READ_BYTES / FRAME_PLAIN_BYTES as u64;
/// How much is sealed before it is handed to the target.
const WRITE_BYTES: usize = 1 << 20;

/// Plaintext in order, each piece given out only after it was authenticated.
pub type PlainStream = BoxStream<'static, Result<Bytes>>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A target whose objects are encrypted streams.
///
/// For objects outside a repository, make the keys with [`KeyRing::standalone`].
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use futures::{StreamExt, stream};
/// use strongroom_core::{
///     crypto::{KeyRing, MasterKey},
///     encrypted::EncryptedTarget,
///     error::Result,
///     target::{BackupTarget, ObjectKey, PutMode},
/// };
///
/// async fn there_and_back(target: impl BackupTarget, key_file: [u8; 32]) -> Result<()> {
///     let keys = KeyRing::standalone(MasterKey::from_bytes(key_file));
///     let door = EncryptedTarget::new(target, keys);
///     let key: ObjectKey = "letters/first".parse().expect("a valid key");
///
///     let pieces = ["dear ", "reader"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
///     door.put_stream(&key, stream::iter(pieces), PutMode::Create).await?;
///
///     let mut content = door.get_stream(&key).await?;
///     while let Some(piece) = content.next().await {
///         let authentic: Bytes = piece?;
///         assert_eq!(authentic, "dear reader");
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct EncryptedTarget {
    target: SharedTarget,
    keys: KeyRing,
    randomness: Arc<dyn Randomness>,
}

impl EncryptedTarget {
    /// Encrypts for `target` under `keys`; salts come from the operating system.
    pub fn new(target: impl BackupTarget, keys: KeyRing) -> Self {
        Self { target: Arc::new(target), keys, randomness: Arc::new(SystemRandomness) }
    }

    /// Takes salts from another source, as simulations do.
    #[must_use]
    pub fn with_randomness(mut self, randomness: Arc<dyn Randomness>) -> Self {
        self.randomness = randomness;
        self
    }

    /// The target that the encrypted objects lie on: for listing and deleting them.
    pub fn target(&self) -> &SharedTarget {
        &self.target
    }

    /// Stores everything that `plain` yields as the object `key`, whole or not at all, and
    /// returns its length. Memory does not grow with the length.
    ///
    /// # Errors
    /// `Io` if `plain` fails, with its error as the cause; else what the target says. The object
    /// is not written then.
    pub async fn put_stream<S, E>(&self, key: &ObjectKey, plain: S, mode: PutMode) -> Result<u64>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        let sealer = StreamSealer::new(
            &self.keys,
            ObjectType::Stream,
            key.as_str(),
            self.randomness.as_ref(),
        )?;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let sealing = Sealing {
            key: key.clone(),
            plain: Box::pin(plain),
            sealer: Some(sealer),
            pending: Bytes::new(),
            outcome: Arc::clone(&outcome),
        };
        let sealed = stream::try_unfold(sealing, Sealing::next).boxed();
        let put = self.target.put(key, Payload::Streamed(sealed), mode).await;
        let mut outcome = lock(&outcome);
        if let Some(failure) = outcome.failure.take() {
            return Err(failure);
        }
        put?;
        match outcome.is_finished {
            true => Ok(outcome.plain_bytes),
            false => Err(Error::internal("the target did not take the whole stream").on(key)),
        }
    }

    /// The content of the object `key`. The stream ends without an error only if the object is
    /// whole.
    ///
    /// # Errors
    /// `Damaged`, here or as the last item of the stream, if the object is not what was stored
    /// under this key; else what the target says.
    pub async fn get_stream(&self, key: &ObjectKey) -> Result<PlainStream> {
        let mut first = self.fetch(key, 0);
        let piece = (&mut first).await?;
        let opener = StreamOpener::new(&self.keys, ObjectType::Stream, key.as_str(), &piece)?;
        let opening = Opening {
            door: self.clone(),
            key: key.clone(),
            opener,
            skip_bytes: HEADER_BYTES,
            offset: 0,
            ahead: Ahead::Ready(Ok(piece)),
        };
        Ok(stream::try_unfold(Some(opening), Opening::next).boxed())
    }

    /// `length` bytes of the content of the object `key` from `offset` on, cut at its end. The
    /// result is held in memory.
    ///
    /// # Errors
    /// `Damaged` if the object is not what was stored under this key: what is returned was
    /// authenticated, and so was the end of the object if the range reaches it.
    pub async fn get_range(&self, key: &ObjectKey, offset: u64, length: u64) -> Result<Bytes> {
        let size_bytes = self.target.head(key).await?.size_bytes;
        let layout = StreamLayout::of_sealed(size_bytes)
            .ok_or_else(|| Error::damaged(key, "truncated in a header or tag"))?;
        let range = FrameRange::new(layout, offset, length);
        let header = self.get_exactly(key, 0, HEADER_BYTES as u64);
        let (header, mut sealed) =
            try_join(header, self.get_frames(key, &range, range.first)).await?;
        let opener = StreamOpener::new(&self.keys, ObjectType::Stream, key.as_str(), &header)?;
        let mut plain = Vec::new();
        let mut index = range.first;
        loop {
            for frame in sealed.chunks_mut(FRAME_SEALED_BYTES) {
                let opened = opener.open_frame(index, frame, index + 1 == layout.frames())?;
                plain.extend_from_slice(range.part_of(index, opened));
                index += 1;
            }
            if index > range.last {
                return Ok(plain.into());
            }
            sealed = self.get_frames(key, &range, index).await?;
        }
    }

    fn fetch(&self, key: &ObjectKey, offset: u64) -> BoxFuture<'static, TargetResult<Bytes>> {
        let (target, key) = (Arc::clone(&self.target), key.clone());
        let range = ByteRange::From { offset, length: READ_BYTES };
        async move { target.get(&key, range).await }.boxed()
    }

    /// The sealed frames from `first` on, as many as one request reads.
    async fn get_frames(&self, key: &ObjectKey, range: &FrameRange, first: u64) -> Result<Vec<u8>> {
        let end = range.sealed_end(first.saturating_add(READ_FRAMES));
        let start = StreamLayout::frame_offset(first);
        self.get_exactly(key, start, end - start).await.map(Vec::from)
    }

    async fn get_exactly(&self, key: &ObjectKey, offset: u64, length: u64) -> Result<Bytes> {
        let bytes = self.target.get(key, ByteRange::From { offset, length }).await?;
        if bytes.len() as u64 != length {
            return Err(Error::damaged(key, "the object changed its size while it was read"));
        }
        Ok(bytes)
    }
}

impl fmt::Debug for EncryptedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptedTarget({})", self.target)
    }
}

/// What became of a stream on its way to the target.
#[derive(Default)]
struct Outcome {
    plain_bytes: u64,
    is_finished: bool,
    failure: Option<Error>,
}

fn lock(outcome: &Mutex<Outcome>) -> MutexGuard<'_, Outcome> {
    outcome.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream that is being sealed while the target takes it.
struct Sealing<S> {
    key: ObjectKey,
    plain: Pin<Box<S>>,
    /// `None` once the last frame was sealed.
    sealer: Option<StreamSealer>,
    /// What was read and is not sealed yet.
    pending: Bytes,
    outcome: Arc<Mutex<Outcome>>,
}

impl<S, E> Sealing<S>
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<Cause>,
{
    /// The next sealed bytes, about [`WRITE_BYTES`] of them.
    async fn next(mut self) -> TargetResult<Option<(Bytes, Self)>> {
        let Some(mut sealer) = self.sealer.take() else {
            return Ok(None);
        };
        let mut sealed = Vec::with_capacity(WRITE_BYTES + FRAME_SEALED_BYTES);
        while sealed.len() < WRITE_BYTES {
            if self.pending.is_empty() {
                match self.plain.next().await {
                    Some(Ok(plain)) => self.pending = plain,
                    Some(Err(cause)) => {
                        let error = Error::new(ErrorKind::Io, "reading the content failed");
                        return Err(self.fail(error.because(cause)));
                    }
                    None => {
                        sealer.finish(&mut sealed).map_err(|error| self.fail(error))?;
                        lock(&self.outcome).is_finished = true;
                        return Ok(Some((sealed.into(), self)));
                    }
                }
            }
            let plain = self.pending.split_to(self.pending.len().min(WRITE_BYTES));
            sealer.push(&plain, &mut sealed).map_err(|error| self.fail(error))?;
            lock(&self.outcome).plain_bytes += plain.len() as u64;
        }
        self.sealer = Some(sealer);
        Ok(Some((sealed.into(), self)))
    }

    /// Keeps the error for the caller of `put_stream`, and gives one that the target understands.
    fn fail(&self, error: Error) -> TargetError {
        let message = error.to_string();
        lock(&self.outcome).failure = Some(error.on(&self.key));
        TargetError::new(TargetErrorKind::Invalid, Operation::Put, message).on(&self.key)
    }
}

/// The piece that follows the one at hand.
enum Ahead {
    Pending(BoxFuture<'static, TargetResult<Bytes>>),
    Ready(TargetResult<Bytes>),
}

/// A stream that is being opened while it is read, with one piece read ahead.
struct Opening {
    door: EncryptedTarget,
    key: ObjectKey,
    opener: StreamOpener,
    /// The header at the beginning of the first piece.
    skip_bytes: usize,
    /// Where the piece ahead begins.
    offset: u64,
    ahead: Ahead,
}

impl Opening {
    /// The plaintext of the next piece, and what is left to read: `None` at the end.
    async fn next(state: Option<Self>) -> Result<Option<(Bytes, Option<Self>)>> {
        let Some(mut opening) = state else {
            return Ok(None);
        };
        let piece = match opening.ahead {
            Ahead::Pending(request) => request.await?,
            Ahead::Ready(answer) => answer?,
        };
        let piece_bytes = piece.len() as u64;
        if piece_bytes > READ_BYTES {
            return Err(Error::damaged(&opening.key, "the target sent more than was asked for"));
        }
        let is_last = piece_bytes < READ_BYTES;
        opening.offset += piece_bytes;
        opening.ahead = match is_last {
            true => Ahead::Ready(Ok(Bytes::new())),
            false => start(opening.door.fetch(&opening.key, opening.offset)),
        };
        let mut plain = Vec::new();
        opening.opener.push(&piece[opening.skip_bytes..], &mut plain)?;
        opening.skip_bytes = 0;
        if is_last {
            opening.opener.finish(&mut plain)?;
            return Ok(Some((plain.into(), None)));
        }
        Ok(Some((plain.into(), Some(opening))))
    }
}

/// Sets a request off, so that it is under way while the piece before it is opened.
fn start(mut request: BoxFuture<'static, TargetResult<Bytes>>) -> Ahead {
    match (&mut request).now_or_never() {
        Some(answer) => Ahead::Ready(answer),
        None => Ahead::Pending(request),
    }
}

/// The frames that a range of the content touches.
struct FrameRange {
    layout: StreamLayout,
    start: u64,
    end: u64,
    first: u64,
    last: u64,
}

impl FrameRange {
    /// A range that reaches the end takes the last frame in: only that proves the end.
    fn new(layout: StreamLayout, offset: u64, length: u64) -> Self {
        let plain_bytes = layout.plain_bytes();
        let start = offset.min(plain_bytes);
        let end = offset.saturating_add(length).min(plain_bytes);
        let frame_bytes = FRAME_PLAIN_BYTES as u64;
        let last = match end == plain_bytes {
            true => layout.frames() - 1,
            false => start.max(end.saturating_sub(1)) / frame_bytes,
        };
        Self { layout, start, end, first: start / frame_bytes, last }
    }

    /// Where the sealed frames before `frame` end, or those of the range if that is earlier.
    fn sealed_end(&self, frame: u64) -> u64 {
        let after_last = frame.min(self.last + 1);
        StreamLayout::frame_offset(after_last).min(self.layout.sealed_bytes())
    }

    /// What the range wants of the plaintext of frame `index`.
    fn part_of<'a>(&self, index: u64, plain: &'a [u8]) -> &'a [u8] {
        let frame_start = index * FRAME_PLAIN_BYTES as u64;
        let within =
            |position: u64| position.saturating_sub(frame_start).min(plain.len() as u64) as usize;
        &plain[within(self.start)..within(self.end)]
    }
}

#[cfg(test)]
mod tests;
