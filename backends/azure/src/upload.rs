//! `put`: in one request where the content is small and known, else in blocks that become
//! visible together.
//!
//! A put that fails leaves nothing visible: blocks that are never committed belong to no blob,
//! are not listed, and the service removes them after a week.

use std::num::NonZero;

use azure_core::{
    Error,
    http::{ClientMethodOptions, Context, Etag, RequestContent, XmlFormat},
    time::OffsetDateTime,
};
use azure_storage_blob::{
    BlobClient, BlockBlobClient,
    models::{
        BlockBlobClientCommitBlockListOptions, BlockBlobClientStageBlockOptions,
        BlockBlobClientUploadOptions, BlockListType, BlockLookupList,
    },
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use strongroom_core::target::{
    ObjectKey, Operation, Payload, PutMode, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    body::{blocks_of, body_of, length_of, md5_of, sum_text},
    client::{Client, ContentMd5},
    error::{code, is_missing, is_taken, status},
    tries::Tries,
};

/// Up to here a known content goes out in one request.
const SINGLE_BYTES_MAX: u64 = 16 << 20;

/// The size of the first blocks.
const BLOCK_BYTES: u64 = 8 << 20;

/// So many blocks of a stream have the same size; the next ones are twice as large.
const BLOCKS_A_SIZE: u64 = 10_000;

/// How many blocks a blob may have.
const BLOCKS_MAX: u64 = 50_000;

/// The longest stream that fits: five sizes of blocks, 10,000 of each.
pub(crate) const OBJECT_BYTES_MAX: u64 = BLOCK_BYTES * BLOCKS_A_SIZE * (1 + 2 + 4 + 8 + 16);

/// How many blocks are on their way at once.
const BLOCKS_IN_FLIGHT: usize = 4;

/// Stores `payload` under `key`.
pub(crate) async fn put(
    client: &Client,
    key: &ObjectKey,
    payload: Payload,
    mode: PutMode,
) -> TargetResult<()> {
    let blob = client.blob(key)?;
    let upload = Upload { client, key, blob: blob.block_blob_client(), mode };
    match payload {
        Payload::Buffered(parts) if length_of(&parts) <= SINGLE_BYTES_MAX => {
            upload.put_single(&blob, &parts).await
        }
        Payload::Buffered(parts) => {
            let block = length_of(&parts).div_ceil(BLOCKS_MAX).max(BLOCK_BYTES);
            let stream = Payload::Buffered(parts).into_stream();
            upload.put_blocks(blocks_of(stream, move |_| block)).await
        }
        Payload::Streamed(stream) => upload.put_blocks(blocks_of(stream, stream_block)).await,
    }
}

/// The size of block `number` of a stream whose length nobody knows.
fn stream_block(number: u64) -> u64 {
    BLOCK_BYTES << (number / BLOCKS_A_SIZE).min(4)
}

struct Upload<'a> {
    client: &'a Client,
    key: &'a ObjectKey,
    blob: BlockBlobClient,
    mode: PutMode,
}

