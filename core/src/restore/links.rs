//! Further names of inodes: linked once the first name is there, not written again.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
};

use super::{
    Context,
    file::{Ending, FileJob, Outcome},
    folders::Folder,
};
use crate::entry::{ChunkRef, Content, Entry, EntryKind, Piece, Stat};

/// Names that wait for the first one of their inode.
const WAITING_MAX: usize = 4096;

/// Device and inode in the snapshot.
type InodeKey = (u64, u64);

/// The name that the others of its inode are linked to.
#[derive(Debug)]
struct Original {
    folder: Arc<Folder>,
    name: Vec<u8>,
    content: [u8; 32],
    outcome: Arc<Outcome>,
    /// Names still to come, as far as the snapshot has them.
    names_left: u64,
}

/// A further name.
#[derive(Debug)]
pub(super) struct FurtherName {
    pub(super) folder: Arc<Folder>,
    pub(super) entry: Entry,
    pub(super) existing: Option<Stat>,
}

/// All inodes with several names that were met and whose names are not all done.
#[derive(Debug, Default)]
pub(super) struct Links {
    originals: HashMap<InodeKey, Original>,
    waiting: VecDeque<FurtherName>,
}

impl Links {
    /// True if `entry` is a further name of something that is restored, of the same content.
    pub(super) fn has_original(&self, entry: &Entry) -> bool {
        let original = self.originals.get(&inode(entry));
        original.is_some_and(|original| original.content == content_digest(entry))
    }

    /// Makes `entry` the name that others are linked to, if there are others.
    pub(super) fn begin(&mut self, folder: &Arc<Folder>, entry: &Entry) -> Option<Arc<Outcome>> {
        if !entry.is_hard_linked() {
            return None;
        }
        let names_left = match self.originals.get(&inode(entry)) {
            // the snapshot saw two contents under one inode: the first one stays the original
            Some(before) if before.content != content_digest(entry) => return None,
            Some(before) => before.names_left,
            None => entry.stat.links - 1,
        };
        let original = Original {
            folder: folder.clone(),
            name: entry.name.clone(),
            content: content_digest(entry),
            outcome: Arc::default(),
            names_left,
        };
        let outcome = original.outcome.clone();
        self.originals.insert(inode(entry), original);
        Some(outcome)
    }

    /// Takes a further name, to be linked when its original is there.
    pub(super) fn wait(&mut self, name: FurtherName) {
        self.waiting.push_back(name);
    }

    /// True if no more should be taken before some are done.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Links the names whose original is done. Returns those that have to be restored by
    /// themselves, because this sink cannot link them.
    pub(super) fn settle(&mut self, context: &Context) -> Vec<FileJob> {
        let mut jobs = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(name) = self.waiting.pop_front() else { break };
            let Some(original) = self.originals.get_mut(&inode(&name.entry)) else { continue };
            match original.outcome.get() {
                Ending::Pending => self.waiting.push_back(name),
                Ending::Failed => {
                    original.names_left = original.names_left.saturating_sub(1);
                    report_failed(context, original, &name);
                }
                Ending::Right => {
                    original.names_left = original.names_left.saturating_sub(1);
                    if link(context, original, &name) {
                        if original.names_left == 0 {
                            self.originals.remove(&inode(&name.entry));
                        }
                        continue;
                    }
                    let FurtherName { folder, entry, .. } = name;
                    let outcome = self.begin(&folder, &entry);
                    jobs.push(FileJob { folder, entry, existing: None, outcome });
                }
            }
        }
        jobs
    }
}

fn report_failed(context: &Context, original: &Original, name: &FurtherName) {
    let control = &context.control;
    let item = name.folder.display(&control.base, &name.entry.name);
    let first = original.folder.display(&control.base, &original.name);
    control.exempt(name.folder.key_of(&name.entry.name));
    control.problem(item, format!("is a further name of {first}, which could not be restored"));
}

