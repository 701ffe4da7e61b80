//! Reading everything back, to see that it is what the snapshot says.
//!
//! Compares content by chunk ids, and metadata except for owners: which owner is right is the
//! sink's decision. Of holes beyond 256 MiB a file only both ends are read.

use std::{io, sync::Arc};

use futures::{StreamExt, stream::FuturesUnordered};

use super::{
    Context,
    control::is_of_one_object,
    decide,
    existing::{Comparison, Scratch},
    finish::Finishing,
    folders::{Folder, Trail},
    scope::Position,
};
use crate::{
    entry::{Content, Details, Entry, EntryKind, Stat},
    error::Result,
    format::page::Page,
    repository::{Table, pieces_in},
    source::SinkRead,
    tasks,
};

/// An entry with its folder.
type Place = (Arc<Folder>, Entry);

/// Reads back all that was restored or found right, and reports what differs.
///
/// # Errors
/// The target as a whole failed, or the run has stopped.
pub(super) async fn read_back(
    context: &Arc<Context>,
    table: &Table,
    finishing: &Finishing,
) -> Result<()> {
    let mut trail = Trail::new(context.folders.root().clone(), false);
    let mut pages = table.pages_from(context.scope.start());
    let mut running = FuturesUnordered::new();
    while let Some(loaded) = pages.next().await {
        context.control.check()?;
        let page = match loaded {
            Ok(loaded) => Arc::unwrap_or_clone(loaded.page),
            // reported by the first walk
            Err(error) if is_of_one_object(&error) => continue,
            Err(error) => return Err(error),
        };
        let (places, is_over) = places_of(context, page, &mut trail, finishing);
        // it reads, too, and must not stand still while the next page comes
        running.push(tasks::apart(check_all(context.clone(), places)));
        if running.len() >= context.options.workers {
            running.next().await.transpose()?;
        }
        if is_over {
            break;
        }
    }
    while let Some(checked) = running.next().await {
        checked?;
    }
    Ok(())
}

/// The entries of a page that must be right, and whether it was the last page of interest.
fn places_of(
    context: &Context,
    page: Page,
    trail: &mut Trail<bool>,
    finishing: &Finishing,
) -> (Vec<Place>, bool) {
    let mut places = Vec::new();
    for group in page.groups {
        let path = match context.scope.position(&group.folder) {
            Position::Before => continue,
            Position::Inside(path) => path,
            Position::After => return (places, true),
        };
        let level =
            trail.go_to(path, |parent, folder| parent.data || finishing.is_refused(folder.key()));
        let Some(level) = level.filter(|level| !level.data) else { continue };
        for entry in group.entries {
            let key = level.folder.key_of(&entry.name);
            let kind = entry.stat.kind;
            let accepted = context.scope.names(&entry.name)
                && context.scope.accepts(&group.folder, &entry.name, kind);
            let is_done = match kind {
                EntryKind::Dir => finishing.is_done(key, accepted),
                _ => accepted,
            };
            if is_done && !context.control.is_exempt(key) {
                places.push((level.folder.clone(), entry));
            }
        }
    }
    (places, false)
}

async fn check_all(context: Arc<Context>, places: Vec<Place>) -> Result<()> {
    let (listed, inline): (Vec<Place>, Vec<Place>) =
        places.into_iter().partition(|(_, entry)| matches!(entry.content, Content::Listed { .. }));
    let shared = context.clone();
    tasks::spawn_blocking("restore: read back", move || {
        let mut scratch = Scratch::new(&shared.keys);
        for (folder, entry) in &inline {
            shared.control.check()?;
            let checked = check_inline(&shared, folder, entry, &mut scratch);
            report(&shared, folder, entry, checked);
        }
        Ok(())
    })
    .await?;
    for (folder, entry) in listed {
        check_listed(&context, folder, entry).await?;
    }
    Ok(())
}

/// What a check found: `None` if all is right.
type Checked = io::Result<Option<&'static str>>;

