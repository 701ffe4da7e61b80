//! Walking the folders below a prefix, several at a time, a batch of names at a time.
//!
//! What is not a plain file under a valid key is no object and left out: temporary files, files
//! of other programs, links.

use std::sync::Arc;

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use smb2::{DirectoryEntry, DirectoryReader, ErrorKind};
use strongroom_core::target::{
    KeyPrefix, ObjectKey, ObjectMeta, Operation, TargetError, TargetResult,
};

use crate::{
    error::{failed, is_missing},
    folder::join,
    link::Link,
    read::meta,
};

/// How many folders are read at the same time.
const FOLDERS_AT_ONCE: usize = 8;

/// A listing under way.
pub(crate) struct Walk {
    link: Arc<Link>,
    /// The path of the root of all keys.
    base: String,
    /// Folders that are still to be read, as keys name them; empty is the root.
    waiting: Vec<String>,
    reading: FuturesUnordered<BoxFuture<'static, TargetResult<Step>>>,
}

/// Some entries of a folder, and what reads on; none at its end.
struct Step {
    folder: String,
    batch: Vec<DirectoryEntry>,
    reader: Option<DirectoryReader>,
}

impl Walk {
    /// Begins at `prefix`; one that is missing, or no folder, has no objects.
    pub(crate) fn begin(link: Arc<Link>, base: &str, prefix: &KeyPrefix) -> Self {
        let waiting = vec![prefix.as_str().to_owned()];
        Self { link, base: base.to_owned(), waiting, reading: FuturesUnordered::new() }
    }

    /// The next objects; `None` at the end. A listing that is not complete is an error.
    pub(crate) async fn next_batch(&mut self) -> TargetResult<Option<Vec<ObjectMeta>>> {
        loop {
            while self.reading.len() < FOLDERS_AT_ONCE
                && let Some(folder) = self.waiting.pop()
            {
                let path = self.path_of(&folder);
                self.reading.push(Box::pin(begin(self.link.clone(), path, folder)));
            }
            let Some(step) = self.reading.next().await else { return Ok(None) };
            let Step { folder, batch, reader } = step?;
            let objects = batch.into_iter().filter_map(|entry| self.take(&folder, entry)).collect();
            if let Some(reader) = reader {
                self.reading.push(Box::pin(go_on(self.link.clone(), reader, folder)));
            }
            let objects: Vec<ObjectMeta> = objects;
            if !objects.is_empty() {
                return Ok(Some(objects));
            }
        }
    }

    /// The object that `entry` is, if it is one; a folder is kept for later.
    fn take(&mut self, folder: &str, entry: DirectoryEntry) -> Option<ObjectMeta> {
        // No name that a server invents leads anywhere else: a key has no dots in front.
        if entry.is_link() || entry.name.contains('/') {
            return None;
        }
        let key = ObjectKey::parse(&join(folder, &entry.name)).ok()?;
        if entry.is_directory {
            self.waiting.push(key.as_str().to_owned());
            return None;
        }
        Some(meta(key, entry.size, entry.modified))
    }

    fn path_of(&self, folder: &str) -> String {
        match folder {
            "" => self.base.clone(),
            folder => join(&self.base, folder),
        }
    }
}

async fn begin(link: Arc<Link>, path: String, folder: String) -> TargetResult<Step> {
    let (tree, connection) = (link.tree().clone(), link.connection());
    let opened = async move { tree.open_directory_reader(connection, &path).await };
    match link.ask_to_the_end(opened).await {
        Ok(reader) => go_on(link, reader, folder).await,
        // Never was, gone since its name was read, or a file.
        Err(error) if is_missing(&error) || error.kind() == ErrorKind::NotADirectory => {
            Ok(Step { folder, batch: Vec::new(), reader: None })
        }
        Err(error) => Err(not_listed(&folder, error)),
    }
}

async fn go_on(link: Arc<Link>, mut reader: DirectoryReader, folder: String) -> TargetResult<Step> {
    match link.ask(reader.next_batch()).await {
        Ok(Some(batch)) => Ok(Step { folder, batch, reader: Some(reader) }),
        Ok(None) => Ok(Step { folder, batch: Vec::new(), reader: None }),
        Err(error) => Err(not_listed(&folder, error)),
    }
}

fn not_listed(folder: &str, error: smb2::Error) -> TargetError {
    let place = if folder.is_empty() { "." } else { folder };
    failed(Operation::List, "read the folder", error).at(place)
}
