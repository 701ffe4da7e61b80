//! `backup`: from files, standard input or a command to a new snapshot.

use serde::Serialize;
use strongroom_core::{
    backup::{self, BackupOptions, BackupReport, Changes, Parent},
    format::slot::RecoveryKey,
    repository::InitOptions,
};

use super::{
    init, lanes,
    requests::Requests,
    select::{self, short_id},
    with_all,
};
use crate::{
    access::{Access, Context, Opened},
    args::{BackupArgs, FilterArgs, GlobalArgs, default_workers},
    env,
    error::{Doing, Result},
    exit::Exit,
    output::{Console, human, progress::Reporter},
    password::Purpose,
    sources,
};

/// How often a backup that was given up by a prune (a machine that slept, say) starts again.
const RESTARTS_MAX: u32 = 2;

/// Backs up, then says what was done.
pub fn run(args: BackupArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    sources::check(&args)?;
    let purpose = if args.init { Purpose::Create } else { Purpose::Open };
    let accesses = Access::all(global, purpose)?;
    with_all(accesses, console, async |contexts| match contexts {
        [context] => work(&args, context).await,
        _ => lanes::run(&args, contexts).await,
    })
}

async fn work(args: &BackupArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let (mut opened, key) = open(args, context).await?;
    let mut outcome = save(args, &opened, context).await;
    for _ in 0..RESTARTS_MAX {
        let Err(failure) = &outcome else { break };
        if failure.exit() != Exit::Busy || !sources::can_be_read_again(args) {
            break;
        }
        console.note(&format!("{failure}; starting again: what was stored is not sent twice"));
        opened = context.open().await?;
        outcome = save(args, &opened, context).await;
    }
    let (report, options) = match (outcome, &key) {
        (Ok(done), _) => done,
        (Err(failure), Some(key)) if console.is_json() => {
            // Without a summary to put it in, the key must not be lost.
            init::show(&opened.repository, key, console)?;
            return Err(failure);
        }
        (Err(failure), _) => return Err(failure),
    };
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        let new = key.as_ref().map(|key| NewRepository::new(&opened, key));
        console.object(&Summary::new(&report, &options, requests, new))?;
    } else {
        let mut lines = lines(&report, &options);
        lines.extend(console.is_verbose().then(|| requests.line()));
        console.summary(&lines)?;
    }
    Ok(if report.problem_count == 0 { Exit::Done } else { Exit::Incomplete })
}

/// Opens the repository, or makes it; people see the recovery key before anything else happens.
pub(super) async fn open(
    args: &BackupArgs,
    context: &Context,
) -> Result<(Opened, Option<RecoveryKey>)> {
    if !args.init {
        return Ok((context.open().await?, None));
    }
    let init = InitOptions { parity: args.parity, ..InitOptions::default() };
    let (opened, key) = context.open_or_init(&init).await?;
    if let (Some(key), false) = (&key, context.console.is_json()) {
        init::show(&opened.repository, key, context.console)?;
    }
    Ok((opened, key))
}

async fn save(
    args: &BackupArgs,
    opened: &Opened,
    context: &Context,
) -> Result<(BackupReport, BackupOptions)> {
    let repositories = std::iter::once(&context.access);
    let source = sources::source(args, repositories, context.runtime.clock.now())?;
    let options = options(args, opened, context).await?;
    let reporter = Reporter::start(context.console, context.interrupt.clone(), "archival");
    let report = backup::backup(&opened.repository, source, &options, reporter.clone()).await;
    reporter.finish();
    Ok((report.doing(|| "cannot back up".to_owned())?, options))
}

pub(super) async fn options(
    args: &BackupArgs,
    opened: &Opened,
    context: &Context,
) -> Result<BackupOptions> {
    let parent = match &args.parent {
        None => Parent::Automatic,
        Some(choice) => {
            let filter = FilterArgs::default();
            let listing = select::list(&opened.repository, &filter, context.console);
            let listed = context.interrupt.or(listing).await?;
            Parent::Snapshot(listed.choose(choice)?.id)
        }
    };
    Ok(BackupOptions {
        host: args.host.clone().unwrap_or_else(env::host_name),
        user: env::user_name(),
        tags: args.tags(),
        time: args.time,
        kind: args.kind.into(),
        parent,
        client: context.client_id(),
        is_dry_run: args.dry_run,
        workers: args.workers.unwrap_or_else(default_workers),
        compression: args.compression,
    })
}

pub(super) fn lines(report: &BackupReport, options: &BackupOptions) -> Vec<String> {
    let row = |name: &str, changes: &Changes| {
        format!(
            "{name:<7} {:>9} new, {:>9} changed, {:>9} unmodified",
            changes.new, changes.changed, changes.unmodified
        )
    };
    let verb = if options.is_dry_run { "would add" } else { "added" };
    let mut lines = vec![
        row("Files:", &report.files),
        row("Dirs:", &report.dirs),
        row("Others:", &report.others),
        format!(
            "{verb} {} ({} stored)",
            human::bytes(report.added_bytes),
            human::bytes(report.stored_bytes)
        ),
        format!(
            "processed {}, {} in {}",
            human::count(total(&report.files), "file"),
            human::bytes(report.total_bytes),
            human::took(report.duration)
        ),
    ];
    if report.packs_adopted > 0 {
        let packs = human::count(report.packs_adopted, "pack");
        lines.push(format!("took over {packs} of an interrupted run"));
    }
    if report.problem_count > 0 {
        let items = human::count(report.problem_count, "item");
        lines.push(format!("{items} could not be read, or changed meanwhile"));
    }
    if let Some(snapshot) = &report.snapshot {
        lines.push(format!("snapshot {} saved", short_id(snapshot)));
    }
    if let Some(head) = &report.head {
        lines.push(format!("head {}", blake3::Hash::from(*head).to_hex()));
    }
    lines
}