fn report(context: &Context, folder: &Folder, entry: &Entry, checked: Checked) {
    let message = match checked {
        Ok(None) if entry.stat.kind == EntryKind::File => {
            return context.control.count.files_verified.add(1);
        }
        Ok(None) => return,
        Ok(Some(what)) => format!("read back: its {what} differs from the snapshot"),
        Err(error) => format!("cannot be read back: {error}"),
    };
    let item = folder.display(&context.control.base, &entry.name);
    context.control.problem(item, message);
}

fn check_inline(
    context: &Context,
    folder: &Arc<Folder>,
    entry: &Entry,
    scratch: &mut Scratch,
) -> Checked {
    if let Some(what) = check_metadata(context, folder, entry)? {
        return Ok(Some(what));
    }
    let Content::Inline(pieces) = &entry.content else { return Ok(None) };
    if entry.stat.kind != EntryKind::File || pieces.is_empty() {
        return Ok(None);
    }
    let mut comparison = Comparison::sampling();
    comparison.step(&*open(context, folder, entry)?, pieces, scratch);
    Ok((!comparison.is_equal()).then_some("content"))
}

async fn check_listed(context: &Arc<Context>, folder: Arc<Folder>, entry: Entry) -> Result<()> {
    let place = Arc::new((folder, entry));
    let lists = match &place.1.content {
        Content::Listed { lists, .. } => lists.clone(),
        Content::Inline(_) => Vec::new(),
    };
    let (shared, at) = (context.clone(), place.clone());
    let mut checked = tasks::spawn_blocking("restore: read back", move || {
        Ok(check_metadata(&shared, &at.0, &at.1))
    })
    .await?;
    let mut comparison = Comparison::sampling();
    for list in &lists {
        context.control.check()?;
        if !matches!(checked, Ok(None)) {
            break;
        }
        let pieces = match pieces_in(&context.packs, list).await {
            Ok(pieces) => pieces,
            Err(error) if is_of_one_object(&error) => {
                checked = Err(io::Error::other(error));
                break;
            }
            Err(error) => return Err(error),
        };
        let (shared, at) = (context.clone(), place.clone());
        (checked, comparison) = tasks::spawn_blocking("restore: read back", move || {
            let checked = open(&shared, &at.0, &at.1).map(|file| {
                comparison.matches.clear();
                comparison.step(&*file, &pieces, &mut Scratch::new(&shared.keys));
                (!comparison.is_equal()).then_some("content")
            });
            Ok((checked, comparison))
        })
        .await?;
    }
    report(context, &place.0, &place.1, checked);
    Ok(())
}

fn open(context: &Context, folder: &Arc<Folder>, entry: &Entry) -> io::Result<Box<dyn SinkRead>> {
    context.folders.open(folder)?.open_file(&entry.name)
}

fn check_metadata(context: &Context, folder: &Arc<Folder>, entry: &Entry) -> Checked {
    let dir = context.folders.open(folder)?;
    let Some(stat) = dir.stat(&entry.name)? else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it is not there"));
    };
    let mut details = dir.details(&entry.name)?;
    if context.leaves_out_xattrs {
        details.xattrs.clone_from(&entry.details.xattrs);
    }
    Ok((!decide::is_shape_right(entry, &stat, &details)).then(|| differing(entry, &stat, &details)))
}

/// What to call the difference.
fn differing(entry: &Entry, stat: &Stat, details: &Details) -> &'static str {
    let wanted = &entry.stat;
    if wanted.kind != stat.kind {
        "kind"
    } else if wanted.size != stat.size && wanted.kind == EntryKind::File {
        "size"
    } else if wanted.mtime != stat.mtime {
        "time"
    } else if entry.details.link_target != details.link_target {
        "link target"
    } else if wanted.device_number != stat.device_number {
        "device number"
    } else if entry.details.xattrs != details.xattrs {
        "extended attributes"
    } else {
        "mode"
    }
}
