//! `put`: in one request where the content fits, else in parts.
//!
//! No store creates by parts: `object_store` has no mode for a multipart upload. A long stream
//! that must not overwrite anything is therefore stored under a name that no key has and then
//! copied to its own, which the store does only if there is nothing.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt, TryFutureExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode as StorePutMode, PutOptions, PutPayload,
    path::Path,
};
use strongroom_core::target::{
    ObjectKey, Operation, Payload, PayloadStream, PutMode, TargetError, TargetErrorKind,
    TargetResult,
};

use crate::{config::ObjectStoreConfig, error::failed, names::Base};

/// How many parts are on their way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// What a put needs to know.
pub(crate) struct Upload<'a> {
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) config: &'a ObjectStoreConfig,
    pub(crate) base: &'a Base,
}

impl Upload<'_> {
    /// Stores `payload` under `key`.
    pub(crate) async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        mode: PutMode,
    ) -> TargetResult<()> {
        let path = self.base.path(key)?;
        let mut stream = match payload {
            Payload::Buffered(parts) => return self.put_single(&path, parts, mode).await,
            Payload::Streamed(stream) => stream,
        };
        let (first, next) = gather(&mut stream, Bytes::new(), self.config.part_bytes).await?;
        if next.is_empty() {
            return self.put_single(&path, first, mode).await;
        }
        let begun = Begun { first, next, stream };
        match mode {
            PutMode::Replace => self.put_parts(&path, begun).await,
            PutMode::Create => self.create_parts(&path, begun).await,
        }
    }

    async fn put_single(&self, path: &Path, parts: Vec<Bytes>, mode: PutMode) -> TargetResult<()> {
        let mode = match mode {
            PutMode::Create => StorePutMode::Create,
            PutMode::Replace => StorePutMode::Overwrite,
        };
        let options = PutOptions { mode, ..Default::default() };
        let payload = PutPayload::from_iter(parts);
        match self.store.put_opts(path, payload, options).await {
            Ok(_) => Ok(()),
            Err(error) => Err(put_failed(error)),
        }
    }

    async fn create_parts(&self, path: &Path, begun: Begun) -> TargetResult<()> {
        if !self.config.atomic_copy {
            let why = format!(
                "a stream longer than {} bytes cannot be created safely here: this store has \
                 neither a create by parts nor an atomic copy",
                self.config.part_bytes
            );
            return Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Put, why));
        }
        let temporary = self.base.temporary(&random_name()?)?;
        let mut result = self.put_parts(&temporary, begun).await;
        if result.is_ok() {
            let copied = self.store.copy_if_not_exists(&temporary, path).await;
            result = copied.map_err(put_failed);
        }
        // Whatever became of it; a leftover is no key and harms nobody.
        let _ = self.store.delete(&temporary).await;
        result
    }

    async fn put_parts(&self, path: &Path, begun: Begun) -> TargetResult<()> {
        let begin = self.store.put_multipart_opts(path, self.config.multipart.clone()).await;
        let mut upload = begin.map_err(put_failed)?;
        let sent = self.send_parts(&mut *upload, begun).await;
        let result = match sent {
            Ok(()) => upload.complete().await.map(|_| ()).map_err(put_failed),
            Err(error) => Err(error),
        };
        if result.is_err() {
            // What could not be taken back is not visible, and the store's rules remove it.
            let _ = upload.abort().await;
        }
        result
    }

    /// The source is read and parts are sent at the same time, whichever is slower.
    async fn send_parts(&self, upload: &mut dyn MultipartUpload, begun: Begun) -> TargetResult<()> {
        parts_of(begun, self.config.part_bytes)
            .map_ok(|part| upload.put_part(PutPayload::from_iter(part)).map_err(put_failed))
            .try_buffer_unordered(PARTS_IN_FLIGHT)
            .try_collect()
            .await
    }
}

fn put_failed(error: object_store::Error) -> TargetError {
    failed(Operation::Put, error)
}

fn parts_of(begun: Begun, part_bytes: usize) -> BoxStream<'static, TargetResult<Vec<Bytes>>> {
    stream::try_unfold(begun, move |begun| async move {
        let Begun { first, next, mut stream } = begun;
        let (part, next) = match first.is_empty() {
            false => (first, next),
            true => gather(&mut stream, next, part_bytes).await?,
        };
        let begun = Begun { first: Vec::new(), next, stream };
        Ok((!part.is_empty()).then_some((part, begun)))
    })
    .boxed()
}

/// One part that begins with `rest`, and what is left of the last buffer: never nothing unless
/// the stream has ended.
async fn gather(
    stream: &mut PayloadStream,
    rest: Bytes,
    part_bytes: usize,
) -> TargetResult<(Vec<Bytes>, Bytes)> {
    let mut room = part_bytes;
    let mut part = Vec::new();
    let mut buffers = stream::iter((!rest.is_empty()).then_some(Ok(rest))).chain(stream);
    while let Some(buffer) = buffers.next().await {
        let mut buffer = buffer?;
        if buffer.len() > room {
            let taken = buffer.split_to(room);
            part.extend((!taken.is_empty()).then_some(taken));
            return Ok((part, buffer));
        }
        room -= buffer.len();
        part.extend((!buffer.is_empty()).then_some(buffer));
    }
    Ok((part, Bytes::new()))
}

/// A stream that is longer than one part: that part, the beginning of the next one, the rest.
struct Begun {
    first: Vec<Bytes>,
    next: Bytes,
    stream: PayloadStream,
}

fn random_name() -> TargetResult<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "no random numbers")
            .because(std::io::Error::from(error))
    })?;
    Ok(hex::encode(bytes))
}
