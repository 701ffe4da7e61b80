//! `repair snapshots`.

use std::collections::BTreeSet;

use serde::Serialize;
use strongroom_core::{
    forget::{self, Survey},
    id::SessionId,
    monitor::Problem,
    repair::{self, RepairOptions, Repaired, SnapshotsReport},
    repository::Repository,
    verify::Damage,
};

use super::{
    super::{requests::Requests, select::short_id},
    damage_lines, options,
};
use crate::{
    access::Context,
    args::RepairSnapshotsArgs,
    env,
    error::{Doing, Result},
    exit::Exit,
    output::{human, progress::Reporter},
};

const DOING: fn() -> String = || "cannot repair snapshots".to_owned();

/// Saves damaged snapshots again without what they lost, then says which.
pub async fn run(args: &RepairSnapshotsArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let options =
        RepairOptions { read_data: args.read_data.share(), ..options(&args.how, context) };
    let reporter = Reporter::start(console, context.interrupt.clone(), "repair");
    let report = repair::snapshots(&opened.repository, &options, reporter.clone()).await;
    reporter.finish();
    let report = report.doing(DOING)?;
    let forgotten = match args.forget && !options.is_dry_run {
        true => context.interrupt.or(forget_repaired(&opened.repository, &report)).await?,
        false => BTreeSet::new(),
    };
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        console.object(&Summary::new(&report, &forgotten, options.is_dry_run, requests))?;
    } else {
        let mut lines = damage_lines(&report.damage, &report.healed);
        lines.extend(lines_of(&report, &forgotten, options.is_dry_run));
        lines.extend(console.is_verbose().then(|| requests.line()));
        console.text(&lines.join("\n"))?;
    }
    Ok(exit(&report, options.is_dry_run))
}

/// Forgets the damaged snapshots that there is a repaired one of.
async fn forget_repaired(
    repository: &Repository,
    report: &SnapshotsReport,
) -> Result<BTreeSet<SessionId>> {
    let repaired = report.snapshots.iter().filter(|one| one.became.is_some());
    let ids: Vec<SessionId> = repaired.map(|one| one.snapshot).collect();
    let doing = || "the repaired snapshots stand, but cannot forget the damaged ones".to_owned();
    let survey = Survey::read(repository).await.doing(doing)?;
    let done = forget::forget(repository, &survey, &ids, &env::host_name()).await.doing(doing)?;
    Ok(done.forgotten.into_iter().collect())
}

fn exit(report: &SnapshotsReport, is_dry_run: bool) -> Exit {
    let is_left = |one: &Repaired| one.is_hopeless || one.became.is_none();
    let is_undone = is_dry_run && !report.snapshots.is_empty();
    match is_undone || !report.unreadable.is_empty() || report.snapshots.iter().any(is_left) {
        true => Exit::Damaged,
        false => Exit::Done,
    }
}

fn lines_of(
    report: &SnapshotsReport,
    forgotten: &BTreeSet<SessionId>,
    is_dry_run: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for one in &report.snapshots {
        lines.push(line_of(one, is_dry_run));
        lines.extend(one.left_out.iter().map(|problem| format!("  left out: {}", problem.item)));
        let more = one.left_out_count.saturating_sub(one.left_out.len() as u64);
        lines.extend((more > 0).then(|| format!("  and {}", human::count(more, "more file"))));
        let id = short_id(&one.snapshot);
        lines.extend(forgotten.contains(&one.snapshot).then(|| format!("forgotten: {id}")));
    }
    for problem in &report.unreadable {
        lines.push(format!("unreadable: {}", problem.message));
        let id = problem.item.rsplit('/').next().unwrap_or_default();
        lines.push(format!(
            "  what it needs is not known, so prune removes nothing until `strongroom forget {id}`"
        ));
    }
    let count = report.snapshots.len() as u64;
    lines.push(match (count, report.unreadable.len()) {
        (0, 0) => "no snapshot is damaged".to_owned(),
        (count, unreadable) => {
            let damaged = human::count(count, "snapshot");
            let done = if is_dry_run { "; nothing was written" } else { "" };
            format!("{damaged} damaged, {unreadable} unreadable{done}")
        }
    });
    lines
}

fn line_of(one: &Repaired, is_dry_run: bool) -> String {
    let old = short_id(&one.snapshot);
    let files = human::count(one.left_out_count, "file");
    match &one.became {
        Some(new) if one.is_from_before => {
            format!("snapshot {old}: was repaired before, as {}", short_id(new))
        }
        Some(new) => format!("snapshot {old}: saved again as {}, without {files}", short_id(new)),
        None if one.is_hopeless => {
            format!("snapshot {old}: nothing of it can be read; `strongroom forget` removes it")
        }
        None if is_dry_run => format!("snapshot {old}: would be saved again without {files}"),
        None => format!("snapshot {old}: was not saved again"),
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    message_type: &'static str,
    operation: &'static str,
    dry_run: bool,
    damage: &'a [Damage],
    healed: &'a [String],
    snapshots: Vec<One<'a>>,
    unreadable: &'a [Problem],
    requests: Requests,
}

#[derive(Serialize)]
struct One<'a> {
    snapshot: String,
    repaired: Option<String>,
    repaired_before: bool,
    hopeless: bool,
    forgotten: bool,
    left_out_count: u64,
    left_out: Vec<&'a str>,
}

impl<'a> Summary<'a> {
    fn new(
        report: &'a SnapshotsReport,
        forgotten: &BTreeSet<SessionId>,
        dry_run: bool,
        requests: Requests,
    ) -> Self {
        let one = |one: &'a Repaired| One {
            snapshot: one.snapshot.to_string(),
            repaired: one.became.map(|id| id.to_string()),
            repaired_before: one.is_from_before,
            hopeless: one.is_hopeless,
            forgotten: forgotten.contains(&one.snapshot),
            left_out_count: one.left_out_count,
            left_out: one.left_out.iter().map(|problem| problem.item.as_str()).collect(),
        };
        Self {
            message_type: "summary",
            operation: "repair_snapshots",
            dry_run,
            damage: &report.damage,
            healed: &report.healed,
            snapshots: report.snapshots.iter().map(one).collect(),
            unreadable: &report.unreadable,
            requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(became: Option<SessionId>) -> Repaired {
        Repaired {
            snapshot: SessionId([1; 16]),
            became,
            is_from_before: false,
            is_hopeless: false,
            left_out: Vec::new(),
            left_out_count: 3,
        }
    }

    #[test]
    fn what_could_not_be_saved_decides_the_exit_code() {
        let mut report = SnapshotsReport::default();
        assert_eq!(exit(&report, true), Exit::Done);
        report.snapshots.push(repaired(Some(SessionId([2; 16]))));
        assert_eq!(exit(&report, false), Exit::Done);
        assert!(lines_of(&report, &BTreeSet::new(), false)[0].ends_with("without 3 files"));
        report.snapshots[0] = Repaired { is_hopeless: true, ..repaired(None) };
        assert_eq!(exit(&report, false), Exit::Damaged);
        report.snapshots.clear();
        let item = format!("meta/snapshots/{}", SessionId([1; 16]));
        let message = "is truncated".to_owned();
        report.unreadable.push(Problem { item, message, is_error: true });
        assert_eq!(exit(&report, false), Exit::Damaged);
        let text = lines_of(&report, &BTreeSet::new(), false).join("\n");
        assert!(text.contains(&format!("strongroom forget {}", SessionId([1; 16]))), "{text}");
    }
}
