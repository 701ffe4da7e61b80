//! `ls`: what a snapshot holds.

use futures::TryStreamExt;
use serde::Serialize;
use strongroom_core::{
    entry::TreePath,
    look,
    repository::{Repository, Snapshot},
};

use super::{
    select::{self, short_id},
    snapshots::SnapshotJson,
};
use crate::{
    access::Context,
    args::LsArgs,
    error::{Doing, Result},
    exit::Exit,
    output::{
        Console,
        entry::{EntryJson, long_line, shown_path},
    },
    time,
};

/// Prints the entries.
pub async fn run(args: &LsArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let work = async {
        let listed = select::list(&opened.repository, &args.filter, console).await?;
        let snapshot = listed.choose(&args.snapshot)?;
        print(args, &opened.repository, snapshot, console).await
    };
    context.interrupt.or(work).await?;
    Ok(Exit::Done)
}

/// As restic does: without a path everything, with a path only that folder.
async fn print(
    args: &LsArgs,
    repository: &Repository,
    snapshot: &Snapshot,
    console: Console,
) -> Result<()> {
    let path = args.path.clone().unwrap_or_else(TreePath::root);
    let is_recursive = args.recursive || args.path.is_none();
    let mut out = console.out();
    if console.is_json() {
        out.object(&Line { message_type: "snapshot", value: SnapshotJson::new(snapshot) })?;
    } else if console.is_verbose() {
        let (id, time) = (short_id(&snapshot.id), time::local(snapshot.time));
        console.note(&format!("snapshot {id} of {} at {time}", snapshot.paths.join(", ")));
    }
    let mut entries = look::list(repository, snapshot, &path, is_recursive);
    let doing = || format!("cannot list {}", shown_path(&path));
    while let Some((path, entry)) = entries.try_next().await.doing(doing)? {
        if console.is_json() {
            out.object(&Line { message_type: "node", value: EntryJson::new(&path, &entry) })?;
        } else if args.long {
            out.line(&long_line(&path, &entry))?;
        } else {
            out.line(&shown_path(&path))?;
        }
    }
    out.finish()
}

#[derive(Serialize)]
struct Line<T> {
    message_type: &'static str,
    #[serde(flatten)]
    value: T,
}
