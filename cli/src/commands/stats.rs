//! `stats`: how large snapshots are, and what that takes.

use serde::Serialize;
use strongroom_core::{
    id::SessionId,
    stats::{self, RepositoryStats, StatsReport},
};

use super::{requests::Requests, select};
use crate::{
    access::{Context, Opened},
    args::{FilterArgs, StatsArgs},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{human, progress::Reporter},
};

/// Measures, then prints the figures.
pub async fn run(args: &StatsArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let ids = chosen(args, &opened, context).await?;
    let reporter = Reporter::start(console, context.interrupt.clone(), "measure");
    let report = stats::stats(&opened.repository, &ids, reporter.clone()).await;
    reporter.finish();
    let report = report.doing(|| "cannot measure the repository".to_owned())?;
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        console.object(&Summary { message_type: "summary", report: &report, requests })?;
    } else {
        let mut lines = lines(&report);
        lines.push(requests.line());
        console.text(&lines.join("\n"))?;
    }
    Ok(if report.unreadable_parts == 0 { Exit::Done } else { Exit::Damaged })
}

/// The snapshots that are meant; none if all are.
async fn chosen(args: &StatsArgs, opened: &Opened, context: &Context) -> Result<Vec<SessionId>> {
    if args.snapshots.is_empty() && is_open(&args.filter) {
        return Ok(Vec::new());
    }
    let listing = select::list(&opened.repository, &args.filter, context.console);
    let listed = context.interrupt.or(listing).await?;
    let chosen = listed.choose_all(&args.snapshots)?;
    match chosen.is_empty() {
        true => Err(Failure::new(Exit::Failed, "no snapshot passes the filter".to_owned())),
        false => Ok(chosen.into_iter().map(|snapshot| snapshot.id).collect()),
    }
}

/// True if the filter lets everything through.
fn is_open(filter: &FilterArgs) -> bool {
    filter.host.is_empty() && filter.tag.is_empty() && filter.path.is_empty()
}

fn lines(report: &StatsReport) -> Vec<String> {
    let figure = |name: &str, value: String| format!("{name:<20}{value}");
    let size = |name: &str, bytes: u64| figure(name, human::bytes(bytes));
    let ratio = |name: &str, ratio: f64| figure(name, format!("{ratio:.2}"));
    let mut lines = vec![
        figure("snapshots", report.snapshots.to_string()),
        figure("files", report.files.to_string()),
        size("size", report.size_bytes),
        size("unique content", report.unique_bytes),
        size("tables", report.table_bytes),
        size("stored", report.stored_bytes),
        ratio("deduplication", report.dedup_ratio),
        ratio("compression", report.compression_ratio),
    ];
    if let Some(all) = &report.repository {
        lines.extend(repository_lines(all, size));
    }
    if report.unreadable_parts > 0 {
        let parts = human::count(report.unreadable_parts, "part");
        lines.push(format!("{parts} of tables cannot be read: the figures are too small"));
    }
    lines
}

fn repository_lines(all: &RepositoryStats, size: impl Fn(&str, u64) -> String) -> [String; 3] {
    let count =
        |bytes, count, noun| format!("{} in {}", human::bytes(bytes), human::count(count, noun));
    let small = count(all.small_bytes, all.small_objects, "object");
    [
        format!("{:<20}{}", "packs", count(all.pack_bytes, all.packs, "pack")),
        size("unused", all.unused_bytes),
        format!("{:<20}{small}", "index and history"),
    ]
}

#[derive(Serialize)]
struct Summary<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    report: &'a StatsReport,
    requests: Requests,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_figures_in_columns() {
        let mut report = StatsReport {
            snapshots: 2,
            size_bytes: 4 << 20,
            unique_bytes: 2 << 20,
            dedup_ratio: 2.0,
            ..StatsReport::default()
        };
        let text = lines(&report).join("\n");
        assert!(text.starts_with("snapshots           2\nfiles               0\n"), "{text}");
        assert!(text.contains("deduplication       2.00"), "{text}");
        assert!(!text.contains("unused"), "{text}");
        report.repository = Some(RepositoryStats { unused_bytes: 1 << 20, ..Default::default() });
        report.unreadable_parts = 1;
        let text = lines(&report).join("\n");
        assert!(text.contains("unused              1.0 MiB"), "{text}");
        assert!(text.ends_with("1 part of tables cannot be read: the figures are too small"));
    }
}
