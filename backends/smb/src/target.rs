//! The target itself: which connection a call uses, and what a call is made of.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use smb2::ErrorKind;
use strongroom_backend_support::Names;
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PutMode, Space, TargetErrorKind, TargetResult,
};

use crate::{
    config::SmbConfig,
    error::{failed, is_missing, refused},
    link::Link,
    list::Walk,
    pool::{Lane, Pool},
    read,
    write::Writers,
};

/// How many transfers at once are worth while: more only wait for the server's disk.
const CONCURRENCY: usize = 8;

/// Objects as files in a folder of an SMB share.
#[derive(Debug)]
pub struct SmbTarget {
    pool: Pool,
    names: Names,
    writers: Arc<Writers>,
}

impl SmbTarget {
    /// The folder of `config`, which must exist. Signs in, and removes what writers left that
    /// were killed a day ago or earlier.
    ///
    /// # Errors
    /// `NotFound` if there is no such share or folder, `Denied` if the user is not let in,
    /// `Unavailable` if nobody answers, `Unsupported` if a protection cannot be had.
    pub async fn open(config: SmbConfig) -> TargetResult<Self> {
        let target = Self::new(config);
        let link = target.link(Operation::Open, Lane::Write).await?;
        target.check_folder(&link).await?;
        Ok(target)
    }

    /// The folder of `config`, made if it does not exist, with its parents. The share itself
    /// must exist.
    ///
    /// # Errors
    /// As [`SmbTarget::open`]; `Denied` also if the user may not make the folder.
    pub async fn create(config: SmbConfig) -> TargetResult<Self> {
        let target = Self::new(config);
        let link = target.link(Operation::Open, Lane::Write).await?;
        let made = target.writers.folders().make(&link, target.base()).await;
        made.map_err(|error| failed(Operation::Open, "create the folder", error).at(&target))?;
        target.check_folder(&link).await?;
        Ok(target)
    }

    fn new(config: SmbConfig) -> Self {
        let names = Names::new(&config.path);
        let writers = Arc::new(Writers::new(names.base().trim_end_matches('/')));
        Self { pool: Pool::new(config), names, writers }
    }

    async fn check_folder(&self, link: &Arc<Link>) -> TargetResult<()> {
        match link.ask(link.tree().stat(&mut link.connection(), self.base())).await {
            Ok(found) if found.is_directory => {
                self.writers.remove_leftovers(link).await;
                Ok(())
            }
            Ok(_) => {
                let why = "that is a file, and a target is a folder";
                Err(refused(Operation::Open, TargetErrorKind::Invalid, why).at(self))
            }
            Err(error) => {
                let is_missing = is_missing(&error);
                let error = failed(Operation::Open, "find the folder", error).at(self);
                let hint = "check the path below the share, or create the folder";
                Err(if is_missing { error.hint(hint) } else { error })
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn writers(&self) -> &Writers {
        &self.writers
    }

    /// The path of the root of all keys, below the share.
    fn base(&self) -> &str {
        self.names.base().trim_end_matches('/')
    }

    async fn link(&self, operation: Operation, lane: Lane) -> TargetResult<Arc<Link>> {
        match self.pool.link(lane).await {
            Err(error) if operation != Operation::Open => {
                // The same failure, as one of this call.
                let mut mapped = refused(operation, error.kind(), "no connection to the share");
                if let Some(hint) = error.hint_text() {
                    mapped = mapped.hint(hint);
                }
                Err(mapped.retryable(error.is_retryable()).because(error))
            }
            result => result,
        }
    }
}

impl fmt::Display for SmbTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.config().fmt(f)
    }
}

#[async_trait]
impl BackupTarget for SmbTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let put = async {
            let link = self.link(Operation::Put, Lane::Write).await?;
            self.writers.put(&link, &self.names.full(key), payload, mode).await
        };
        put.await.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let get = async {
            let link = self.link(Operation::Get, Lane::Read).await?;
            read::read(&link, &self.names.full(key), range).await
        };
        get.await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let head = async {
            let link = self.link(Operation::Head, Lane::Read).await?;
            read::head(&link, &self.names.full(key), key).await
        };
        head.await.map_err(|error| error.on(key))
    }

    /// Reads folders only as fast as the listing is read. An object that is replaced meanwhile
    /// may be left out by file systems that move a replaced name within its folder.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let prefix = prefix.clone();
        let begin = async move {
            let link = self.link(Operation::List, Lane::Read).await?;
            TargetResult::Ok(Walk::begin(link, self.base(), &prefix))
        };
        stream::once(begin)
            .map_ok(|walk| {
                stream::try_unfold(walk, |mut walk| async {
                    let batch = walk.next_batch().await?;
                    Ok(batch.map(|batch| (stream::iter(batch.into_iter().map(Ok)), walk)))
                })
                .try_flatten()
            })
            .try_flatten()
            .boxed()
    }

    /// Leaves the folder behind, even if it is empty now: removing it would race with another
    /// client that is about to put an object there.
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let delete = async {
            let link = self.link(Operation::Delete, Lane::Write).await?;
            let path = self.names.full(key);
            match link.ask(link.tree().delete_file(&mut link.connection(), &path)).await {
                Ok(()) => Ok(()),
                // Nothing there, or a folder: no object.
                Err(error) if is_missing(&error) || is_no_file(&error) => Ok(()),
                Err(error) => Err(failed(Operation::Delete, "delete", error)),
            }
        };
        delete.await.map_err(|error| error.on(key))
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let link = self.link(Operation::Capabilities, Lane::Read).await?;
        let space = link.ask(link.tree().fs_info(&mut link.connection())).await;
        let step = "ask for free space";
        let space = space.map_err(|error| failed(Operation::Capabilities, step, error))?;
        Ok(Capabilities {
            atomic_create: true,
            concurrency: CONCURRENCY,
            delete_batch_max: 1,
            retention: false,
            codes_data: false,
            object_bytes_max: None,
            space: Some(Space {
                total_bytes: space.total_bytes,
                available_bytes: space.free_bytes,
            }),
        })
    }

    fn requests_sent(&self) -> Option<u64> {
        Some(self.pool.sent())
    }
}

fn is_no_file(error: &smb2::Error) -> bool {
    matches!(error.kind(), ErrorKind::IsADirectory | ErrorKind::NotADirectory)
}
