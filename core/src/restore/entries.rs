//! What the plan does with single entries: makes folders and special ones, and decides about
//! files.

use std::{io, sync::Arc};

use super::{
    Context, Overwrite, decide, delete,
    file::FileJob,
    folders::Folder,
    links::FurtherName,
    plan::{Access, Child, Planner},
};
use crate::entry::{Entry, EntryKind, Stat, TreePath};

impl Planner {
    /// One entry of the current folder, whose path in the snapshot is `path`.
    pub(super) fn entry(&mut self, path: &TreePath, entry: Entry) {
        let Some(level) = self.trail.last() else { return };
        if level.data.access == Access::Refused {
            return;
        }
        if let Some(extras) = &mut self.extras {
            extras.add_known(&entry.name);
        }
        let kind = entry.stat.kind;
        if !self.context.scope.accepts(path, &entry.name, kind) {
            if kind == EntryKind::Dir {
                self.wait_for_content(entry);
            }
            return;
        }
        if !self.make_ready() {
            return;
        }
        match kind {
            EntryKind::Dir => self.dir(entry),
            EntryKind::File => self.file(entry),
            _ => self.special(entry),
        }
    }

    /// Makes the folders that lead here and were not asked for by themselves. False if one of
    /// them cannot be made.
    fn make_ready(&mut self) -> bool {
        let mut parent_is_fresh = self.context.is_sink_empty;
        for depth in 1..self.trail.len() {
            let Some(level) = self.trail.get(depth) else { return false };
            let (access, folder) = (level.data.access, level.folder.clone());
            let made = match access {
                Access::Ready => Ok(level.data.is_fresh),
                Access::Refused => return false,
                Access::Waiting => self.make_folder(&folder, parent_is_fresh, None),
            };
            match made {
                Ok(is_fresh) => {
                    parent_is_fresh = is_fresh;
                    if access == Access::Waiting {
                        self.set_access(depth, Access::Ready, is_fresh);
                        self.context.control.count.dirs.add(1);
                        self.finishing.lead(folder.key());
                    }
                }
                Err(error) => {
                    self.refuse_folder(&folder, error);
                    (depth..self.trail.len())
                        .for_each(|below| self.set_access(below, Access::Refused, false));
                    return false;
                }
            }
        }
        self.list_extras();
        true
    }

    fn set_access(&mut self, depth: usize, access: Access, is_fresh: bool) {
        if let Some(level) = self.trail.get_mut(depth) {
            level.data.access = access;
            level.data.is_fresh = is_fresh;
        }
    }

    fn refuse_folder(&mut self, folder: &Folder, error: io::Error) {
        let item = folder.display(&self.context.control.base, b"");
        self.finishing.refuse(folder.key());
        self.context.control.item_failed(item, "the folder cannot be made", error);
    }

    /// A folder that the filter does not accept: something in it may be accepted.
    fn wait_for_content(&mut self, entry: Entry) {
        if let Some(level) = self.trail.last_mut() {
            let is_fresh = level.data.is_fresh;
            let child = Child { name: entry.name.clone(), access: Access::Waiting, is_fresh };
            level.data.children.push_back(child);
            self.finishing.add(&level.folder, entry, false);
        }
    }

    fn dir(&mut self, entry: Entry) {
        let Some(level) = self.trail.last() else { return };
        let (parent, parent_is_fresh) = (level.folder.clone(), level.data.is_fresh);
        let folder = Folder::child(&parent, &entry.name);
        let (access, is_fresh) = match self.make_folder(&folder, parent_is_fresh, Some(&entry.stat))
        {
            Ok(is_new) => (Access::Ready, is_new),
            Err(error) => {
                self.refuse_folder(&folder, error);
                (Access::Refused, false)
            }
        };
        let follows = parent_is_fresh && is_fresh && !self.context.scope.is_filtered();
        if let Some(level) = self.trail.last_mut().filter(|_| !follows) {
            let child = Child { name: entry.name.clone(), access, is_fresh };
            level.data.children.push_back(child);
        }
        if access == Access::Ready {
            self.context.control.count.dirs.add(1);
            if self.context.options.overwrite == Overwrite::Never && !is_fresh {
                self.finishing.leave_alone(folder.key());
            }
            self.finishing.add(&parent, entry, true);
        }
    }

    /// Makes or opens a folder; true if it was not there. `stat` is what the snapshot has for it.
    fn make_folder(
        &self,
        folder: &Arc<Folder>,
        parent_is_fresh: bool,
        stat: Option<&Stat>,
    ) -> io::Result<bool> {
        let context = &*self.context;
        let Some(parent) = folder.parent() else { return Ok(false) };
        if context.options.is_dry_run && parent_is_fresh {
            return Ok(true);
        }
        let dir = context.folders.open(parent)?;
        let existing = if context.options.is_dry_run {
            dir.stat(folder.name())?
        } else {
            match dir.open_dir(folder.name(), false) {
                Ok((_, true)) => return Ok(true),
                Ok((opened, false)) => return opened.remove_leftovers().map(|()| false),
                Err(error) => Some(dir.stat(folder.name())?.ok_or(error)?),
            }
        };
        match existing {
            None => Ok(true),
            Some(existing) if existing.kind == EntryKind::Dir => {
                if context.options.is_dry_run {
                    return Ok(false);
                }
                // it is a folder, and yet does not open: the same error again, with its cause
                dir.open_dir(folder.name(), false).map(|(_, is_new)| is_new)
            }
            Some(existing) => {
                let overwrite = context.options.overwrite;
                let replaces = stat.map_or(overwrite == Overwrite::Always, |stat| {
                    decide::is_wanted(overwrite, stat, Some(&existing))
                });
                if !replaces {
                    return Err(io::Error::other("something else is there and left alone"));
                }
                if !context.options.is_dry_run {
                    dir.open_dir(folder.name(), true)?;
                }
                Ok(true)
            }
        }
    }

