//! Walks a snapshot's table in order, folder by folder, and sends the files to be made.
//!
//! One step a page runs off the async threads, because it touches the sink. What happens to
//! single entries is in [`super::entries`].

use std::{collections::VecDeque, sync::Arc};

use futures::StreamExt;
use tokio::sync::mpsc;

use super::{
    Context,
    control::is_of_one_object,
    delete::{self, Extras},
    file::FileJob,
    finish::Finishing,
    folders::{Folder, Trail},
    gather::{Order, stopped},
    links::Links,
    scope::Position,
};
use crate::{
    entry::TreePath,
    error::Result,
    format::page::{Group, Page},
    repository::{LoadedPage, Table},
    tasks,
};

/// The deepest folder that is restored: far beyond what systems can make.
const DEPTH_MAX: usize = 100_000;

/// Walks the table and sends the files; ends when all of them are done.
///
/// # Errors
/// The target or the sink as a whole failed, or the run has stopped.
pub(super) async fn plan(
    context: Arc<Context>,
    table: Table,
    orders: mpsc::Sender<Order>,
) -> Result<Finishing> {
    let mut planner = Planner::new(context.clone());
    let mut pages = table.pages_from(context.scope.start());
    while let Some(loaded) = pages.next().await {
        context.control.check()?;
        let Some(page) = readable(&context, loaded)? else {
            // what is missing in the table must not be taken for gone
            planner.can_delete = false;
            continue;
        };
        planner = run(planner, move |planner| planner.page(page)).await?;
        planner = planner.send(&orders).await?;
        if planner.is_over {
            break;
        }
    }
    planner = run(planner, Planner::close).await?;
    loop {
        planner = planner.drain(&orders).await?;
        if planner.links.is_idle() && planner.jobs.is_empty() {
            return Ok(planner.finishing);
        }
    }
}

