//! A target as a store: the other direction, so that `object_store`'s own suite can be run on it.
//!
//! Paths may hold any character and keys few, so names are written with `_` and two hex digits
//! for every byte that a key does not take. A target keeps no tags, no attributes and no
//! versions; its tags of content (`ETag`) are made up here from what an object holds.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::DateTime;
use futures::{
    FutureExt, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, UploadPart, path::Path,
};
use strongroom_core::target::{
    self, KeyPrefix, ObjectKey, Payload, SharedTarget, TargetError, TargetErrorKind, TargetExt,
};

const STORE: &str = "BackupTarget";

/// A target as a store.
#[derive(Debug, Clone)]
pub struct TargetStore(pub SharedTarget);

impl fmt::Display for TargetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TargetStore({})", self.0)
    }
}

fn encode(path: &Path) -> String {
    let mut text = String::new();
    for (at, byte) in path.as_ref().bytes().enumerate() {
        let begins = at == 0 || text.ends_with('/');
        match byte {
            b'/' | b'a'..=b'z' | b'0'..=b'9' | b'-' => text.push(char::from(byte)),
            b'.' if !begins => text.push('.'),
            other => text.push_str(&format!("_{other:02x}")),
        }
    }
    text
}

fn decode(key: &ObjectKey) -> Path {
    let mut bytes = Vec::new();
    let mut rest = key.as_str().as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'_' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    Path::parse(String::from_utf8(bytes).unwrap()).unwrap()
}

fn key(path: &Path) -> Result<ObjectKey> {
    ObjectKey::parse(&encode(path))
        .map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })
}

fn failed(path: &Path, error: TargetError) -> Error {
    let (path, kind, source) = (path.to_string(), error.kind(), Box::new(error));
    match kind {
        TargetErrorKind::NotFound => Error::NotFound { path, source },
        TargetErrorKind::AlreadyExists => Error::AlreadyExists { path, source },
        TargetErrorKind::Denied => Error::PermissionDenied { path, source },
        TargetErrorKind::Unsupported => Error::NotSupported { source },
        _ => Error::Generic { store: STORE, source },
    }
}

fn tag_of(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn meta(found: &target::ObjectMeta, e_tag: Option<String>) -> ObjectMeta {
    ObjectMeta {
        location: decode(&found.key),
        last_modified: DateTime::from_timestamp_millis(found.modified_ms.unwrap_or(0)).unwrap(),
        size: found.size_bytes,
        e_tag,
        version: None,
    }
}

impl TargetStore {
    async fn write(
        &self,
        path: &Path,
        parts: Vec<Bytes>,
        mode: target::PutMode,
    ) -> Result<PutResult> {
        let e_tag = Some(tag_of(&parts.concat()));
        let put = self.0.put(&key(path)?, Payload::Buffered(parts), mode).await;
        put.map_err(|error| failed(path, error))?;
        Ok(PutResult { e_tag, version: None, extensions: Extensions::new() })
    }

    async fn read(&self, path: &Path) -> Result<(ObjectMeta, Bytes)> {
        let failed = |error| failed(path, error);
        let key = key(path)?;
        let content = self.0.get_full(&key).await.map_err(failed)?;
        let found = self.0.head(&key).await.map_err(failed)?;
        Ok((meta(&found, Some(tag_of(&content))), content))
    }

    async fn list_all(&self, prefix: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let prefix = prefix.unwrap_or_default();
        let below = KeyPrefix::parse(&encode(&prefix))
            .map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?;
        let found = self.0.list_all(&below).await.map_err(|error| failed(&prefix, error))?;
        Ok(found.iter().map(|found| meta(found, None)).collect())
    }
}

#[async_trait]
impl ObjectStore for TargetStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let mode = match options.mode {
            PutMode::Create => target::PutMode::Create,
            PutMode::Overwrite => target::PutMode::Replace,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "put_opts with PutMode::Update".into(),
                    implementer: self.to_string(),
                });
            }
        };
        self.write(location, payload.into_iter().collect(), mode).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let parts = Arc::new(Mutex::new(Vec::new()));
        Ok(Box::new(Upload { store: self.clone(), location: location.clone(), parts }))
    }

    /// Asks the target for just the range, as users of a store do.
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (meta, content) = self.read(location).await?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?,
        };
        let part = match options.head || range == (0..meta.size) {
            true => content,
            false => {
                let length = range.end - range.start;
                let part = self.0.get_range(&key(location)?, range.start, length).await;
                part.map_err(|error| failed(location, error))?
            }
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(stream::iter([Ok(part)]).boxed()),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Extensions::new(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let target = self.0.clone();
        locations
            .and_then(move |path| {
                let target = target.clone();
                async move {
                    target.delete(&key(&path)?).await.map_err(|error| failed(&path, error))?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        stream::once(async move { store.list_all(prefix).await })
            .map_ok(|found| stream::iter(found.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let base = prefix.cloned().unwrap_or_default();
        let mut folders = BTreeSet::new();
        let mut objects = Vec::new();
        for found in self.list_all(prefix.cloned()).await? {
            let mut rest = found.location.prefix_match(&base).unwrap();
            let first = rest.next().unwrap();
            if rest.next().is_some() {
                folders.insert(base.clone().join(first));
            } else {
                objects.push(found.clone());
            }
        }
        let common_prefixes = folders.into_iter().collect();
        Ok(ListResult { common_prefixes, objects, extensions: Extensions::new() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (_, content) = self.read(from).await?;
        let mode = match options.mode {
            CopyMode::Create => target::PutMode::Create,
            CopyMode::Overwrite => target::PutMode::Replace,
        };
        self.write(to, vec![content], mode).await.map(|_| ())
    }
}

/// Parts gathered until the upload is complete, and then streamed to the target.
#[derive(Debug)]
struct Upload {
    store: TargetStore,
    location: Path,
    parts: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.lock().unwrap().extend(data);
        async { Ok(()) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts = std::mem::take(&mut *self.parts.lock().unwrap());
        let e_tag = Some(tag_of(&parts.concat()));
        let payload = Payload::Streamed(Payload::Buffered(parts).into_stream());
        let key = key(&self.location)?;
        let put = self.store.0.put(&key, payload, target::PutMode::Replace).await;
        put.map_err(|error| failed(&self.location, error))?;
        Ok(PutResult { e_tag, version: None, extensions: Extensions::new() })
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.lock().unwrap().clear();
        Ok(())
    }
}