fn total(changes: &Changes) -> u64 {
    changes.new + changes.changed + changes.unmodified
}

/// What a backup did, in the keys that scripts for restic know, and more.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    message_type: &'static str,
    /// Where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repository: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    files_new: u64,
    files_changed: u64,
    files_unmodified: u64,
    dirs_new: u64,
    dirs_changed: u64,
    dirs_unmodified: u64,
    others_new: u64,
    others_changed: u64,
    others_unmodified: u64,
    data_blobs: u64,
    tree_blobs: u64,
    data_added: u64,
    data_added_packed: u64,
    packs_written: u64,
    packs_adopted: u64,
    total_files_processed: u64,
    total_bytes_processed: u64,
    bytes_read: u64,
    total_duration: f64,
    snapshot_id: Option<String>,
    /// What `--expect-head` takes.
    head: Option<String>,
    parent: Option<String>,
    requests: Requests,
    errors: u64,
    #[serde(flatten)]
    new_repository: Option<NewRepository>,
}

/// With `--init`, if there was no repository.
#[derive(Debug, Serialize)]
pub(super) struct NewRepository {
    repository_id: String,
    recovery_key: String,
}

impl NewRepository {
    pub(super) fn new(opened: &Opened, key: &RecoveryKey) -> Self {
        let repository_id = opened.repository.id().to_string();
        Self { repository_id, recovery_key: key.to_text().to_string() }
    }
}

impl Summary {
    pub(super) fn new(
        report: &BackupReport,
        options: &BackupOptions,
        requests: Requests,
        new_repository: Option<NewRepository>,
    ) -> Self {
        Self {
            message_type: "summary",
            repository: None,
            dry_run: options.is_dry_run,
            files_new: report.files.new,
            files_changed: report.files.changed,
            files_unmodified: report.files.unmodified,
            dirs_new: report.dirs.new,
            dirs_changed: report.dirs.changed,
            dirs_unmodified: report.dirs.unmodified,
            others_new: report.others.new,
            others_changed: report.others.changed,
            others_unmodified: report.others.unmodified,
            data_blobs: report.data_chunks,
            tree_blobs: report.table_chunks,
            data_added: report.added_bytes,
            data_added_packed: report.stored_bytes,
            packs_written: report.packs_written,
            packs_adopted: report.packs_adopted,
            total_files_processed: total(&report.files),
            total_bytes_processed: report.total_bytes,
            bytes_read: report.read_bytes,
            total_duration: report.duration.as_secs_f64(),
            snapshot_id: report.snapshot.map(|id| id.to_string()),
            head: report.head.map(|head| blake3::Hash::from(head).to_hex().to_string()),
            parent: report.parent.map(|id| id.to_string()),
            requests,
            errors: report.problem_count,
            new_repository,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::{
        id::{ClientId, SessionId},
        repository::SnapshotKind,
        target::layers::TargetMetrics,
    };

    fn options(is_dry_run: bool) -> BackupOptions {
        BackupOptions {
            host: "h".to_owned(),
            user: "u".to_owned(),
            tags: Vec::new(),
            time: None,
            kind: SnapshotKind::Full,
            parent: Parent::Automatic,
            client: ClientId([1; 16]),
            is_dry_run,
            workers: 1,
            compression: None,
        }
    }

    fn report() -> BackupReport {
        let files = Changes { new: 1, changed: 2, unmodified: 3 };
        let snapshot = Some(SessionId([0xab; 16]));
        let head = Some([0xcd; 32]);
        BackupReport {
            files,
            snapshot,
            head,
            added_bytes: 2048,
            problem_count: 1,
            ..Default::default()
        }
    }

    #[test]
    fn people_read_counts_and_the_snapshot() {
        let said = lines(&report(), &options(false)).join("\n");
        assert!(said.starts_with("Files:          1 new,         2 changed,"), "{said}");
        assert!(said.contains("added 2.0 KiB") && said.contains("processed 6 files"), "{said}");
        assert!(said.contains("1 item could not be read"), "{said}");
        let end = format!("snapshot abababab saved\nhead {}", "cd".repeat(32));
        assert!(said.ends_with(&end), "{said}");
        assert!(lines(&report(), &options(true)).join("\n").contains("would add"));
    }

    #[test]
    fn programs_read_the_known_keys() {
        let requests = || Requests::from(TargetMetrics::default());
        let summary = Summary::new(&report(), &options(false), requests(), None);
        let json = serde_json::to_value(summary).unwrap();
        assert_eq!(json["message_type"], "summary");
        assert_eq!(json["total_files_processed"], 6);
        assert_eq!(json["snapshot_id"], "ab".repeat(16));
        assert_eq!(json["errors"], 1);
        assert_eq!(json["requests"]["put"], 0);
        assert!(json.get("recovery_key").is_none() && json.get("dry_run").is_none());
        let key = Some(NewRepository { repository_id: "r".into(), recovery_key: "k".into() });
        let summary = Summary::new(&report(), &options(true), requests(), key);
        let json = serde_json::to_value(summary).unwrap();
        assert_eq!((&json["recovery_key"], &json["dry_run"]), (&"k".into(), &true.into()));
    }
}
