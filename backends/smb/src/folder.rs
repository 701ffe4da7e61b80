//! Folders below the share: made on demand, by whoever comes first; and the walk through them.
//!
//! Knows no object, only paths below the share.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use smb2::{DirectoryEntry, ErrorKind};

use crate::{error::is_missing, link::Link};

/// More are not remembered; to ask once more costs a round trip.
const KNOWN_MAX: usize = 4096;

/// Folders that are known to exist.
#[derive(Debug, Default)]
pub(crate) struct Folders(Mutex<HashSet<String>>);

impl Folders {
    /// Makes sure that the folder `path` exists; its parents, too.
    pub(crate) async fn make(&self, link: &Link, path: &str) -> smb2::Result<()> {
        if path.is_empty() || self.known(|known| known.contains(path)) {
            return Ok(());
        }
        // From the deepest one up to one that can be made, and down again.
        let mut missing = vec![path];
        while let Some(&folder) = missing.last() {
            let made = link.ask(link.tree().create_directory(&mut link.connection(), folder)).await;
            match made {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if is_missing(&error) && missing.len() <= path.len() => {
                    match folder.rsplit_once('/') {
                        Some((parent, _)) => missing.push(parent),
                        None => return Err(error),
                    }
                    continue;
                }
                made => made?,
            }
            missing.pop();
        }
        self.known(|known| {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(path.to_owned());
        });
        Ok(())
    }

    /// Forgets all: somebody removed one.
    pub(crate) fn forget(&self) {
        self.known(HashSet::clear);
    }

    fn known<T>(&self, look: impl FnOnce(&mut HashSet<String>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The folder of `path`, and the name in it.
pub(crate) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The entry `name` of the folder `path`.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// All entries of one folder, but for itself and its parent; none if there is no such folder.
pub(crate) async fn entries(link: &Link, path: &str) -> smb2::Result<Vec<DirectoryEntry>> {
    let mut found = Vec::new();
    let opened = link.ask(link.tree().open_directory_reader(link.connection(), path)).await;
    let mut reader = match opened {
        Err(error) if is_missing(&error) || error.kind() == ErrorKind::NotADirectory => {
            return Ok(found);
        }
        opened => opened?,
    };
    while let Some(batch) = link.ask(reader.next_batch()).await? {
        found.extend(batch.into_iter().filter(|entry| !matches!(&*entry.name, "." | "..")));
    }
    Ok(found)
}