impl Upload<'_> {
    async fn put_single(&self, blob: &BlobClient, parts: &[Bytes]) -> TargetResult<()> {
        let protection = self.client.protection();
        let options = BlockBlobClientUploadOptions {
            if_none_match: self.condition(),
            immutability_policy_expiry: protection.map(|(until, _)| until),
            immutability_policy_mode: protection.map(|(_, mode)| mode),
            method_options: self.with_sum(parts).await?,
            // One request whatever the size.
            partition_size: Some(NonZero::<u64>::MAX),
            tier: self.client.config().tiers.of(self.key),
            ..Default::default()
        };
        match blob.upload(body_of(parts).into(), Some(options)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn put_blocks(
        &self,
        blocks: impl Stream<Item = TargetResult<Vec<Bytes>>> + Send,
    ) -> TargetResult<()> {
        let ids = BlockIds::random()?;
        let staged = blocks
            .enumerate()
            .map(|(number, block)| {
                let id = ids.id(number as u64);
                async move { self.stage(number as u64, id, &block?).await }
            })
            .buffer_unordered(BLOCKS_IN_FLIGHT);
        let count = staged.try_fold(0, |count, ()| async move { Ok(count + 1) }).await?;
        self.commit((0..count).map(|number| ids.id(number)).collect()).await
    }

    /// Sends one block. Doing it twice does no harm, and nobody outside could do it.
    async fn stage(&self, number: u64, id: Vec<u8>, block: &[Bytes]) -> TargetResult<()> {
        if number >= BLOCKS_MAX {
            let why = format!("the stream is longer than {OBJECT_BYTES_MAX} bytes");
            return Err(TargetError::new(TargetErrorKind::Invalid, Operation::Put, why));
        }
        let sum = if self.client.config().checksums { Some(md5_of(block).await?) } else { None };
        let mut tries = Tries::default();
        loop {
            let options = BlockBlobClientStageBlockOptions {
                transactional_content_md5: sum.clone(),
                ..Default::default()
            };
            let content = body_of(block).into();
            match self.blob.stage_block(&id, length_of(block), content, Some(options)).await {
                Ok(_) => return Ok(()),
                Err(error) => tries.wait_after(self.failed(error)).await?,
            }
        }
    }

    /// Makes the blocks the blob. A lost answer is resolved by looking whether the blob consists
    /// of our blocks, whose names nobody else uses.
    async fn commit(&self, ids: Vec<Vec<u8>>) -> TargetResult<()> {
        let mut tries = Tries::default();
        loop {
            let error = match self.try_commit(&ids).await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let is_answered = matches!(status(&error), 1..=499);
            if tries.any_failed() || !is_answered {
                match self.consists_of(&ids).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    // Whether it is ours is not known yet, so nothing else is said meanwhile.
                    Err(unknown) => {
                        tries.wait_after(unknown).await?;
                        continue;
                    }
                }
            }
            tries.wait_after(self.commit_failed(error).await?).await?;
        }
    }

    async fn try_commit(&self, ids: &[Vec<u8>]) -> TargetResult<Result<(), Error>> {
        let list = BlockLookupList { latest: Some(ids.to_vec()), ..Default::default() };
        let list: RequestContent<BlockLookupList, XmlFormat> =
            list.try_into().map_err(|error| self.client.failed(Operation::Put, error))?;
        let protection = self.client.protection();
        let options = BlockBlobClientCommitBlockListOptions {
            if_none_match: self.condition(),
            immutability_policy_expiry: protection.map(|(until, _)| until),
            immutability_policy_mode: protection.map(|(_, mode)| mode),
            tier: self.client.config().tiers.of(self.key),
            ..Default::default()
        };
        Ok(self.blob.commit_block_list(list, Some(options)).await.map(|_| ()))
    }

    /// Whether the blob is what we wanted to make it.
    async fn consists_of(&self, ids: &[Vec<u8>]) -> TargetResult<bool> {
        match self.blob.get_block_list(BlockListType::Committed, None).await {
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(self.client.failed(Operation::Put, error)),
            Ok(response) => {
                let list = response.into_model();
                let list = list.map_err(|error| self.client.failed(Operation::Put, error))?;
                let found = list.committed_blocks.unwrap_or_default();
                let names = found.into_iter().map(|block| block.name.unwrap_or_default());
                Ok(names.eq(ids.iter().cloned()))
            }
        }
    }

    /// Blocks vanish when somebody else finishes the same blob. That is the end of a create, and
    /// of a replace that its caller may begin anew.
    async fn commit_failed(&self, error: Error) -> TargetResult<TargetError> {
        if code(&error) != "InvalidBlockList" {
            return Ok(self.failed(error));
        }
        let blob = self.client.blob(self.key)?;
        let exists = match blob.get_properties(None).await {
            Ok(_) => true,
            Err(error) if is_missing(&error) => false,
            Err(error) => return Ok(self.client.failed(Operation::Put, error)),
        };
        Ok(if exists && self.mode == PutMode::Create {
            taken()
        } else {
            let why = "somebody else wrote the same object at the same time";
            TargetError::new(TargetErrorKind::Unavailable, Operation::Put, why)
        })
    }

    fn condition(&self) -> Option<Etag> {
        (self.mode == PutMode::Create).then(|| Etag::from("*"))
    }

    fn failed(&self, error: Error) -> TargetError {
        if self.mode == PutMode::Create && is_taken(&error) {
            return taken();
        }
        self.client.failed(Operation::Put, error)
    }

    async fn with_sum(&self, parts: &[Bytes]) -> TargetResult<ClientMethodOptions<'static>> {
        let mut context = Context::new();
        if self.client.config().checksums {
            context.insert(ContentMd5(sum_text(&md5_of(parts).await?)));
        }
        Ok(ClientMethodOptions { context })
    }
}

fn taken() -> TargetError {
    let why = "there is an object of this name";
    TargetError::new(TargetErrorKind::AlreadyExists, Operation::Put, why)
}

/// When retention of an object that is stored now ends.
pub(crate) fn days_from_now(days: u32) -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_add(time::Duration::days(days.into()))
}

/// Names of the blocks of one put: all of one length, and used by nobody else.
#[derive(Clone, Copy)]
struct BlockIds([u8; 16]);

impl BlockIds {
    fn random() -> TargetResult<Self> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|error| {
            TargetError::new(TargetErrorKind::Unexpected, Operation::Put, "no random numbers")
                .because(std::io::Error::from(error))
        })?;
        Ok(Self(nonce))
    }

    fn id(self, number: u64) -> Vec<u8> {
        [&self.0[..], &number.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_so_that_long_streams_fit() {
        assert_eq!((stream_block(0), stream_block(9_999)), (8 << 20, 8 << 20));
        assert_eq!((stream_block(10_000), stream_block(49_999)), (16 << 20, 128 << 20));
        let all: u64 = (0..BLOCKS_MAX).map(stream_block).sum();
        assert_eq!(all, OBJECT_BYTES_MAX);
    }

    #[test]
    fn block_names_have_one_length_and_sort_by_number() {
        let ids = BlockIds::random().unwrap();
        assert_ne!(ids.id(0), BlockIds::random().unwrap().id(0));
        assert_eq!(ids.id(0).len(), ids.id(u64::MAX).len());
        assert!(ids.id(255) < ids.id(256));
    }
}