    fn file(&mut self, entry: Entry) {
        let size = entry.stat.size;
        self.found.0 += 1;
        self.found.1 = self.found.1.saturating_add(size);
        if let Some(message) = decide::refuse(&entry) {
            return self.fail(&entry, message);
        }
        let Some((folder, existing)) = self.look(&entry) else { return };
        if !decide::is_wanted(self.context.options.overwrite, &entry.stat, existing.as_ref()) {
            self.context.control.count.files_skipped.add(1);
            self.context.control.exempt(folder.key_of(&entry.name));
            return self.context.control.done(1, size);
        }
        if !self.clear_way(&entry, existing.as_ref()) {
            return;
        }
        let existing = existing.filter(|stat| stat.kind == EntryKind::File);
        if entry.is_hard_linked() && self.links.has_original(&entry) {
            return self.links.wait(FurtherName { folder, entry, existing });
        }
        let outcome = self.links.begin(&folder, &entry);
        self.jobs.push(FileJob { folder, entry, existing, outcome });
    }

    fn special(&mut self, entry: Entry) {
        let Some((folder, existing)) = self.look(&entry) else { return };
        if !decide::is_wanted(self.context.options.overwrite, &entry.stat, existing.as_ref()) {
            return self.context.control.exempt(folder.key_of(&entry.name));
        }
        if !self.clear_way(&entry, existing.as_ref()) {
            return;
        }
        let existing = existing.filter(|stat| stat.kind != EntryKind::Dir);
        if entry.is_hard_linked() && self.links.has_original(&entry) {
            return self.links.wait(FurtherName { folder, entry, existing });
        }
        let outcome = self.links.begin(&folder, &entry);
        let made = make_special(&self.context, &folder, &entry, existing.as_ref());
        if let Some(outcome) = outcome {
            outcome.set(made.is_ok());
        }
        match made {
            Ok(()) => self.context.control.count.others.add(1),
            Err(error) => {
                let item = folder.display(&self.context.control.base, &entry.name);
                self.context.control.exempt(folder.key_of(&entry.name));
                self.context.control.item_failed(item, "cannot be made", error);
            }
        }
    }

    /// The current folder, and what is there under the entry's name.
    fn look(&self, entry: &Entry) -> Option<(Arc<Folder>, Option<Stat>)> {
        let level = self.trail.last()?;
        if level.data.is_fresh {
            return Some((level.folder.clone(), None));
        }
        match self.context.folders.open(&level.folder).and_then(|dir| dir.stat(&entry.name)) {
            Ok(existing) => Some((level.folder.clone(), existing)),
            Err(error) => {
                let item = level.folder.display(&self.context.control.base, &entry.name);
                self.context.control.exempt(level.folder.key_of(&entry.name));
                self.context.control.item_failed(item, "cannot be looked at", error);
                None
            }
        }
    }

    /// Removes a folder that stands where something else is to be, if removing is asked for.
    fn clear_way(&self, entry: &Entry, existing: Option<&Stat>) -> bool {
        let is_blocked = existing.is_some_and(|stat| stat.kind == EntryKind::Dir);
        if !is_blocked || self.context.options.is_dry_run {
            return true;
        }
        let Some(level) = self.trail.last() else { return false };
        let removed = if self.context.options.delete {
            delete::remove(&self.context, &level.folder, &self.path(), &entry.name)
        } else {
            Ok(false)
        };
        match removed {
            Ok(true) => return true,
            Ok(false) => self.fail(entry, "a folder is in the way, which only deleting removes"),
            Err(error) => self.fail(entry, format!("a folder is in the way: {error}")),
        }
        false
    }

    fn fail(&self, entry: &Entry, message: impl Into<String>) {
        let Some(level) = self.trail.last() else { return };
        let control = &self.context.control;
        control.exempt(level.folder.key_of(&entry.name));
        control.problem(level.folder.display(&control.base, &entry.name), message);
        if entry.stat.kind == EntryKind::File {
            control.done(1, entry.stat.size);
        }
    }
}

fn make_special(
    context: &Context,
    folder: &Arc<Folder>,
    entry: &Entry,
    existing: Option<&Stat>,
) -> io::Result<()> {
    if context.options.is_dry_run {
        return Ok(());
    }
    let dir = context.folders.open(folder)?;
    if let Some(stat) = existing {
        let details = dir.details(&entry.name)?;
        if decide::is_same_thing(entry, stat, &details) {
            context.settle_metadata(folder, entry, stat);
            return Ok(());
        }
    }
    dir.create_special(entry)?;
    context.report_notes(folder, &entry.name, dir.set_metadata(&entry.name, entry));
    Ok(())
}
