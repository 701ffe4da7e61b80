//! From the order of a snapshot's table to that of archives.
//!
//! A table lists a folder's entries together, then those of its subfolders. Programs that unpack
//! archives expect a folder right before what is in it: they set its times once they leave it.

use strongroom_core::entry::{Entry, EntryKind, TreePath};

type Item = (TreePath, Entry);

/// Holds folders back until their content comes.
#[derive(Default)]
pub struct FoldersFirst {
    /// The folder whose entries come now.
    folder: TreePath,
    /// Folders in it, as they came.
    subfolders: Vec<Item>,
    /// Folders that are still to come, the next one last.
    pending: Vec<Item>,
}

impl FoldersFirst {
    /// Takes the next entry of the table; gives what comes next in the archive.
    pub fn push(&mut self, path: TreePath, entry: Entry) -> Vec<Item> {
        let parent = path.split_last().map(|(parent, _)| parent).unwrap_or_default();
        let mut next = Vec::new();
        if parent != self.folder {
            self.leave_folder();
            // Those before the new folder have nothing in them.
            while let Some(item) = self.pending.pop() {
                let is_reached = item.0 == parent;
                next.push(item);
                if is_reached {
                    break;
                }
            }
            self.folder = parent;
        }
        if entry.stat.kind == EntryKind::Dir {
            self.subfolders.push((path, entry));
        } else {
            next.push((path, entry));
        }
        next
    }

    /// What is left at the end of the table.
    pub fn finish(mut self) -> impl Iterator<Item = Item> {
        self.leave_folder();
        self.pending.into_iter().rev()
    }

    fn leave_folder(&mut self) {
        self.pending.extend(self.subfolders.drain(..).rev());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::entry::tests::entry;

    /// Paths in table order (a trailing slash says that it is a folder), and in archive order.
    fn ordered(paths: &[&str]) -> Vec<String> {
        let mut order = FoldersFirst::default();
        let mut items = Vec::new();
        for path in paths {
            let kind = if path.ends_with('/') { EntryKind::Dir } else { EntryKind::File };
            let path = TreePath::parse(path.trim_end_matches('/').as_bytes()).unwrap();
            let name = path.split_last().unwrap().1.to_vec();
            items.extend(order.push(path, entry(&name, kind)));
        }
        items.extend(order.finish());
        items.into_iter().map(|(path, _)| path.display()).collect()
    }

    #[test]
    fn folders_come_right_before_their_content() {
        let table = ["a/", "c", "e/", "g/", "a/x/", "a/y", "a/z/", "a/x/1", "a/z/2", "g/3"];
        let archive = ["c", "a", "a/y", "a/x", "a/x/1", "a/z", "a/z/2", "e", "g", "g/3"];
        assert_eq!(ordered(&table), archive);
    }

    #[test]
    fn a_part_of_a_snapshot_begins_with_its_folder() {
        assert_eq!(
            ordered(&["usr/bin/", "usr/bin/a", "usr/bin/b/"]),
            ["usr/bin", "usr/bin/a", "usr/bin/b"]
        );
        assert_eq!(ordered(&["usr/bin/"]), ["usr/bin"]);
        assert_eq!(ordered(&["usr/bin/a"]), ["usr/bin/a"]);
        assert!(ordered(&[]).is_empty());
    }
}
