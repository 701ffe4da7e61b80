//! `copy`: snapshots of one repository into another one, each with its own result.

use serde::Serialize;
use strongroom_core::{
    backup::BackupReport,
    copy::{Copied, Copier, CopyOptions},
    error::ErrorKind,
    id::SessionId,
    repository::Snapshot,
};

use super::{
    requests::Requests,
    select::{self, short_id},
    with_all,
};
use crate::{
    access::{Access, Context},
    args::{CopyArgs, GlobalArgs, default_workers},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{Console, human, progress::Reporter},
    password::Purpose,
};

/// Copies, and says what became of each snapshot.
pub fn run(args: &CopyArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let destination = Access::new(global, Purpose::Open)?;
    let origin = Access::origin(&args.from, global, &destination)?;
    with_all(vec![origin, destination], console, async |contexts| match contexts {
        [origin, destination] => work(args, origin, destination).await,
        _ => Err(Failure::usage("no repository was named")),
    })
}

async fn work(args: &CopyArgs, origin: &Context, context: &Context) -> Result<Exit> {
    let console = context.console;
    let from = origin.open().await?;
    let to = context.open().await?;
    let options = CopyOptions {
        client: context.client_id(),
        is_dry_run: args.dry_run,
        workers: args.workers.unwrap_or_else(default_workers),
        compression: args.compression,
    };
    let opening = async {
        let opened = Copier::open(&from.repository, &to.repository, options).await;
        opened.doing(|| "cannot copy".to_owned())
    };
    let mut copier = context.interrupt.or(opening).await?;
    let listed = select::filtered(copier.originals().clone(), &args.filter, console);
    let mut chosen: Vec<Snapshot> =
        listed.choose_all(&args.snapshots)?.into_iter().cloned().collect();
    chosen.sort_by_key(|snapshot| (snapshot.time, snapshot.id));
    chosen.dedup_by_key(|snapshot| snapshot.id);
    let mut tally = Tally::new(args.dry_run);
    let mut exit = if listed.damaged.is_empty() { Exit::Done } else { Exit::Damaged };
    for snapshot in &chosen {
        let reporter = Reporter::start(console, context.interrupt.clone(), "copy");
        let copied = copier.copy(snapshot, reporter.clone()).await;
        reporter.finish();
        match copied {
            Ok(copied) => tally.add(snapshot, &copied, console)?,
            Err(error) => {
                let concerns_it_alone = concerns_one(error.kind());
                let name = short_id(&snapshot.id);
                let failure = Failure::from(error).doing(format!("cannot copy snapshot {name}"));
                if !concerns_it_alone {
                    return Err(failure);
                }
                if exit == Exit::Done {
                    exit = failure.exit();
                }
                tally.failed += 1;
                console.failure(&failure);
            }
        }
    }
    tally.finish(Requests::from(from.requests()), Requests::from(to.requests()), console)?;
    Ok(exit)
}

/// False if the next snapshot would fail for the same reason.
fn concerns_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Damaged | ErrorKind::NotFound | ErrorKind::Conflict)
}

/// What became of one snapshot.
#[derive(Debug, Serialize)]
struct Line {
    message_type: &'static str,
    /// The snapshot that was copied.
    original_id: String,
    status: &'static str,
    snapshot_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<Added>,
}

/// What a copy cost.
#[derive(Debug, Serialize)]
struct Added {
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    bytes_read: u64,
    data_added: u64,
    data_added_packed: u64,
    packs_written: u64,
    packs_adopted: u64,
    total_duration: f64,
}

impl From<&BackupReport> for Added {
    fn from(report: &BackupReport) -> Self {
        Self {
            files_new: report.files.new,
            files_changed: report.files.changed,
            files_unmodified: report.files.unmodified,
            bytes_read: report.read_bytes,
            data_added: report.added_bytes,
            data_added_packed: report.stored_bytes,
            packs_written: report.packs_written,
            packs_adopted: report.packs_adopted,
            total_duration: report.duration.as_secs_f64(),
        }
    }
}

/// The result of the whole run.
#[derive(Debug, Serialize)]
struct Summary {
    message_type: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    snapshots_copied: u64,
    snapshots_present: u64,
    snapshots_failed: u64,
    data_added: u64,
    data_added_packed: u64,
    from_requests: Requests,
    requests: Requests,
}

/// Counts results and prints each.
struct Tally {
    is_dry_run: bool,
    copied: u64,
    present: u64,
    failed: u64,
    added_bytes: u64,
    stored_bytes: u64,
}

impl Tally {
    fn new(is_dry_run: bool) -> Self {
        Self { is_dry_run, copied: 0, present: 0, failed: 0, added_bytes: 0, stored_bytes: 0 }
    }

    fn add(&mut self, snapshot: &Snapshot, copied: &Copied, console: Console) -> Result<()> {
        match copied {
            Copied::Now(report) => {
                self.copied += 1;
                self.added_bytes += report.added_bytes;
                self.stored_bytes += report.stored_bytes;
            }
            Copied::Before(_) => self.present += 1,
        }
        if console.is_json() {
            return console.object(&self.line(snapshot, copied));
        }
        console.summary(&[self.text(snapshot, copied)])
    }

    fn line(&self, snapshot: &Snapshot, copied: &Copied) -> Line {
        let text = |id: SessionId| id.to_string();
        let (status, snapshot_id, added) = match copied {
            Copied::Before(id) => ("present", Some(text(*id)), None),
            Copied::Now(report) if self.is_dry_run => {
                ("would_copy", None, Some(Added::from(&**report)))
            }
            Copied::Now(report) => {
                ("copied", report.snapshot.map(text), Some(Added::from(&**report)))
            }
        };
        let original_id = text(snapshot.id);
        Line { message_type: "snapshot", original_id, status, snapshot_id, added }
    }

    fn text(&self, snapshot: &Snapshot, copied: &Copied) -> String {
        let original = short_id(&snapshot.id);
        match copied {
            Copied::Before(id) => format!("{original}: there already, as {}", short_id(id)),
            Copied::Now(report) => {
                let added = human::bytes(report.added_bytes);
                match &report.snapshot {
                    Some(id) => format!("{original}: copied as {}, added {added}", short_id(id)),
                    None => format!("{original}: would be copied, would add {added}"),
                }
            }
        }
    }

    fn finish(self, from_requests: Requests, requests: Requests, console: Console) -> Result<()> {
        if console.is_json() {
            return console.object(&Summary {
                message_type: "summary",
                dry_run: self.is_dry_run,
                snapshots_copied: self.copied,
                snapshots_present: self.present,
                snapshots_failed: self.failed,
                data_added: self.added_bytes,
                data_added_packed: self.stored_bytes,
                from_requests,
                requests,
            });
        }
        let verb = if self.is_dry_run { "would copy" } else { "copied" };
        let mut lines = vec![format!(
            "{verb} {}, {} there already, {} failed; added {} ({} stored)",
            human::count(self.copied, "snapshot"),
            self.present,
            self.failed,
            human::bytes(self.added_bytes),
            human::bytes(self.stored_bytes),
        )];
        if console.is_verbose() {
            lines.extend([format!("from {}", from_requests.line()), requests.line()]);
        }
        console.summary(&lines)
    }
}
