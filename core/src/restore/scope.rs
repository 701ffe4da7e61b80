//! Which entries of a snapshot are asked for, and where they land.

use super::{Filter, RestoreOptions};
use crate::{
    entry::{EntryKind, TreePath},
    error::{Error, ErrorKind, Result},
    format::page::EntryKey,
    repository::{Repository, Snapshot},
};

/// The part of the table that is restored.
#[derive(Clone)]
pub(super) struct Scope {
    /// The folder whose content lands in the sink's root.
    base: TreePath,
    /// The only entry of it, where a single file is asked for.
    only: Option<Vec<u8>>,
    filter: Option<Filter>,
}

impl Scope {
    /// Finds what `options` asks for.
    ///
    /// # Errors
    /// `NotFound` if the snapshot has no such entry.
    pub(super) async fn find(
        repository: &Repository,
        snapshot: &Snapshot,
        options: &RestoreOptions,
    ) -> Result<Self> {
        let filter = options.filter.clone();
        let Some((folder, name)) = options.subtree.split_last() else {
            return Ok(Self { base: TreePath::root(), only: None, filter });
        };
        let key = EntryKey { folder: folder.clone(), name: name.to_vec() };
        match kind_at(repository, snapshot, &key).await? {
            Some(EntryKind::Dir) => Ok(Self { base: options.subtree.clone(), only: None, filter }),
            Some(_) => Ok(Self { base: folder, only: Some(key.name), filter }),
            None => Err(Error::new(ErrorKind::NotFound, "the snapshot has no such file or folder")
                .on(options.subtree.display())),
        }
    }

    /// The folder whose content lands in the sink's root.
    pub(super) fn base(&self) -> &TreePath {
        &self.base
    }

    /// Where in the table to begin.
    pub(super) fn start(&self) -> EntryKey {
        EntryKey { folder: self.base.clone(), name: self.only.clone().unwrap_or_default() }
    }

    /// True if everything of the snapshot is asked for.
    pub(super) fn is_everything(&self) -> bool {
        self.base.is_root() && self.only.is_none() && self.filter.is_none()
    }

    /// True if one entry is asked for that is not a folder.
    pub(super) fn is_single(&self) -> bool {
        self.only.is_some()
    }

    /// True if some folders may be left out while things in them are restored.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some()
    }

    /// What a folder of the table means for the walk.
    pub(super) fn position<'a>(&self, folder: &'a TreePath) -> Position<'a> {
        let is_below =
            folder.is_within(&self.base) && (self.only.is_none() || *folder == self.base);
        if !is_below {
            return if *folder < self.base { Position::Before } else { Position::After };
        }
        let path = &folder.as_bytes()[self.base.as_bytes().len()..];
        Position::Inside(path.strip_prefix(b"/").unwrap_or(path))
    }

    /// True if the entry `name` of `folder`, which is inside, is asked for by name.
    pub(super) fn names(&self, name: &[u8]) -> bool {
        self.only.as_deref().is_none_or(|only| only == name)
    }

    /// True if the filter accepts the entry.
    pub(super) fn accepts(&self, folder: &TreePath, name: &[u8], kind: EntryKind) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(&folder.join(name), kind))
    }

    /// Like [`Self::accepts`], for a path below the base.
    pub(super) fn accepts_path(&self, path: &TreePath, kind: EntryKind) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter(path, kind))
    }
}

/// Where a folder of the table lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Position<'a> {
    /// Not there yet.
    Before,
    /// Asked for; its path relative to the base.
    Inside(&'a [u8]),
    /// Nothing more is asked for.
    After,
}

async fn kind_at(
    repository: &Repository,
    snapshot: &Snapshot,
    key: &EntryKey,
) -> Result<Option<EntryKind>> {
    use futures::StreamExt;
    let table = repository.table(&snapshot.root);
    let mut pages = table.pages_from(key.clone());
    let Some(loaded) = pages.next().await.transpose()? else { return Ok(None) };
    let group = loaded.page.groups.iter().find(|group| group.folder == key.folder);
    let found = group.and_then(|group| {
        let at = group.entries.binary_search_by(|entry| entry.name.cmp(&key.name)).ok()?;
        Some(group.entries[at].stat.kind)
    });
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn positions_around_a_subtree() {
        let scope = Scope { base: path("b"), only: None, filter: None };
        assert_eq!(scope.position(&path("")), Position::Before);
        assert_eq!(scope.position(&path("a/z")), Position::Before);
        assert_eq!(scope.position(&path("b")), Position::Inside(b""));
        assert_eq!(scope.position(&path("b/c/d")), Position::Inside(b"c/d"));
        assert_eq!(scope.position(&path("b-c")), Position::After);
        let everything = Scope { base: path(""), only: None, filter: None };
        assert_eq!(everything.position(&path("x/y")), Position::Inside(b"x/y"));
        assert!(everything.is_everything() && !scope.is_everything());
    }

    #[test]
    fn a_single_file_leaves_its_neighbours() {
        let scope = Scope { base: path("b"), only: Some(b"f".to_vec()), filter: None };
        assert!(scope.names(b"f") && !scope.names(b"g"));
        assert_eq!(scope.position(&path("b/c")), Position::After);
    }
}
