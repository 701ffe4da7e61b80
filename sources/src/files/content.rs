//! What a walk takes of one folder: the entries, and the folders to enter.
//!
//! Opens nothing but tags.

use std::{collections::BTreeMap, ffi::CString, io};

use rustix::fd::BorrowedFd;
use strongroom_core::{
    entry::{EntryKind, Stat},
    monitor::Problem,
    source::Found,
};

use super::{
    FileSource, Tag,
    problems::{note, problem},
    roots::Branch,
};
use crate::system::{
    listing::Listing,
    node::expect_kind,
    stat::{FolderId, stat_at, stat_through},
};

/// What was found in a folder.
#[derive(Default)]
pub(super) struct Content<'a> {
    /// Sorted by name.
    pub(super) entries: Vec<Found>,
    /// The folders among the entries, sorted by name.
    pub(super) steps: Vec<Step<'a>>,
    /// What could not be read, and what was left out.
    pub(super) problems: Vec<Problem>,
}

/// A folder to enter.
pub(super) struct Step<'a> {
    pub(super) name: Vec<u8>,
    /// Who owns it.
    pub(super) owner: u32,
    pub(super) target: Target<'a>,
}

/// What a folder to enter is to the walk.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// A folder in a root that lies on this device.
    Inner { root_device: u64 },
    /// A root, or a folder above roots.
    Branch(&'a Branch),
}

impl FileSource {
    /// Of a folder above roots: what leads to them.
    pub(super) fn read_towards<'a>(
        &'a self,
        folder: BorrowedFd<'_>,
        path: &[u8],
        children: &'a BTreeMap<Vec<u8>, Branch>,
    ) -> Content<'a> {
        let mut content = Content::default();
        for (name, branch) in children {
            let path = joined(path, name);
            match stat_branch(folder, name, branch) {
                Ok(stat) => self.take_branch(&mut content, &path, name, (branch, stat)),
                Err(error) => {
                    content.problems.push(problem(&path, format!("cannot be read: {error}")));
                }
            }
        }
        content
    }

    fn take_branch<'a>(
        &'a self,
        content: &mut Content<'a>,
        path: &[u8],
        name: &[u8],
        (branch, stat): (&'a Branch, Stat),
    ) {
        match stat.kind {
            EntryKind::Dir if *branch == Branch::Whole && self.is_skipped(&stat) => {
                let message = "is the repository itself, which is never part of a snapshot";
                return content.problems.push(problem(path, message));
            }
            EntryKind::Dir => {
                let (name, target) = (name.to_vec(), Target::Branch(branch));
                content.steps.push(Step { name, owner: stat.uid, target });
            }
            EntryKind::Symlink => {
                let message = "is a link and saved as one; to save what it leads to, name that";
                content.problems.push(note(path, message));
            }
            _ => {}
        }
        content.entries.push(Found { name: name.to_vec(), stat });
    }

    /// Of a folder in a root: all that is not left out.
    pub(super) fn read_whole<'a>(
        &'a self,
        folder: BorrowedFd<'_>,
        path: &[u8],
        root_device: u64,
        listing: &mut Listing,
    ) -> Content<'a> {
        let mut content = Content::default();
        if let Err(error) = listing.read(folder) {
            content.problems.push(problem(path, format!("cannot be listed: {error}")));
        }
        self.apply_tags(folder, listing);
        content.entries.reserve_exact(listing.names().len());
        let mut full_path = path.to_vec();
        for c_name in listing.names() {
            let name = c_name.to_bytes();
            full_path.truncate(path.len());
            push_name(&mut full_path, name);
            match stat_at(folder, c_name) {
                Ok(stat) => self.take_inner(&mut content, &full_path, name, (stat, root_device)),
                // Gone since the folder was listed: not there is not unreadable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("cannot be read: {error}");
                    content.problems.push(problem(&full_path, message));
                }
            }
        }
        content
    }

    fn take_inner(
        &self,
        content: &mut Content<'_>,
        path: &[u8],
        name: &[u8],
        (stat, root_device): (Stat, u64),
    ) {
        if self.is_excluded(path, &stat) {
            return;
        }
        if stat.kind == EntryKind::Dir {
            if self.is_skipped(&stat) {
                return content.problems.push(note(path, "is the repository itself: left out"));
            }
            let target = Target::Inner { root_device };
            content.steps.push(Step { name: name.to_vec(), owner: stat.uid, target });
        }
        content.entries.push(Found { name: name.to_vec(), stat });
    }

    /// Forgets all names but the tag's, if the folder has one.
    fn apply_tags(&self, folder: BorrowedFd<'_>, listing: &mut Listing) {
        let is_tagged = |tag: &&Tag| listing.contains(&tag.name) && tag.is_valid_in(folder);
        if let Some(tag) = self.tags.iter().find(is_tagged) {
            listing.retain(|name| name == tag.name.to_bytes());
        }
    }

    fn is_excluded(&self, path: &[u8], stat: &Stat) -> bool {
        let is_large = stat.kind == EntryKind::File
            && self.larger_than_bytes.is_some_and(|limit| stat.size > limit);
        let is_folder = stat.kind == EntryKind::Dir;
        is_large || (!self.excludes.is_empty() && self.excludes.matches(path, is_folder))
    }

    fn is_skipped(&self, stat: &Stat) -> bool {
        self.skip_folders.contains(&FolderId::from(stat))
    }
}

/// Links above a root are followed, for the user named it through them; a root itself is not.
fn stat_branch(folder: BorrowedFd<'_>, name: &[u8], branch: &Branch) -> io::Result<Stat> {
    let name = CString::new(name)?;
    match branch {
        Branch::Whole => stat_at(folder, &name),
        Branch::Towards(_) => {
            let stat = stat_through(folder, &name)?;
            expect_kind(&stat, EntryKind::Dir)?;
            Ok(stat)
        }
    }
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = path.to_vec();
    push_name(&mut path, name);
    path
}

/// Lengthens a path by one name.
pub(super) fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
