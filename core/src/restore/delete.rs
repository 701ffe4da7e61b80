//! Removing what the snapshot does not have.

use std::{io, sync::Arc};

use super::{Context, folders::Folder};
use crate::entry::{EntryKind, TreePath, is_valid_name};

/// The names of an existing folder, taken before anything is restored into it, and those that
/// the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// What was there; `None` until the folder is known to be there.
    listing: Option<Vec<Vec<u8>>>,
    /// What the snapshot has, ascending.
    known: Vec<Vec<u8>>,
}

impl Extras {
    /// All of them: the folder is empty in the snapshot.
    pub(super) fn all(names: Vec<Vec<u8>>) -> Self {
        Self { listing: Some(names), known: Vec::new() }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.listing.is_some()
    }

    pub(super) fn set_listing(&mut self, names: Vec<Vec<u8>>) {
        self.listing = Some(names);
    }

    /// The snapshot has this name; names come in order.
    pub(super) fn add_known(&mut self, name: &[u8]) {
        self.known.push(name.to_vec());
    }

    /// Names that were there and are not in the snapshot.
    fn into_names(self) -> impl Iterator<Item = Vec<u8>> {
        let known = self.known;
        let is_extra = move |name: &Vec<u8>| known.binary_search(name).is_err();
        self.listing.unwrap_or_default().into_iter().filter(is_extra)
    }
}

/// Removes the extras of a folder, except for what the filter keeps out of the restore.
pub(super) fn remove_extras(
    context: &Context,
    folder: &Arc<Folder>,
    path: &TreePath,
    extras: Extras,
) {
    for name in extras.into_names().filter(|name| is_valid_name(name)) {
        if context.control.is_stopped() {
            return;
        }
        if let Err(error) = remove(context, folder, path, &name) {
            let item = folder.display(&context.control.base, &name);
            context.control.item_failed(item, "cannot be removed", error);
        }
    }
}

/// Removes one entry with all that is in it, as far as the filter accepts it. True if nothing
/// is left of it.
pub(super) fn remove(
    context: &Context,
    folder: &Arc<Folder>,
    path: &TreePath,
    name: &[u8],
) -> io::Result<bool> {
    let dir = context.folders.open(folder)?;
    let Some(stat) = dir.stat(name)? else { return Ok(true) };
    let path = path.join(name);
    if stat.kind == EntryKind::Dir && context.scope.is_filtered() {
        return remove_filtered(context, folder, path, name);
    }
    if !context.scope.accepts_path(&path, stat.kind) {
        return Ok(false);
    }
    if !context.options.is_dry_run {
        dir.remove(name)?;
    }
    context.control.count.deleted.add(1);
    Ok(true)
}

/// A folder whose content is being removed.
struct Frame {
    folder: Arc<Folder>,
    path: TreePath,
    name: Vec<u8>,
    names: Vec<Vec<u8>>,
    keeps_something: bool,
}

impl Frame {
    fn open(
        context: &Context,
        parent: &Arc<Folder>,
        path: TreePath,
        name: &[u8],
    ) -> io::Result<Self> {
        let folder = Folder::child(parent, name);
        let mut names = context.folders.open(&folder)?.names()?;
        names.retain(|name| is_valid_name(name));
        Ok(Self { folder, path, name: name.to_vec(), names, keeps_something: false })
    }
}

/// Removes a folder bottom up, so that what the filter does not accept stays, and the folders
/// that lead to it. On a stack of its own: folders may be nested thousands deep.
fn remove_filtered(
    context: &Context,
    parent: &Arc<Folder>,
    path: TreePath,
    name: &[u8],
) -> io::Result<bool> {
    let mut frames = vec![Frame::open(context, parent, path, name)?];
    while let Some(frame) = frames.last_mut() {
        let Some(name) = frame.names.pop() else {
            let Some(done) = frames.pop() else { break };
            let above = frames.last().map_or(parent, |frame| &frame.folder);
            let is_gone = !done.keeps_something
                && remove_one(context, above, &done.path, &done.name, EntryKind::Dir)?;
            match frames.last_mut() {
                Some(frame) => frame.keeps_something |= !is_gone,
                None => return Ok(is_gone),
            }
            continue;
        };
        let path = frame.path.join(&name);
        let Some(stat) = context.folders.open(&frame.folder)?.stat(&name)? else { continue };
        if stat.kind == EntryKind::Dir {
            let below = Frame::open(context, &frame.folder, path, &name)?;
            frames.push(below);
        } else if !remove_one(context, &frame.folder, &path, &name, stat.kind)? {
            frame.keeps_something = true;
        }
    }
    Ok(true)
}

fn remove_one(
    context: &Context,
    folder: &Arc<Folder>,
    path: &TreePath,
    name: &[u8],
    kind: EntryKind,
) -> io::Result<bool> {
    if !context.scope.accepts_path(path, kind) {
        return Ok(false);
    }
    if !context.options.is_dry_run {
        context.folders.open(folder)?.remove(name)?;
    }
    context.control.count.deleted.add(1);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extras_are_what_was_there_and_is_not_in_the_snapshot() {
        let names = |text: &[&str]| text.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut extras = Extras::default();
        ["a", "c", "e"].iter().for_each(|name| extras.add_known(name.as_bytes()));
        assert!(!extras.is_listed());
        extras.set_listing(names(&["z", "c", "b", "e"]));
        let found: Vec<Vec<u8>> = extras.into_names().collect();
        let expected: Vec<Vec<u8>> = names(&["z", "b"]);
        assert_eq!(found, expected);
        assert_eq!(Extras { known: names(&["a"]), listing: None }.into_names().count(), 0);
    }
}