/// Links one name; false if it has to be restored by itself.
fn link(context: &Context, original: &Original, name: &FurtherName) -> bool {
    let is_file = name.entry.stat.kind == EntryKind::File;
    let count = &context.control.count;
    match try_link(context, original, name) {
        Ok(is_new) => {
            match (is_file, is_new) {
                (true, true) => count.files_restored.add(1),
                (true, false) => count.files_unchanged.add(1),
                (false, _) => count.others.add(1),
            }
            if is_file {
                context.control.done(1, name.entry.stat.size);
            }
            true
        }
        // too many names, or a file system without links
        Err(_) if is_file => false,
        Err(error) => {
            let item = name.folder.display(&context.control.base, &name.entry.name);
            context.control.exempt(name.folder.key_of(&name.entry.name));
            context.control.item_failed(item, "cannot be linked", error);
            true
        }
    }
}

/// True if a link was made, false if it was there.
fn try_link(context: &Context, original: &Original, name: &FurtherName) -> io::Result<bool> {
    if context.options.is_dry_run {
        return Ok(true);
    }
    let folder = context.folders.open(&name.folder)?;
    let first = context.folders.open(&original.folder)?;
    if let Some(existing) = &name.existing
        && let Some(stat) = first.stat(&original.name)?
        && (stat.device, stat.inode) == (existing.device, existing.inode)
    {
        return Ok(false);
    }
    folder.create_hard_link(&name.entry.name, &*first, &original.name)?;
    Ok(true)
}

fn inode(entry: &Entry) -> InodeKey {
    (entry.stat.device, entry.stat.inode)
}

/// Stands for everything that all names of an inode must share.
fn content_digest(entry: &Entry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let add = |hasher: &mut blake3::Hasher, chunk: &ChunkRef| {
        hasher.update(chunk.id.as_bytes()).update(&chunk.len_bytes.to_le_bytes());
    };
    hasher.update(&[entry.stat.kind as u8]).update(&entry.stat.size.to_le_bytes());
    hasher.update(entry.details.link_target.as_deref().unwrap_or_default());
    match &entry.content {
        Content::Listed { lists, .. } => lists.iter().for_each(|list| add(&mut hasher, list)),
        Content::Inline(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Chunk(chunk) => add(&mut hasher, chunk),
            Piece::Hole(length) => {
                hasher.update(&length.to_le_bytes());
            }
        }),
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{Details, PackRef},
        id::{ChunkId, PackId, SessionId},
        restore::folders::Folders,
        source::Sink,
        testing::{sink::MemorySink, stat},
    };

    fn entry(name: &str, content: u8, links: u64) -> Entry {
        let pack = PackRef {
            id: PackId { session: SessionId([0; 16]), counter: 0 },
            epoch: 0,
            salt: [0; 32],
        };
        let chunk = ChunkRef { id: ChunkId([content; 32]), pack, segment: 0, len_bytes: 5 };
        Entry {
            name: name.as_bytes().to_vec(),
            stat: Stat { links, ..stat(EntryKind::File, 77, 5) },
            details: Details::default(),
            content: Content::Inline(vec![Piece::Chunk(chunk)]),
            is_torn: false,
        }
    }

    #[test]
    fn only_names_of_the_same_content_are_linked() {
        let folders = Folders::new(MemorySink::new().root().ok());
        let mut links = Links::default();
        assert!(links.begin(folders.root(), &entry("single", 1, 1)).is_none());
        assert!(!links.has_original(&entry("a", 1, 3)));
        assert!(links.begin(folders.root(), &entry("a", 1, 3)).is_some());
        assert!(links.has_original(&entry("b", 1, 3)));
        // the snapshot saw the inode change: that one is a file by itself, the others are linked
        let changed = entry("c", 2, 3);
        assert!(!links.has_original(&changed));
        assert!(links.begin(folders.root(), &changed).is_none());
        assert!(links.has_original(&entry("d", 1, 3)));
    }
}
