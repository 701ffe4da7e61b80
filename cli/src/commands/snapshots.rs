//! `snapshots`: the list of snapshots.

use std::collections::HashMap;

use serde::Serialize;
use strongroom_core::{
    entry::display_name,
    forget,
    repository::{Original, Repository, Snapshot, SnapshotKind},
};

use super::select::{self, Listed, short_id};
use crate::{
    access::Context,
    args::SnapshotsArgs,
    error::Result,
    exit::Exit,
    output::{Console, human, table::Table},
    time,
};

/// Prints the list.
pub async fn run(args: &SnapshotsArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let listing = list(&opened.repository, args, console);
    let listed = context.interrupt.or(listing).await?;
    let mut snapshots = listed.choose_all(&args.snapshots)?;
    if let Some(latest) = args.latest {
        snapshots = newest_of_each_group(&snapshots, latest);
    }
    if console.is_json() {
        let list: Vec<_> = snapshots.iter().map(|snapshot| SnapshotJson::new(snapshot)).collect();
        console.object(&list)?;
    } else {
        let mut out = console.out();
        for line in table(&snapshots).lines() {
            out.line(&line)?;
        }
        out.line(&human::count(snapshots.len() as u64, "snapshot"))?;
        out.finish()?;
    }
    Ok(if listed.damaged.is_empty() { Exit::Done } else { Exit::Damaged })
}

async fn list(repository: &Repository, args: &SnapshotsArgs, console: Console) -> Result<Listed> {
    if !args.forgotten {
        return select::list(repository, &args.filter, console).await;
    }
    Ok(select::filtered(forget::forgotten(repository).await?, &args.filter, console))
}

/// The `count` newest of each host and set of paths, in the order given (oldest first).
fn newest_of_each_group<'a>(snapshots: &[&'a Snapshot], count: u32) -> Vec<&'a Snapshot> {
    let mut seen: HashMap<(&str, &[String]), u32> = HashMap::new();
    let mut newest: Vec<&Snapshot> = Vec::new();
    for snapshot in snapshots.iter().rev() {
        let seen = seen.entry((&snapshot.host, &snapshot.paths)).or_default();
        *seen += 1;
        if *seen <= count {
            newest.push(snapshot);
        }
    }
    newest.reverse();
    newest
}

fn table(snapshots: &[&Snapshot]) -> Table {
    let mut header = vec!["ID", "Time", "Host", "Type", "Tags", "Paths", "Size"];
    let shows_holds = snapshots.iter().any(|snapshot| snapshot.is_held);
    header.extend(shows_holds.then_some("Held"));
    let mut table = Table::new(&header);
    for snapshot in snapshots {
        let shown = |texts: &[String]| texts.iter().map(|text| clean(text)).collect::<Vec<_>>();
        let mut row = vec![
            vec![short_id(&snapshot.id)],
            vec![time::local(snapshot.time)],
            vec![clean(&snapshot.host)],
            vec![kind(snapshot.kind).to_owned()],
            shown(&snapshot.tags),
            shown(&snapshot.paths),
            vec![human::bytes(snapshot.root.counts.bytes)],
        ];
        if shows_holds {
            row.push(snapshot.is_held.then(|| "held".to_owned()).into_iter().collect());
        }
        table.row(row);
    }
    table
}

fn clean(text: &str) -> String {
    display_name(text.as_bytes())
}

fn kind(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Full => "full",
        SnapshotKind::Incremental => "incremental",
        SnapshotKind::Differential => "differential",
    }
}

/// A snapshot in the keys that scripts for restic know.
#[derive(Debug, Serialize)]
pub struct SnapshotJson<'a> {
    id: String,
    short_id: String,
    time: String,
    hostname: &'a str,
    host: &'a str,
    username: &'a str,
    paths: &'a [String],
    tags: &'a [String],
    held: bool,
    parent: Option<String>,
    #[serde(rename = "type")]
    kind: SnapshotKind,
    /// Of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<OriginalJson>,
    summary: SummaryJson,
}

/// The snapshot that a copy was made from, and where it was made.
#[derive(Debug, Serialize)]
pub struct OriginalJson {
    repository_id: String,
    snapshot_id: String,
}

impl From<Original> for OriginalJson {
    fn from(original: Original) -> Self {
        let repository_id = original.repository.to_string();
        Self { repository_id, snapshot_id: original.snapshot.to_string() }
    }
}

#[derive(Debug, Serialize)]
struct SummaryJson {
    backup_start: String,
    backup_end: String,
    total_files_processed: u64,
    total_bytes_processed: u64,
    total_dirs: u64,
    total_others: u64,
    data_added: u64,
    unreadable: u64,
}

impl<'a> SnapshotJson<'a> {
    /// The snapshot for programs.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let counts = &snapshot.root.counts;
        Self {
            id: snapshot.id.to_string(),
            short_id: short_id(&snapshot.id),
            time: time::rfc3339(snapshot.time),
            hostname: &snapshot.host,
            host: &snapshot.host,
            username: &snapshot.user,
            paths: &snapshot.paths,
            tags: &snapshot.tags,
            held: snapshot.is_held,
            parent: snapshot.parent.map(|parent| parent.to_string()),
            kind: snapshot.kind,
            original: snapshot.original.map(OriginalJson::from),
            summary: SummaryJson {
                backup_start: time::rfc3339(snapshot.started),
                backup_end: time::rfc3339(snapshot.committed),
                total_files_processed: counts.files,
                total_bytes_processed: counts.bytes,
                total_dirs: counts.dirs,
                total_others: counts.others,
                data_added: snapshot.added_bytes,
                unreadable: snapshot.unreadable,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::select::tests::snapshot, *};

    #[test]
    fn the_newest_of_each_group_keep_their_order() {
        let all = [
            snapshot(1, "a", &["/x"], &[]),
            snapshot(2, "b", &["/x"], &[]),
            snapshot(3, "a", &["/x"], &[]),
            snapshot(4, "a", &["/y"], &[]),
        ];
        let all: Vec<&Snapshot> = all.iter().collect();
        let numbers = |count| {
            let newest = newest_of_each_group(&all, count);
            newest.iter().map(|snapshot| snapshot.sequence).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), [2, 3, 4]);
        assert_eq!(numbers(2), [1, 2, 3, 4]);
    }

    #[test]
    fn a_table_shows_what_matters_and_no_control_characters() {
        let one = snapshot(0xab, "ho\x1bst", &["/x", "/y\n"], &["t"]);
        let lines = table(&[&one]).lines();
        assert_eq!(lines.len(), 5);
        assert!(lines[2].starts_with("abababab  "), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
    }

    #[test]
    fn json_has_the_known_keys() {
        let one = snapshot(0xab, "h", &["/x"], &["t"]);
        let json = serde_json::to_value(SnapshotJson::new(&one)).unwrap();
        assert_eq!(json["short_id"], "abababab");
        assert_eq!(json["hostname"], json["host"]);
        assert_eq!(json["type"], "full");
        assert_eq!(json["time"], "1970-01-01T00:02:51Z");
        assert_eq!(json["summary"]["data_added"], 10);
    }
}
