//! The other way round: any strongroom target as an OpenDAL service.
//!
//! Offers what a target has: no folders of their own, no copy, no rename, no presigned URLs.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use opendal::{
    Buffer, BytesRange, Capability, Error, ErrorKind, Metadata, MetadataBuilder, OperationContext,
    Operator, Result,
    raw::{
        OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite,
        RpCreateDir, RpPresign, RpRead, RpRename, RpStat, Service, ServiceInfo, Timestamp, oio,
    },
};
use strongroom_core::target::{
    ByteRange, KeyPrefix, ObjectKey, ObjectMeta, Payload, PutMode, SharedTarget, TargetError,
    TargetErrorKind,
};

/// An operator on `target`.
pub(crate) fn operator(target: SharedTarget) -> Operator {
    Operator::from_parts(OperationContext::new(), Arc::new(TargetService { target }))
}

#[derive(Debug, Clone)]
struct TargetService {
    target: SharedTarget,
}

fn mapped(error: TargetError) -> Error {
    let kind = match error.kind() {
        TargetErrorKind::NotFound => ErrorKind::NotFound,
        TargetErrorKind::AlreadyExists => ErrorKind::ConditionNotMatch,
        TargetErrorKind::Denied => ErrorKind::PermissionDenied,
        TargetErrorKind::Throttled => ErrorKind::RateLimited,
        TargetErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unexpected,
    };
    let is_temporary = error.is_retryable();
    Error::new(kind, error.to_string()).with_temporary(is_temporary)
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "targets cannot do that"))
}

/// A name that is no key names nothing to a reader, and is refused to a writer.
fn key(path: &str, kind: ErrorKind) -> Result<ObjectKey> {
    ObjectKey::parse(path).map_err(|error| Error::new(kind, error.to_string()))
}

fn metadata(object: &ObjectMeta) -> Metadata {
    let mut builder = MetadataBuilder::file(object.size_bytes);
    if let Some(time) = object.modified_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        builder.last_modified(time);
    }
    builder.build()
}

impl Service for TargetService {
    type Reader = TargetReader;
    type Writer = TargetWriter;
    type Lister = oio::HierarchyLister<TargetLister>;
    type Deleter = oio::OneShotDeleter<TargetDeleter>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::new("strongroom", "/", "target")
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            write_can_multi: true,
            write_with_if_not_exists: true,
            delete: true,
            list: true,
            list_with_recursive: true,
            shared: true,
            ..Capability::default()
        }
    }

    async fn create_dir(
        &self,
        _: &OperationContext,
        _: &str,
        _: OpCreateDir,
    ) -> Result<RpCreateDir> {
        unsupported()
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> Result<RpStat> {
        if path == "/" {
            return Ok(RpStat::new(MetadataBuilder::dir().build()));
        }
        let key = key(path, ErrorKind::NotFound)?;
        let found = self.target.head(&key).await.map_err(mapped)?;
        Ok(RpStat::new(metadata(&found)))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> Result<TargetReader> {
        Ok(TargetReader { target: self.target.clone(), path: path.to_owned() })
    }

    fn write(&self, _: &OperationContext, path: &str, args: OpWrite) -> Result<TargetWriter> {
        let mode = if args.if_not_exists() { PutMode::Create } else { PutMode::Replace };
        let key = key(path, ErrorKind::Unsupported)?;
        Ok(TargetWriter { target: self.target.clone(), key, mode, parts: Vec::new() })
    }

    fn delete(&self, _: &OperationContext) -> Result<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(TargetDeleter { target: self.target.clone() }))
    }

    fn list(&self, _: &OperationContext, path: &str, args: OpList) -> Result<Self::Lister> {
        let lister =
            TargetLister { target: self.target.clone(), path: path.to_owned(), found: None };
        Ok(oio::HierarchyLister::new(lister, path, args.recursive()))
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> Result<()> {
        unsupported()
    }

    async fn rename(
        &self,
        _: &OperationContext,
        _: &str,
        _: &str,
        _: OpRename,
    ) -> Result<RpRename> {
        unsupported()
    }

    async fn presign(&self, _: &OperationContext, _: &str, _: OpPresign) -> Result<RpPresign> {
        unsupported()
    }
}

pub(crate) struct TargetReader {
    target: SharedTarget,
    path: String,
}

impl oio::Read for TargetReader {
    async fn open(&self, range: BytesRange) -> Result<(RpRead, Box<dyn oio::ReadStreamDyn>)> {
        let (response, content) = self.read(range).await?;
        Ok((response, Box::new(content)))
    }

    async fn read(&self, range: BytesRange) -> Result<(RpRead, Buffer)> {
        let key = key(&self.path, ErrorKind::NotFound)?;
        let (offset, length) = (range.offset(), range.size().unwrap_or(u64::MAX));
        let range = ByteRange::From { offset, length };
        let content = self.target.get(&key, range).await.map_err(mapped)?;
        Ok((RpRead::default(), Buffer::from(content)))
    }
}

pub(crate) struct TargetWriter {
    target: SharedTarget,
    key: ObjectKey,
    mode: PutMode,
    parts: Vec<Bytes>,
}

impl oio::Write for TargetWriter {
    async fn write(&mut self, content: Buffer) -> Result<()> {
        self.parts.extend(content);
        Ok(())
    }

    async fn close(&mut self) -> Result<Metadata> {
        let payload = Payload::Buffered(std::mem::take(&mut self.parts));
        let length = payload.len().unwrap_or_default();
        self.target.put(&self.key, payload, self.mode).await.map_err(mapped)?;
        Ok(MetadataBuilder::file(length).build())
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

pub(crate) struct TargetDeleter {
    target: SharedTarget,
}

impl oio::OneShotDelete for TargetDeleter {
    async fn delete_once(&self, path: String, _: OpDelete) -> Result<()> {
        match ObjectKey::parse(&path) {
            Ok(key) => self.target.delete(&key).await.map_err(mapped),
            // What cannot be there is gone.
            Err(_) => Ok(()),
        }
    }
}

pub(crate) struct TargetLister {
    target: SharedTarget,
    path: String,
    found: Option<std::vec::IntoIter<ObjectMeta>>,
}

impl oio::List for TargetLister {
    async fn next(&mut self) -> Result<Option<oio::Entry>> {
        if self.found.is_none() {
            // OpenDAL's prefixes may end inside a name; a target's are whole folders.
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let Ok(prefix) = KeyPrefix::parse(folder) else { return Ok(None) };
            let mut objects = Vec::new();
            let mut listed = self.target.list(&prefix);
            while let Some(object) = listed.next().await {
                let object = object.map_err(mapped)?;
                if self.path == "/" || object.key.as_str().starts_with(&self.path) {
                    objects.push(object);
                }
            }
            drop(listed);
            objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            self.found = Some(objects.into_iter());
        }
        let next = self.found.as_mut().and_then(Iterator::next);
        Ok(next.map(|object| oio::Entry::new(object.key.as_str(), metadata(&object))))
    }
}
