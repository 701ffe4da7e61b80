//! `restore`: from a snapshot into a folder.

use std::sync::Arc;

use serde::Serialize;
use strongroom_core::{
    entry::{EntryKind, TreePath},
    restore::{self, Filter, RestoreOptions, RestoreReport},
};

use super::{
    requests::Requests,
    select::{self, short_id},
    with_repository,
};
use crate::{
    access::{Context, Opened},
    args::{GlobalArgs, Patterns, RestoreArgs, default_workers},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{Console, human, progress::Reporter},
    password::Purpose,
    sinks,
};

/// Restores, then says what was done.
pub fn run(args: &RestoreArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let options = RestoreOptions {
        subtree: args.place.path.clone(),
        filter: filter(&args.include, &args.exclude)?,
        overwrite: args.overwrite.into(),
        delete: args.delete,
        is_dry_run: args.dry_run,
        verify: args.verify,
        workers: args.workers.unwrap_or_else(default_workers),
    };
    with_repository(global, console, Purpose::Open, async |context| {
        work(args, &options, context).await
    })
}

async fn work(args: &RestoreArgs, options: &RestoreOptions, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let listing = select::list(&opened.repository, &args.filter, console);
    let listed = context.interrupt.or(listing).await?;
    let snapshot = listed.choose(&args.place.snapshot)?;
    let sink = sinks::folder(args);
    let reporter = Reporter::start(console, context.interrupt.clone(), "restore");
    let monitor = reporter.clone();
    let report = restore::restore(&opened.repository, snapshot, sink, options, monitor).await;
    reporter.finish();
    let report = report.doing(|| {
        format!("cannot restore snapshot {} to {}", short_id(&snapshot.id), args.target.display())
    })?;
    print(args, &report, &opened, console)?;
    Ok(if report.problem_count == 0 { Exit::Done } else { Exit::Incomplete })
}

/// Both kinds of patterns apply to an entry and to all that is below it.
fn filter(include: &[String], exclude: &[String]) -> Result<Option<Filter>> {
    let include = Patterns::new(include, false).map_err(Failure::usage)?;
    let exclude = Patterns::new(exclude, false).map_err(Failure::usage)?;
    if include.is_empty() && exclude.is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(move |path: &TreePath, kind: EntryKind| {
        (include.is_empty() || include.matches_within(path, kind))
            && !exclude.matches_within(path, kind)
    })))
}

fn print(
    args: &RestoreArgs,
    report: &RestoreReport,
    opened: &Opened,
    console: Console,
) -> Result<()> {
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        return console.object(&Summary::new(report, args.dry_run, requests));
    }
    let mut lines = lines(report, args.dry_run);
    lines.extend(console.is_verbose().then(|| requests.line()));
    console.summary(&lines)
}

/// What a restore did, for people.
pub fn lines(report: &RestoreReport, is_dry_run: bool) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {} ({}), {} and {} other entries in {}",
        if is_dry_run { "would restore" } else { "restored" },
        human::count(report.files_restored, "file"),
        human::bytes(report.bytes_restored),
        human::count(report.dirs, "folder"),
        report.others,
        human::took(report.duration),
    )];
    let counts = [
        (report.files_unchanged, "unchanged"),
        (report.files_skipped, "left alone"),
        (report.deleted, "removed"),
        (report.files_verified, "read back and right"),
        (report.problem_count, "not restored, or not completely"),
    ];
    for (count, what) in counts {
        if count > 0 {
            lines.push(format!("{what}: {count}"));
        }
    }
    lines
}

/// What a restore did, in the keys that scripts for restic know.
#[derive(Debug, Serialize)]
pub struct Summary {
    message_type: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    seconds_elapsed: u64,
    total_duration: f64,
    total_files: u64,
    files_restored: u64,
    files_unchanged: u64,
    files_skipped: u64,
    files_deleted: u64,
    files_verified: u64,
    dirs_restored: u64,
    others_restored: u64,
    total_bytes: u64,
    bytes_restored: u64,
    bytes_skipped: u64,
    bytes_fetched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Requests>,
    errors: u64,
}

impl Summary {
    fn new(report: &RestoreReport, dry_run: bool, requests: Requests) -> Self {
        Self { requests: Some(requests), dry_run, ..Self::of_test(report) }
    }

    /// As part of a verification, which counts requests itself.
    pub fn of_test(report: &RestoreReport) -> Self {
        Self {
            message_type: "summary",
            dry_run: false,
            seconds_elapsed: report.duration.as_secs(),
            total_duration: report.duration.as_secs_f64(),
            total_files: report.files_restored + report.files_unchanged + report.files_skipped,
            files_restored: report.files_restored,
            files_unchanged: report.files_unchanged,
            files_skipped: report.files_skipped,
            files_deleted: report.deleted,
            files_verified: report.files_verified,
            dirs_restored: report.dirs,
            others_restored: report.others,
            total_bytes: report.bytes_restored + report.bytes_unchanged,
            bytes_restored: report.bytes_restored,
            bytes_skipped: report.bytes_unchanged,
            bytes_fetched: report.bytes_fetched,
            requests: None,
            errors: report.problem_count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(include: &[&str], exclude: &[&str], path: &str) -> bool {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = filter(&owned(include), &owned(exclude)).unwrap();
        let path = TreePath::parse(path.as_bytes()).unwrap();
        filter.is_none_or(|filter| filter(&path, EntryKind::File))
    }

    #[test]
    fn includes_and_excludes_reach_down() {
        assert!(accepted(&[], &[], "a/b"));
        assert!(accepted(&["/a"], &[], "a/b/c"));
        assert!(!accepted(&["/a"], &[], "x/a"));
        assert!(!accepted(&["/a"], &["b"], "a/b/c"));
        assert!(accepted(&[], &["*.o"], "a/b"));
        assert!(!accepted(&[], &["*.o"], "a/b.o"));
        assert!(accepted(&[], &["*.o", "!keep.o"], "a/keep.o"));
    }

    #[test]
    fn only_what_happened_is_said() {
        let report = RestoreReport { files_restored: 1, dirs: 2, ..Default::default() };
        assert_eq!(
            lines(&report, false),
            ["restored 1 file (0 B), 2 folders and 0 other entries in 0.0 s"]
        );
        let report = RestoreReport { deleted: 1, problem_count: 3, ..Default::default() };
        let said = lines(&report, true).join("\n");
        assert!(said.contains("would restore") && said.contains("completely: 3"), "{said}");
    }
}
