//! [`LocalTarget`]: the six calls on a folder. Blocking work runs on the runtime's threads for it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use rustix::{
    fs::{self, AtFlags},
    io::{Errno, retry_on_intr},
};
use strongroom_core::target::{
    BackupTarget, ByteRange, Capabilities, KeyPrefix, ObjectKey, ObjectMeta, Operation, Payload,
    PayloadStream, PutMode, Space, TargetError, TargetErrorKind, TargetResult,
};

use crate::{
    error::{failed, refused},
    list::Walk,
    read,
    root::{Root, create_root},
    write::{self, TempFile},
};

/// How many transfers at once keep a disk busy without making it seek for nothing.
const CONCURRENCY: usize = 8;

/// How much of a stream is gathered before it is written.
const STREAM_BATCH_BYTES: usize = 1 << 20;

/// A folder as a target; see the [crate's page](crate) for what it promises.
#[derive(Debug, Clone)]
pub struct LocalTarget {
    root: Arc<Root>,
}

impl LocalTarget {
    /// Opens the folder `root`, which must exist, and removes old leftovers in it.
    ///
    /// # Errors
    /// `NotFound` if there is nothing, `Invalid` if it is not a folder, `Denied` if it may not be
    /// read.
    pub async fn open(root: impl Into<PathBuf>) -> TargetResult<Self> {
        let path = root.into();
        blocking(Operation::Open, move || Self::open_now(&path)).await
    }

    /// Opens the folder `root`, creating it and its missing parents with mode 0700.
    ///
    /// # Errors
    /// Those of [`Self::open`], and what creating a folder gives.
    pub async fn create(root: impl Into<PathBuf>) -> TargetResult<Self> {
        let path = root.into();
        blocking(Operation::Open, move || {
            let created = create_root(&path);
            created.map_err(|errno| not_opened(&path, "create the folder", errno))?;
            Self::open_now(&path)
        })
        .await
    }

    fn open_now(path: &Path) -> TargetResult<Self> {
        let opened = Root::open(path);
        let root = opened.map_err(|errno| not_opened(path, "open the folder", errno))?;
        let target = Self { root: Arc::new(root) };
        write::remove_leftovers(&target.root);
        Ok(target)
    }

    #[cfg(test)]
    pub(crate) fn from_root(root: Root) -> Self {
        Self { root: Arc::new(root) }
    }

    async fn with_root<T: Send + 'static>(
        &self,
        operation: Operation,
        work: impl FnOnce(&Arc<Root>) -> TargetResult<T> + Send + 'static,
    ) -> TargetResult<T> {
        let root = self.root.clone();
        blocking(operation, move || work(&root)).await
    }

    async fn put_streamed(
        &self,
        key: &ObjectKey,
        mut stream: PayloadStream,
        mode: PutMode,
    ) -> TargetResult<()> {
        let name = key.clone();
        let begin = move |root: &Arc<Root>| TempFile::begin(root, &name, mode);
        let mut temp = self.with_root(Operation::Put, begin).await?;
        let (mut batch, mut batch_bytes) = (Vec::new(), 0);
        loop {
            let part = stream.try_next().await?;
            let is_last = part.is_none();
            batch_bytes += part.as_ref().map_or(0, Bytes::len);
            batch.extend(part);
            if is_last || batch_bytes >= STREAM_BATCH_BYTES {
                let parts = std::mem::take(&mut batch);
                batch_bytes = 0;
                temp = blocking(Operation::Put, move || temp.write(&parts).map(|()| temp)).await?;
            }
            if is_last {
                break;
            }
        }
        let key = key.clone();
        blocking(Operation::Put, move || temp.publish(&key, mode)).await
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    operation: Operation,
    work: impl FnOnce() -> TargetResult<T> + Send + 'static,
) -> TargetResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => {
                let why = "the program is shutting down";
                Err(refused(operation, TargetErrorKind::Unavailable, why).retryable(false))
            }
        },
    }
}

fn not_opened(path: &Path, step: &str, errno: Errno) -> TargetError {
    let error = failed(Operation::Open, step, errno).at(path.display());
    match errno {
        Errno::NOENT => {
            error.hint("check the path, whether its disk is mounted, or create the folder")
        }
        Errno::NOTDIR => error.hint("a target is a folder, and this path leads to something else"),
        _ => error,
    }
}

impl fmt::Display for LocalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.path().display().fmt(f)
    }
}

#[async_trait]
impl BackupTarget for LocalTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let result = match payload {
            Payload::Streamed(stream) => self.put_streamed(key, stream, mode).await,
            Payload::Buffered(parts) => {
                let name = key.clone();
                let put = move |root: &Arc<Root>| {
                    let mut temp = TempFile::begin(root, &name, mode)?;
                    temp.write(&parts)?;
                    temp.publish(&name, mode)
                };
                self.with_root(Operation::Put, put).await
            }
        };
        result.map_err(|error| error.on(key))
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let name = key.clone();
        let get = move |root: &Arc<Root>| read::read(root, &name, range);
        self.with_root(Operation::Get, get).await.map_err(|error| error.on(key))
    }

    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let name = key.clone();
        let head = move |root: &Arc<Root>| read::head(root, &name);
        self.with_root(Operation::Head, head).await.map_err(|error| error.on(key))
    }

    /// Reads folders only as fast as the listing is read. An object that is replaced meanwhile
    /// may be left out by file systems that move a replaced name within its folder.
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let prefix = prefix.clone();
        let begin = self.with_root(Operation::List, move |root| Walk::begin(root, &prefix));
        stream::once(begin)
            .map_ok(|walk| {
                stream::try_unfold(walk, |mut walk| async {
                    let next = move || walk.next_batch().map(|batch| (batch, walk));
                    let (batch, walk) = blocking(Operation::List, next).await?;
                    let is_end = batch.is_empty();
                    let objects = stream::iter(batch.into_iter().map(Ok));
                    Ok((!is_end).then_some((objects, walk)))
                })
                .try_flatten()
            })
            .try_flatten()
            .boxed()
    }

    /// Leaves the folder behind, even if it is empty now: removing it would race with another
    /// process that is about to put an object there.
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        let name = key.clone();
        let delete = move |root: &Arc<Root>| {
            remove(root, &name).map_err(|errno| failed(Operation::Delete, "delete", errno))
        };
        self.with_root(Operation::Delete, delete).await.map_err(|error| error.on(key))
    }

    async fn capabilities(&self) -> TargetResult<Capabilities> {
        let space = self.with_root(Operation::Capabilities, |root| {
            let step = "ask for free space";
            retry_on_intr(|| fs::fstatvfs(root.dir()))
                .map_err(|errno| failed(Operation::Capabilities, step, errno))
        });
        let space = space.await?;
        Ok(Capabilities {
            atomic_create: true,
            concurrency: CONCURRENCY,
            delete_batch_max: 1,
            retention: false,
            codes_data: false,
            object_bytes_max: None,
            space: Some(Space {
                total_bytes: space.f_blocks.saturating_mul(space.f_frsize),
                available_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            }),
        })
    }
}

/// Removes a file and brings that to disk; nothing there, or a folder, is no object and success.
fn remove(root: &Root, key: &ObjectKey) -> Result<(), Errno> {
    let (path, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
    let parent = match root.open_folder(path) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        parent => parent?,
    };
    match retry_on_intr(|| fs::unlinkat(&parent, name, AtFlags::empty())) {
        Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(errno),
        Ok(()) => root.sync_folder(&parent),
    }
}
