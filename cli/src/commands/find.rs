//! `find`: entries of many snapshots, by name or path.

use futures::TryStreamExt;
use strongroom_core::{
    entry::{Entry, TreePath},
    look,
    repository::{Repository, Snapshot},
    runtime::Timestamp,
};

use super::{
    select::{self, short_id},
    with_repository,
};
use crate::{
    access::Context,
    args::{FindArgs, GlobalArgs, Patterns},
    error::{Failure, Result},
    exit::Exit,
    output::{
        Console, Out,
        entry::{EntryJson, long_line, shown_path},
    },
    password::Purpose,
    time,
};

/// What is looked for.
struct Wanted {
    patterns: Patterns,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    is_long: bool,
}

/// Prints what is found, snapshot by snapshot, oldest first.
pub fn run(args: &FindArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let wanted = Wanted {
        patterns: Patterns::new(&args.patterns, args.ignore_case).map_err(Failure::usage)?,
        oldest: args.oldest,
        newest: args.newest,
        is_long: args.long,
    };
    with_repository(global, console, Purpose::Open, async |context| {
        context.interrupt.or(search(args, &wanted, context)).await?;
        Ok(Exit::Done)
    })
}

async fn search(args: &FindArgs, wanted: &Wanted, context: &Context) -> Result<()> {
    let console = context.console;
    let opened = context.open().await?;
    let listed = select::list(&opened.repository, &args.filter, console).await?;
    let mut report = Report::new(console);
    for snapshot in listed.choose_all(&args.snapshots)? {
        search_one(&opened.repository, snapshot, wanted, &mut report).await?;
    }
    report.finish()
}

async fn search_one(
    repository: &Repository,
    snapshot: &Snapshot,
    wanted: &Wanted,
    report: &mut Report,
) -> Result<()> {
    let mut entries = look::list(repository, snapshot, &TreePath::root(), true);
    while let Some((path, entry)) = entries.try_next().await? {
        if wanted.matches(&path, &entry) {
            report.hit(snapshot, &path, &entry, wanted.is_long)?;
        }
    }
    report.end_snapshot(snapshot)
}

impl Wanted {
    fn matches(&self, path: &TreePath, entry: &Entry) -> bool {
        let mtime = &entry.stat.mtime;
        let changed = (mtime.seconds, mtime.nanoseconds);
        self.oldest.is_none_or(|oldest| changed >= oldest.parts())
            && self.newest.is_none_or(|newest| changed <= newest.parts())
            && self.patterns.matches(path, entry.stat.kind)
    }
}

/// What was found, written while it is found: an array of snapshots with their matches, or
/// lines under a heading for each snapshot.
struct Report {
    out: Out,
    is_json: bool,
    hits_in_snapshot: u64,
    snapshots: u64,
}

impl Report {
    fn new(console: Console) -> Self {
        let (out, is_json) = (console.out(), console.is_json());
        Self { out, is_json, hits_in_snapshot: 0, snapshots: 0 }
    }

    fn hit(
        &mut self,
        snapshot: &Snapshot,
        path: &TreePath,
        entry: &Entry,
        is_long: bool,
    ) -> Result<()> {
        let is_first = self.hits_in_snapshot == 0;
        self.hits_in_snapshot += 1;
        if self.is_json {
            let open = if self.snapshots == 0 { "[{\"matches\":[" } else { ",{\"matches\":[" };
            self.out.part(if is_first { open } else { "," })?;
            return self.out.json(&EntryJson::new(path, entry));
        }
        if is_first {
            if self.snapshots > 0 {
                self.out.line("")?;
            }
            let (id, time) = (short_id(&snapshot.id), time::local(snapshot.time));
            self.out.line(&format!("Found matching entries in snapshot {id} from {time}"))?;
        }
        let line = if is_long { long_line(path, entry) } else { shown_path(path) };
        self.out.line(&line)
    }

    fn end_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        let hits = std::mem::take(&mut self.hits_in_snapshot);
        if hits == 0 {
            return Ok(());
        }
        self.snapshots += 1;
        if self.is_json {
            self.out.part(&format!("],\"hits\":{hits},\"snapshot\":\"{}\"}}", snapshot.id))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.is_json {
            self.out.line(if self.snapshots == 0 { "[]" } else { "]" })?;
        }
        self.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::entry::tests::entry;
    use strongroom_core::entry::EntryKind;

    #[test]
    fn name_and_time_must_both_fit() {
        let second = 1_000_000_000;
        let changed = 1_768_487_400 * second + second / 2;
        let path = TreePath::parse(b"a/b.txt").unwrap();
        let file = entry(b"b.txt", EntryKind::File);
        let matches = |pattern: &str, oldest: Option<i64>, newest: Option<i64>| {
            let patterns = Patterns::new(&[pattern.to_owned()], false).unwrap();
            let (oldest, newest) = (oldest.map(Timestamp), newest.map(Timestamp));
            Wanted { patterns, oldest, newest, is_long: false }.matches(&path, &file)
        };
        assert!(matches("*.txt", None, None));
        assert!(matches("*.txt", Some(changed), Some(changed)));
        assert!(!matches("*.txt", Some(changed + 1), None));
        assert!(!matches("*.txt", None, Some(changed - 1)));
        assert!(!matches("*.jpg", None, None));
    }
}
