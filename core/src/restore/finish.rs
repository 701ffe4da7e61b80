//! The end of a restore: folders get their metadata, after everything in them was made.
//!
//! Making an entry changes its folder's times, setting metadata does not: once all entries are
//! there, folders can be done in table order, which opens every folder once. Only those whose
//! mode keeps their owner from going in wait until the end, and are done deepest first.
//!
//! The folders' entries are remembered up to a bound; beyond it the table is walked once more.

use std::{collections::HashSet, sync::Arc};

use futures::StreamExt;

use super::{
    Context,
    control::is_of_one_object,
    folders::{Folder, PathKey, Trail},
    scope::Position,
};
use crate::{
    entry::{Entry, EntryKind},
    error::Result,
    format::page::Page,
    repository::Table,
    tasks,
};

/// Folders whose entries are remembered: some 10 MiB.
const REMEMBERED_MAX: usize = 16_384;
/// What the owner needs to go into a folder and change it.
const OWNER_ACCESS: u32 = 0o700;

/// What the plan learned about folders.
#[derive(Debug)]
pub(super) struct Finishing {
    /// The folders in table order; `None` once there were too many.
    remembered: Option<Vec<Pending>>,
    /// Folders that are not there; with all below.
    refused: HashSet<PathKey>,
    /// Folders that keep the metadata that they have.
    left_alone: HashSet<PathKey>,
    /// Folders that the filter does not accept, made for what is in them.
    led: HashSet<PathKey>,
}

#[derive(Debug)]
struct Pending {
    parent: Arc<Folder>,
    entry: Entry,
    is_accepted: bool,
}

impl Default for Finishing {
    fn default() -> Self {
        Self {
            remembered: Some(Vec::new()),
            refused: HashSet::new(),
            left_alone: HashSet::new(),
            led: HashSet::new(),
        }
    }
}

impl Finishing {
    /// A folder of the table, `is_accepted` by the filter or perhaps only leading to something.
    pub(super) fn add(&mut self, parent: &Arc<Folder>, entry: Entry, is_accepted: bool) {
        if let Some(folders) = &mut self.remembered {
            folders.push(Pending { parent: parent.clone(), entry, is_accepted });
            if folders.len() > REMEMBERED_MAX {
                self.remembered = None;
            }
        }
    }

    /// The folder could not be made.
    pub(super) fn refuse(&mut self, folder: PathKey) {
        self.refused.insert(folder);
    }

    /// The folder was there and is not to be changed.
    pub(super) fn leave_alone(&mut self, folder: PathKey) {
        self.left_alone.insert(folder);
    }

    /// The folder was made for what is in it.
    pub(super) fn lead(&mut self, folder: PathKey) {
        self.led.insert(folder);
    }

    /// True if nothing in this folder was restored.
    pub(super) fn is_refused(&self, folder: PathKey) -> bool {
        self.refused.contains(&folder)
    }

    /// True if the folder has metadata of the snapshot.
    pub(super) fn is_done(&self, folder: PathKey, is_accepted: bool) -> bool {
        (is_accepted || self.led.contains(&folder))
            && !self.refused.contains(&folder)
            && !self.left_alone.contains(&folder)
    }
}

/// Sets the metadata of all folders that were restored.
///
/// # Errors
/// The target as a whole failed while the table was walked again, or the run has stopped.
pub(super) async fn finish(
    context: &Arc<Context>,
    table: &Table,
    finishing: &mut Finishing,
) -> Result<()> {
    let mut last = match finishing.remembered.take() {
        Some(mut folders) => {
            folders.retain(|pending| {
                let key = pending.parent.key_of(&pending.entry.name);
                finishing.is_done(key, pending.is_accepted)
            });
            let folders = folders.into_iter().map(|pending| (pending.parent, pending.entry));
            set_all(context, folders.collect()).await?
        }
        None => finish_by_table(context, table, finishing).await?,
    };
    last.reverse();
    let context = context.clone();
    tasks::spawn_blocking("restore: folders", move || {
        last.iter().try_for_each(|(parent, entry)| set(&context, parent, entry))
    })
    .await
}

type Folders = Vec<(Arc<Folder>, Entry)>;

async fn finish_by_table(
    context: &Arc<Context>,
    table: &Table,
    finishing: &Finishing,
) -> Result<Folders> {
    let mut trail = Trail::new(context.folders.root().clone(), false);
    let mut pages = table.pages_from(context.scope.start());
    let mut last = Vec::new();
    while let Some(loaded) = pages.next().await {
        context.control.check()?;
        let page = match loaded {
            Ok(loaded) => Arc::unwrap_or_clone(loaded.page),
            // reported by the first walk
            Err(error) if is_of_one_object(&error) => continue,
            Err(error) => return Err(error),
        };
        let (folders, is_over) = folders_of(context, page, &mut trail, finishing);
        last.extend(set_all(context, folders).await?);
        if is_over {
            break;
        }
    }
    Ok(last)
}

/// The folders of a page that are to be done, and whether it was the last page of interest.
fn folders_of(
    context: &Context,
    page: Page,
    trail: &mut Trail<bool>,
    finishing: &Finishing,
) -> (Folders, bool) {
    let mut folders = Vec::new();
    for group in page.groups {
        let path = match context.scope.position(&group.folder) {
            Position::Before => continue,
            Position::Inside(path) => path,
            Position::After => return (folders, true),
        };
        let level =
            trail.go_to(path, |parent, folder| parent.data || finishing.is_refused(folder.key()));
        let Some(level) = level.filter(|level| !level.data) else { continue };
        for entry in group.entries {
            if entry.stat.kind != EntryKind::Dir || !context.scope.names(&entry.name) {
                continue;
            }
            let accepted = context.scope.accepts(&group.folder, &entry.name, EntryKind::Dir);
            if finishing.is_done(level.folder.key_of(&entry.name), accepted) {
                folders.push((level.folder.clone(), entry));
            }
        }
    }
    (folders, false)
}

/// Sets metadata in order; returns the folders that have to wait.
async fn set_all(context: &Arc<Context>, folders: Folders) -> Result<Folders> {
    let context = context.clone();
    tasks::spawn_blocking("restore: folders", move || {
        let is_open = |entry: &Entry| entry.stat.mode & OWNER_ACCESS == OWNER_ACCESS;
        let (now, later): (Folders, Folders) =
            folders.into_iter().partition(|(_, entry)| is_open(entry));
        now.iter().try_for_each(|(parent, entry)| set(&context, parent, entry))?;
        Ok(later)
    })
    .await
}

fn set(context: &Context, parent: &Arc<Folder>, entry: &Entry) -> Result<()> {
    context.control.check()?;
    match context.folders.open(parent) {
        Ok(dir) => context.report_notes(parent, &entry.name, dir.set_metadata(&entry.name, entry)),
        Err(error) => {
            let item = parent.display(&context.control.base, &entry.name);
            context.control.item_failed(item, "its metadata cannot be set", error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_or_left_alone_is_not_done() {
        let mut finishing = Finishing::default();
        finishing.refuse(1);
        finishing.leave_alone(2);
        finishing.lead(3);
        let accepted = [1, 2, 3, 4].map(|key| finishing.is_done(key, true));
        assert_eq!(accepted, [false, false, true, true]);
        let others = [1, 2, 3, 4].map(|key| finishing.is_done(key, false));
        assert_eq!(others, [false, false, true, false]);
    }
}