/// The page, or `None` if it is damaged, which is reported.
///
/// # Errors
/// The target as a whole failed.
pub(super) fn readable(context: &Context, loaded: Result<LoadedPage>) -> Result<Option<Page>> {
    match loaded {
        Ok(loaded) => Ok(Some(Arc::unwrap_or_clone(loaded.page))),
        Err(error) if is_of_one_object(&error) => {
            let message = format!("a part of the snapshot's table cannot be read: {error}");
            context.control.problem("table".to_owned(), message);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn run(
    mut planner: Planner,
    step: impl FnOnce(&mut Planner) + Send + 'static,
) -> Result<Planner> {
    let run = move || {
        step(&mut planner);
        Ok(planner)
    };
    tasks::spawn_blocking("restore: plan", run).await
}

/// What is known of a folder while the walk is in it or below it.
#[derive(Debug)]
pub(super) struct FolderPlan {
    pub(super) access: Access,
    /// True if it was made by this run or was empty: nothing in it has to be looked at.
    pub(super) is_fresh: bool,
    /// Folders in it, ascending, as far as their state does not follow from this one's.
    pub(super) children: VecDeque<Child>,
}

/// Whether things can be put into a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// It is there.
    Ready,
    /// Nothing of it is asked for so far; it is made when something in it is.
    Waiting,
    /// It could not be made, or is left alone.
    Refused,
}

/// A folder that the walk will come to.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Vec<u8>,
    pub(super) access: Access,
    pub(super) is_fresh: bool,
}

/// The state of the walk.
pub(super) struct Planner {
    pub(super) context: Arc<Context>,
    pub(super) trail: Trail<FolderPlan>,
    pub(super) links: Links,
    pub(super) finishing: Finishing,
    /// Files to be made, not yet sent.
    pub(super) jobs: Vec<FileJob>,
    /// Files and bytes met, not yet told.
    pub(super) found: (u64, u64),
    /// What is to be removed from the current folder.
    pub(super) extras: Option<Extras>,
    has_begun: bool,
    can_delete: bool,
    is_over: bool,
}

impl Planner {
    fn new(context: Arc<Context>) -> Self {
        let root = FolderPlan {
            access: Access::Ready,
            is_fresh: context.is_sink_empty,
            children: VecDeque::new(),
        };
        Self {
            trail: Trail::new(context.folders.root().clone(), root),
            finishing: Finishing::default(),
            links: Links::default(),
            jobs: Vec::new(),
            found: (0, 0),
            extras: None,
            has_begun: false,
            can_delete: context.options.delete && !context.scope.is_single(),
            is_over: false,
            context,
        }
    }

    /// Sends what a page gave; waits where too many names wait for their originals.
    async fn send(mut self, orders: &mpsc::Sender<Order>) -> Result<Self> {
        let (files, bytes) = std::mem::take(&mut self.found);
        if !self.context.scope.is_everything() {
            self.context.control.expect(files, bytes);
        }
        let jobs = std::mem::take(&mut self.jobs);
        if !jobs.is_empty() {
            orders.send(Order::Files(jobs)).await.map_err(|_| stopped())?;
        }
        while self.links.is_full() {
            self = self.drain(orders).await?;
        }
        Ok(self)
    }

    /// Waits until everything sent is done, then links the names that waited for it.
    async fn drain(mut self, orders: &mpsc::Sender<Order>) -> Result<Self> {
        let jobs = std::mem::take(&mut self.jobs);
        orders.send(Order::Files(jobs)).await.map_err(|_| stopped())?;
        let (all_known, known) = tokio::sync::oneshot::channel();
        orders.send(Order::Flush(all_known)).await.map_err(|_| stopped())?;
        known.await.map_err(|_| stopped())?;
        self.context.control.in_flight.wait_idle().await;
        self.context.control.check()?;
        run(self, Self::settle_links).await
    }

    fn settle_links(&mut self) {
        let jobs = self.links.settle(&self.context);
        self.jobs.extend(jobs);
    }

    fn page(&mut self, page: Page) {
        let context = self.context.clone();
        for group in page.groups {
            if context.control.check().is_err() {
                return;
            }
            let folder = group.folder.clone();
            match context.scope.position(&folder) {
                Position::Before => {}
                Position::Inside(path) => self.group(path, group),
                Position::After => {
                    self.is_over = true;
                    return;
                }
            }
        }
        if !self.links.is_idle() {
            self.settle_links();
        }
    }

    fn group(&mut self, path: &[u8], group: Group) {
        if !self.has_begun || !self.trail.is_at(path) {
            self.end_group();
            self.go_to(path);
            self.begin_group();
        }
        for entry in group.entries {
            if self.context.scope.names(&entry.name) {
                self.entry(&group.folder, entry);
            }
        }
    }

    fn go_to(&mut self, path: &[u8]) {
        while !self.trail.leads_to(path) && self.leave() {}
        while let Some(name) = self.trail.next_name(path) {
            let Some(level) = self.trail.last() else { return };
            let folder = Folder::child(&level.folder, name);
            let plan = self.descend(name, &folder);
            self.trail.enter(folder, name, plan);
        }
    }

    /// What is known of the folder that the walk goes down to. Folders that it passes by are
    /// empty in the snapshot.
    fn descend(&mut self, name: &[u8], folder: &Folder) -> FolderPlan {
        let depth = self.trail.len();
        let (mut passed, mut found) = (Vec::new(), None);
        let Some(level) = self.trail.last_mut() else { return FolderPlan::refused() };
        while let Some(child) = level.data.children.pop_front_if(|child| *child.name <= *name) {
            if child.name == name {
                found = Some(child);
            } else {
                passed.push(child);
            }
        }
        let plan = &level.data;
        let (access, is_fresh) = match found {
            _ if plan.access == Access::Refused => (Access::Refused, false),
            Some(child) => (child.access, child.is_fresh),
            None if plan.access == Access::Ready && plan.is_fresh => (Access::Ready, true),
            // its entry stands in a part of the table that cannot be read
            None => (Access::Waiting, false),
        };
        self.remove_content(&passed);
        if depth > DEPTH_MAX && access != Access::Refused {
            let item = folder.display(&self.context.control.base, b"");
            self.context.control.problem(item, format!("lies below more than {DEPTH_MAX} folders"));
            self.finishing.refuse(folder.key());
            return FolderPlan::refused();
        }
        FolderPlan { access, is_fresh, children: VecDeque::new() }
    }

    fn leave(&mut self) -> bool {
        let children = match self.trail.last_mut() {
            Some(level) => Vec::from(std::mem::take(&mut level.data.children)),
            None => return false,
        };
        self.remove_content(&children);
        self.trail.leave().is_some()
    }

    /// The end of the table.
    fn close(&mut self) {
        if !self.has_begun {
            self.begin_group();
        }
        self.end_group();
        while self.leave() {}
    }

    fn begin_group(&mut self) {
        self.has_begun = true;
        let Some(level) = self.trail.last() else { return };
        let may_hold_others = level.data.access == Access::Waiting || !level.data.is_fresh;
        self.extras = (self.can_delete && may_hold_others).then(Extras::default);
        self.list_extras();
    }

    /// Lists what is in the current folder, before anything is put into it.
    pub(super) fn list_extras(&mut self) {
        let (Some(level), Some(extras)) = (self.trail.last(), &mut self.extras) else { return };
        if extras.is_listed() || level.data.access != Access::Ready || level.data.is_fresh {
            return;
        }
        match self.context.folders.open(&level.folder).and_then(|dir| dir.names()) {
            Ok(names) => extras.set_listing(names),
            Err(error) => {
                let item = level.folder.display(&self.context.control.base, b"");
                self.context.control.item_failed(item, "cannot be listed", error);
                self.extras = None;
            }
        }
    }

    fn end_group(&mut self) {
        let Some(extras) = self.extras.take() else { return };
        if let Some(level) = self.trail.last()
            && self.can_delete
        {
            delete::remove_extras(&self.context, &level.folder, &self.path(), extras);
        }
    }

    /// Folders of the current one that are empty in the snapshot.
    fn remove_content(&mut self, children: &[Child]) {
        let Some(level) = self.trail.last().filter(|_| self.can_delete) else { return };
        for child in children {
            if child.access != Access::Ready || child.is_fresh {
                continue;
            }
            let folder = Folder::child(&level.folder, &child.name);
            let path = self.path().join(&child.name);
            match self.context.folders.open(&folder).and_then(|dir| dir.names()) {
                Ok(names) => {
                    let extras = Extras::all(names);
                    delete::remove_extras(&self.context, &folder, &path, extras);
                }
                Err(error) => {
                    let item = level.folder.display(&self.context.control.base, &child.name);
                    self.context.control.item_failed(item, "cannot be listed", error);
                }
            }
        }
    }

    /// The path in the snapshot of the current folder.
    pub(super) fn path(&self) -> TreePath {
        let base = self.context.scope.base();
        match TreePath::parse(self.trail.path()) {
            Some(path) if base.is_root() => path,
            Some(path) => path.names().fold(base.clone(), |path, name| path.join(name)),
            None => base.clone(),
        }
    }
}

impl FolderPlan {
    fn refused() -> Self {
        Self { access: Access::Refused, is_fresh: false, children: VecDeque::new() }
    }
}
