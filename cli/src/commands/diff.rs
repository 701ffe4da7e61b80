//! `diff`: what differs between two snapshots.

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_core::{
    entry::{Entry, EntryKind},
    look::{self, DiffItem, Difference},
    repository::Snapshot,
};

use super::select::{self, short_id};
use crate::{
    access::Context,
    args::DiffArgs,
    error::Result,
    exit::Exit,
    output::{
        Out,
        entry::{hex_unless_utf8, shown_path},
        human,
    },
};

/// Prints the differences, then statistics.
pub async fn run(args: &DiffArgs, context: &Context) -> Result<Exit> {
    context.interrupt.or(compare(args, context)).await?;
    Ok(Exit::Done)
}

async fn compare(args: &DiffArgs, context: &Context) -> Result<()> {
    let console = context.console;
    let opened = context.open().await?;
    let listed = select::list(&opened.repository, &args.filter, console).await?;
    let before = listed.choose(&args.before)?;
    let after = listed.choose(&args.after)?;
    let mut out = console.out();
    if !console.is_json() {
        let (from, to) = (short_id(&before.id), short_id(&after.id));
        out.line(&format!("comparing snapshot {from} to {to}:"))?;
        out.line("")?;
    }
    let mut statistics = Statistics::new(before, after);
    let mut items = look::diff(&opened.repository, before, after);
    while let Some(item) = items.try_next().await? {
        statistics.count(&item);
        let is_listed = args.metadata || item.difference != Difference::MetadataChanged;
        // That something in a folder changed is said by what changed.
        let is_folder = item.after.as_ref().is_some_and(|entry| entry.stat.kind == EntryKind::Dir);
        let is_noise = item.difference == Difference::ContentChanged && is_folder;
        if is_listed && !is_noise {
            print(&item, &mut out, console.is_json())?;
        }
    }
    if console.is_json() {
        out.object(&statistics)?;
    } else {
        out.line(&statistics.lines())?;
    }
    out.finish()
}

fn print(item: &DiffItem, out: &mut Out, is_json: bool) -> Result<()> {
    let is_folder = |entry: &Entry| entry.stat.kind == EntryKind::Dir;
    let slash = match item.after.as_ref().or(item.before.as_ref()) {
        Some(entry) if is_folder(entry) => "/",
        _ => "",
    };
    let modifier = modifier(item.difference);
    if is_json {
        let path = String::from_utf8_lossy(item.path.as_bytes());
        return out.object(&Change {
            message_type: "change",
            path: format!("/{path}{slash}"),
            path_bytes: hex_unless_utf8(&[b"/", item.path.as_bytes()].concat()),
            modifier,
        });
    }
    out.line(&format!("{modifier}    {}{slash}", shown_path(&item.path)))
}

fn modifier(difference: Difference) -> &'static str {
    match difference {
        Difference::Added => "+",
        Difference::Removed => "-",
        Difference::TypeChanged => "T",
        Difference::ContentChanged => "M",
        Difference::MetadataChanged => "U",
    }
}

#[derive(Serialize)]
struct Change {
    message_type: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    modifier: &'static str,
}

/// Counts, in the keys that scripts for restic know.
#[derive(Debug, Serialize)]
struct Statistics {
    message_type: &'static str,
    source_snapshot: String,
    target_snapshot: String,
    changed_files: u64,
    changed_metadata: u64,
    added: Side,
    removed: Side,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Side {
    files: u64,
    dirs: u64,
    others: u64,
    /// Lengths of files that are new (gone), and of the new (old) content of changed ones.
    bytes: u64,
}

impl Side {
    fn count(&mut self, entry: &Entry) {
        match entry.stat.kind {
            EntryKind::File => self.files += 1,
            EntryKind::Dir => self.dirs += 1,
            _ => self.others += 1,
        }
        self.bytes += entry.stat.size;
    }
}

impl Statistics {
    fn new(before: &Snapshot, after: &Snapshot) -> Self {
        Self {
            message_type: "statistics",
            source_snapshot: before.id.to_string(),
            target_snapshot: after.id.to_string(),
            changed_files: 0,
            changed_metadata: 0,
            added: Side::default(),
            removed: Side::default(),
        }
    }

    fn count(&mut self, item: &DiffItem) {
        match item.difference {
            Difference::Added | Difference::Removed | Difference::TypeChanged => {
                item.after.iter().for_each(|entry| self.added.count(entry));
                item.before.iter().for_each(|entry| self.removed.count(entry));
            }
            Difference::ContentChanged => {
                self.changed_files += 1;
                self.added.bytes += item.after.as_ref().map_or(0, |entry| entry.stat.size);
                self.removed.bytes += item.before.as_ref().map_or(0, |entry| entry.stat.size);
            }
            Difference::MetadataChanged => self.changed_metadata += 1,
        }
    }

    fn lines(&self) -> String {
        let (added, removed) = (&self.added, &self.removed);
        format!(
            "\nFiles:     {:>9} new, {:>9} removed, {:>9} changed\n\
             Dirs:      {:>9} new, {:>9} removed\n\
             Others:    {:>9} new, {:>9} removed\n\
             Metadata:  {:>9} changed\n  Added:   {}\n  Removed: {}",
            added.files,
            removed.files,
            self.changed_files,
            added.dirs,
            removed.dirs,
            added.others,
            removed.others,
            self.changed_metadata,
            human::bytes(added.bytes),
            human::bytes(removed.bytes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::select::tests::snapshot, *};
    use crate::output::entry::tests::entry;
    use strongroom_core::entry::TreePath;

    fn item(difference: Difference, before: Option<Entry>, after: Option<Entry>) -> DiffItem {
        DiffItem { path: TreePath::parse(b"x").unwrap(), difference, before, after }
    }

    #[test]
    fn statistics_count_both_sides() {
        let one = snapshot(1, "a", &["/"], &[]);
        let mut statistics = Statistics::new(&one, &one);
        let file = || Some(entry(b"x", EntryKind::File));
        let dir = || Some(entry(b"x", EntryKind::Dir));
        statistics.count(&item(Difference::Added, None, file()));
        statistics.count(&item(Difference::Removed, dir(), None));
        statistics.count(&item(Difference::TypeChanged, file(), dir()));
        statistics.count(&item(Difference::ContentChanged, file(), file()));
        statistics.count(&item(Difference::MetadataChanged, file(), file()));
        assert_eq!(statistics.added, Side { files: 1, dirs: 1, others: 0, bytes: 10 });
        assert_eq!(statistics.removed, Side { files: 1, dirs: 1, others: 0, bytes: 10 });
        assert_eq!((statistics.changed_files, statistics.changed_metadata), (1, 1));
        assert!(statistics.lines().contains("Added:   10 B"));
    }
}
