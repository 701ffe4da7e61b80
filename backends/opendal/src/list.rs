//! Listing: folder by folder where there are folders, in one go where there are none.
//!
//! Names that are no keys (temporary files, claims, other programs' objects) are left out, and
//! folders whose name begins with a dot are not entered.

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use opendal::{Entry, EntryMode, Lister, Metadata, options::ListOptions};
use strongroom_core::target::{
    KeyPrefix, ObjectKey, ObjectMeta, Operation, TargetErrorKind, TargetResult,
};

use crate::{
    patience::{Again, call, is_stall},
    place::Place,
    service::{Folders, is_stray},
};

/// The objects under `prefix`.
pub(crate) fn list<'a>(
    place: &'a Place,
    prefix: &KeyPrefix,
) -> BoxStream<'a, TargetResult<ObjectMeta>> {
    let start = place.names.full_prefix(prefix);
    let walk = Walk {
        place,
        prefix: prefix.clone(),
        starts: place.traits.is_ftp && !prefix.as_str().is_empty(),
        pending: vec![if start.is_empty() { "/".to_owned() } else { start }],
        folder: String::new(),
        entries: None,
    };
    stream::try_unfold(walk, |mut walk| async move {
        Ok(walk.next().await?.map(|object| (object, walk)))
    })
    .boxed()
}

/// Size and time of an object, as the service tells them.
pub(crate) fn object(key: ObjectKey, metadata: &Metadata) -> ObjectMeta {
    let modified = metadata.last_modified();
    ObjectMeta {
        key,
        size_bytes: metadata.content_length(),
        modified_ms: modified.map(|time| time.into_inner().as_millisecond()),
    }
}

struct Walk<'a> {
    place: &'a Place,
    prefix: KeyPrefix,
    /// The first folder may turn out to be an object, which would be listed as its own content.
    starts: bool,
    /// Folders yet to be listed.
    pending: Vec<String>,
    folder: String,
    entries: Option<Lister>,
}

impl Walk<'_> {
    async fn next(&mut self) -> TargetResult<Option<ObjectMeta>> {
        loop {
            if self.entries.is_none() {
                let Some(folder) = self.pending.pop() else { return Ok(None) };
                self.folder = folder;
                if std::mem::take(&mut self.starts) && self.is_object().await? {
                    continue;
                }
                self.entries = Some(enter(self.place, &self.folder).await?);
            }
            match self.entry().await? {
                None => self.entries = None,
                Some(entry) => {
                    if let Some(object) = self.take(&entry) {
                        return Ok(Some(object));
                    }
                }
            }
        }
    }

    /// The next entry of the folder. One that vanished, or never was one, has none.
    async fn entry(&mut self) -> TargetResult<Option<Entry>> {
        let Some(entries) = &mut self.entries else { return Ok(None) };
        let _turn = self.place.turn_to_call().await?;
        let mut next = call(Operation::List, entries.try_next()).await;
        let mut again = Again::default();
        // Both that answer so list a folder in one go: nothing of it was given yet.
        while again.after(&next).await {
            *entries = enter(self.place, &self.folder).await?;
            next = call(Operation::List, entries.try_next()).await;
        }
        match next {
            // Without folders it is the bucket that is missing.
            Err(error) if self.place.traits.folders == Folders::None => Err(error),
            Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(None),
            Err(error) if is_stall(&error) => Err(error),
            Err(error) => {
                // An object's name as a prefix names nothing; not all servers say why they fail.
                if self.is_object().await.unwrap_or(false) { Ok(None) } else { Err(error) }
            }
            entry => entry,
        }
    }

    async fn is_object(&self) -> TargetResult<bool> {
        let name = self.folder.trim_end_matches('/');
        Ok(!name.is_empty() && self.place.exists(Operation::List, name).await?)
    }

    /// The object of an entry; a folder is kept for later.
    fn take(&mut self, entry: &Entry) -> Option<ObjectMeta> {
        let path = entry.path();
        let inside = if self.folder == "/" { "" } else { self.folder.as_str() };
        let below = path.strip_prefix(inside).filter(|below| !below.is_empty() && *below != "/")?;
        if path.ends_with('/') || entry.metadata().mode() == EntryMode::DIR {
            let enters = self.place.traits.folders != Folders::None && !below.starts_with('.');
            if enters {
                self.pending.push(format!("{}/", path.trim_end_matches('/')));
            }
            return None;
        }
        let key = self.place.names.key(path)?;
        let is_ours =
            self.prefix.contains(&key) && !(self.place.traits.is_ftp && is_stray(key.as_str()));
        is_ours.then(|| object(key, entry.metadata()))
    }
}

async fn enter(place: &Place, folder: &str) -> TargetResult<Lister> {
    let recursive = place.traits.folders == Folders::None;
    let options = ListOptions { recursive, ..ListOptions::default() };
    call(Operation::List, place.operator.lister_options(folder, options)).await
}
