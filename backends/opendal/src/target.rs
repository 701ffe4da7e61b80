//! [`OpendalTarget`]: the six calls on an OpenDAL service.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use opendal::Operator;
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    claim::{self, UPLOADS, Uploaded},
    config::OpendalConfig,
    error::mapped,
    list,
    patience::call,
    place::{Opening, Place},
    read,
    service::{Publish, is_stray},
    streamed,
    transport::Refusal,
    upload::{self, GATHERED_BYTES_MAX, Manner},
};

/// How often a move is tried while the server keeps the place locked for another one.
const LOCKED_TRIES_MAX: usize = 100;

/// A folder on an OpenDAL service as a target.
#[derive(Debug, Clone)]
pub struct OpendalTarget {
    place: Arc<Place>,
}

impl OpendalTarget {
    /// Opens the folder (bucket, container, share) that `config` names, which must exist.
    ///
    /// # Errors
    /// `NotFound` if it does not, `Denied` for wrong credentials, `Unsupported` if the service is
    /// not built in, `Invalid` for settings that OpenDAL refuses.
    pub async fn open(config: &OpendalConfig) -> TargetResult<Self> {
        let place = Arc::new(Place::open(config, Opening::Existing).await?);
        Ok(Self { place })
    }

    /// Opens the folder that `config` names, and creates it if need be. Buckets, containers and
    /// shares are never created.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn create(config: &OpendalConfig) -> TargetResult<Self> {
        let place = Arc::new(Place::open(config, Opening::Create).await?);
        Ok(Self { place })
    }

    async fn store(&self, name: &str, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let place = &self.place;
        match place.traits.publish {
            Publish::Direct { has_condition } => {
                let if_absent = mode == PutMode::Create && has_condition;
                if mode == PutMode::Create && !has_condition {
                    self.ensure_absent(name).await?;
                }
                let manner = Manner { if_absent, writes_nothing: place.traits.is_ftp };
                upload::write(&place.operator_for_transfer()?, name, payload, manner).await
            }
            Publish::Move { is_exclusive } => {
                self.store_by_move(name, payload, mode, is_exclusive).await
            }
            Publish::Claim if mode == PutMode::Replace => {
                self.store_by_move(name, payload, mode, true).await
            }
            Publish::Claim => self.store_by_claim(name, payload).await,
        }
    }

    async fn ensure_absent(&self, name: &str) -> TargetResult<()> {
        if self.place.exists(Operation::Put, name).await? {
            let why = "the key is taken";
            return Err(TargetError::new(TargetErrorKind::AlreadyExists, Operation::Put, why));
        }
        Ok(())
    }

    async fn store_by_move(
        &self,
        name: &str,
        payload: Payload,
        mode: PutMode,
        is_exclusive: bool,
    ) -> TargetResult<()> {
        let place = &self.place;
        let temporary = format!("{}{UPLOADS}/{}", place.names.base(), nonce()?);
        let moved = async {
            match payload {
                Payload::Streamed(stream) if place.traits.takes_streams => {
                    streamed::write_stream(place, &temporary, stream).await?;
                }
                Payload::Buffered(parts) if place.traits.takes_streams => {
                    streamed::write_parts(place, &temporary, parts).await?;
                }
                _ => upload::write(&place.operator, &temporary, payload, Manner::default()).await?,
            }
            if mode == PutMode::Replace {
                return rename(&place.operator, &temporary, name).await;
            }
            if !is_exclusive {
                self.ensure_absent(name).await?;
            }
            rename(&place.exclusive, &temporary, name).await
        };
        let outcome = moved.await;
        if outcome.is_err() {
            place.discard(&temporary).await;
        }
        outcome
    }

    async fn store_by_claim(&self, name: &str, payload: Payload) -> TargetResult<()> {
        let place = &self.place;
        let nonce = nonce()?;
        let folder = format!("{}{UPLOADS}/{nonce}", place.names.base());
        let file = format!("{folder}/{nonce}");
        let created = async {
            let manner = Manner::default();
            upload::write(&place.operator, &file, payload, manner).await?;
            let uploaded = Uploaded { folder: folder.clone(), nonce };
            claim::create(place, name, &uploaded).await
        };
        let outcome = created.await;
        if outcome.is_err() {
            place.discard(&file).await;
            place.discard(&format!("{folder}/")).await;
        }
        outcome
    }
}

/// A move, repeated while another one has the place locked; the other one ends soon.
async fn rename(operator: &Operator, from: &str, to: &str) -> TargetResult<()> {
    for _ in 0..LOCKED_TRIES_MAX {
        let renamed = call(Operation::Put, async {
            match operator.rename(from, to).await {
                Err(error) if Refusal::is_locked(&error) => Ok(None),
                renamed => renamed.map(Some),
            }
        })
        .await?;
        if renamed.is_some() {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    let why = "the server keeps the place locked";
    Err(TargetError::new(TargetErrorKind::Unavailable, Operation::Put, why))
}

/// A name that nobody else takes.
fn nonce() -> TargetResult<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let error = opendal::Error::new(opendal::ErrorKind::Unexpected, error.to_string());
        mapped(Operation::Put, error)
    })?;
    Ok(hex::encode(bytes))
}

#[async_trait]
impl BackupTarget for OpendalTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let place = &self.place;
        if place.traits.is_ftp && is_stray(key.as_str()) {
            let why = "over FTP, names like this one are those of unfinished uploads";
            return Err(TargetError::new(TargetErrorKind::Invalid, Operation::Put, why).on(key));
        }
        let _turn = place.turn_to_upload().await?;
        self.store(&place.names.full(key), payload, mode).await.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let place = &self.place;
        let (_turn, name) = (place.turn_to_call().await?, place.names.full(key));
        place.looked_for(|| read::get(place, &name, range)).await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let place = &self.place;
        let (_turn, name) = (place.turn_to_call().await?, place.names.full(key));
        let found = place.looked_for(|| place.stat(Operation::Head, &name)).await;
        found.map(|found| list::object(key.clone(), &found)).map_err(|error| error.on(key))
    }

    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        list::list(&self.place, prefix)
    }

    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let place = &self.place;
        let _turn = place.turn_to_call().await?;
        place.delete(&place.names.full(key)).await.map_err(|error| error.on(key))
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let place = &self.place;
        let can = place.operator.info().capability();
        let is_gathered = !can.write_can_multi && !place.traits.takes_streams;
        let gathered = is_gathered.then_some(GATHERED_BYTES_MAX);
        let limit = can.write_total_max_size.map(|bytes| bytes as u64);
        Ok(Capabilities {
            atomic_create: place.traits.atomic_create(),
            concurrency: place.concurrency,
            delete_batch_max: 1,
            retention: false,
            codes_data: true,
            object_bytes_max: gathered.into_iter().chain(limit).min(),
            space: None,
        })
    }

    fn requests_sent(&self) -> Option<u64> {
        self.place.requests()
    }
}

impl fmt::Display for OpendalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}
