//! A directory as a strongroom target. First form.

use std::{fmt, fs, io, os::unix::fs::FileExt, path::{Path, PathBuf}, sync::atomic::{AtomicU64, Ordering}};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use std::io::Write;
use strongroom_core::target::*;

/// A directory.
#[derive(Debug)]
pub struct LocalTarget { root: PathBuf, next: AtomicU64 }

impl LocalTarget {
    /// Opens an existing directory.
    pub fn open(root: &Path) -> TargetResult<Self> { Ok(Self { root: root.to_owned(), next: AtomicU64::new(0) }) }
    /// Creates it.
    pub fn create(root: &Path) -> TargetResult<Self> { fs::create_dir_all(root).map_err(|e| err(Operation::Open, e))?; Self::open(root) }
    fn path(&self, key: &ObjectKey) -> PathBuf { self.root.join(key.as_str()) }
}
impl fmt::Display for LocalTarget { fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.root.display()) } }
fn err(op: Operation, e: io::Error) -> TargetError {
    let kind = match e.kind() { io::ErrorKind::NotFound => TargetErrorKind::NotFound, io::ErrorKind::AlreadyExists => TargetErrorKind::AlreadyExists, io::ErrorKind::PermissionDenied => TargetErrorKind::Denied, io::ErrorKind::StorageFull => TargetErrorKind::Full, _ => TargetErrorKind::Unexpected };
    TargetError::new(kind, op, "failed").because(e)
}
fn walk(dir: &Path, root: &Path, out: &mut Vec<TargetResult<ObjectMeta>>) {
    let Ok(rd) = fs::read_dir(dir) else { return };
    for e in rd.flatten() {
        let Ok(md) = e.metadata() else { continue };
        if md.is_dir() { walk(&e.path(), root, out); continue; }
        if let Some(key) = e.path().strip_prefix(root).ok().and_then(|p| p.to_str()).and_then(|t| ObjectKey::parse(t).ok()) {
            out.push(Ok(ObjectMeta { key, size_bytes: md.len(), modified_ms: None }));
        }
    }
}
#[async_trait]
impl BackupTarget for LocalTarget {
    async fn put(&self, key: &ObjectKey, payload: Payload, mode: PutMode) -> TargetResult<()> {
        let path = self.path(key);
        let dir = path.parent().unwrap_or(&self.root).to_owned();
        let tmp = self.root.join(format!(".tmp-{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed)));
        let mut stream = payload.into_stream();
        fs::create_dir_all(&dir).map_err(|e| err(Operation::Put, e))?;
        let mut f = fs::File::create(&tmp).map_err(|e| err(Operation::Put, e))?;
        while let Some(part) = stream.next().await { f.write_all(&part?).map_err(|e| err(Operation::Put, e))?; }
        tokio::task::spawn_blocking(move || {
            f.sync_all()?;
            match mode { PutMode::Create => { let r = fs::hard_link(&tmp, &path); fs::remove_file(&tmp)?; r?; } PutMode::Replace => fs::rename(&tmp, &path)? }
            fs::File::open(&dir)?.sync_all()
        }).await.map_err(|e| err(Operation::Put, io::Error::other(e)))?.map_err(|e| err(Operation::Put, e))
    }
    async fn get(&self, key: &ObjectKey, range: ByteRange) -> TargetResult<Bytes> {
        let path = self.path(key);
        tokio::task::spawn_blocking(move || -> io::Result<Bytes> {
            let f = fs::File::open(&path)?;
            let size = f.metadata()?.len();
            let (a, b) = match range { ByteRange::Full => (0, size), ByteRange::From { offset, length } => (offset.min(size), offset.saturating_add(length).min(size)) };
            let mut v = vec![0; (b.saturating_sub(a)) as usize];
            f.read_exact_at(&mut v, a)?;
            Ok(v.into())
        }).await.map_err(|e| err(Operation::Get, io::Error::other(e)))?.map_err(|e| err(Operation::Get, e).on(key))
    }
    async fn head(&self, key: &ObjectKey) -> TargetResult<ObjectMeta> {
        let md = fs::metadata(self.path(key)).map_err(|e| err(Operation::Head, e).on(key))?;
        Ok(ObjectMeta { key: key.clone(), size_bytes: md.len(), modified_ms: None })
    }
    fn list(&self, prefix: &KeyPrefix) -> BoxStream<'_, TargetResult<ObjectMeta>> {
        let mut out = vec![];
        walk(&self.root.join(prefix.as_str()), &self.root, &mut out);
        stream::iter(out).boxed()
    }
    async fn delete(&self, key: &ObjectKey) -> TargetResult<()> {
        match fs::remove_file(self.path(key)) { Err(e) if e.kind() != io::ErrorKind::NotFound => Err(err(Operation::Delete, e)), _ => Ok(()) }
    }
    async fn capabilities(&self) -> TargetResult<Capabilities> {
        Ok(Capabilities { atomic_create: true, concurrency: 2, object_bytes_max: None, space: None })
    }
}
