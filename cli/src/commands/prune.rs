//! `prune`: gives back the room of what no snapshot needs.

use serde::Serialize;
use strongroom_core::prune::{self, PruneOptions, PruneReport};

use super::requests::Requests;
use crate::{
    access::{Context, Opened},
    args::{PruneArgs, PruneHow},
    env,
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{human, progress::Reporter},
};

/// Prunes, or says what a prune would do.
pub async fn run(args: &PruneArgs, context: &Context) -> Result<Exit> {
    let opened = context.open().await?;
    if !args.dry_run {
        expect_safe(&opened, context).await?;
    }
    work(&args.how, args.dry_run, &opened, context).await
}

/// Refuses a storage on which data could be lost.
pub async fn expect_safe(opened: &Opened, context: &Context) -> Result<()> {
    let doing = || "cannot prune".to_owned();
    let looking = async { context.unsafe_because(opened).await.doing(doing) };
    match context.interrupt.or(looking).await? {
        None => Ok(()),
        Some(why) => {
            let message = format!("refused on this storage: {why}");
            Err(Failure::new(Exit::Failed, message).doing(doing()).hint(
                "nothing was removed; backups and restores work here, but two programs could \
                 both believe that they decide what to delete",
            ))
        }
    }
}

/// Prunes, and says what was done.
pub async fn work(
    how: &PruneHow,
    is_dry_run: bool,
    opened: &Opened,
    context: &Context,
) -> Result<Exit> {
    let console = context.console;
    let options = PruneOptions {
        unused_max: how.max_unused,
        rewrite_bytes_max: how.repack_size,
        is_dry_run,
        fence_after: how.fence_after,
        client: context.client_id(),
        host: env::host_name(),
    };
    let clock = &context.runtime.clock;
    let began = clock.monotonic();
    let reporter = Reporter::start(console, context.interrupt.clone(), "prune");
    let report = prune::prune(&opened.repository, &options, reporter.clone()).await;
    reporter.finish();
    let report = report.doing(|| "cannot prune".to_owned())?;
    let took = clock.monotonic().saturating_sub(began);
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        console.object(&Summary {
            message_type: "summary",
            operation: "prune",
            dry_run: is_dry_run,
            report: &report,
            total_duration: took.as_secs_f64(),
            requests,
        })?;
    } else {
        let mut lines = lines(&report, is_dry_run);
        lines.push(match is_dry_run {
            true => format!("about {} requests; nothing was changed", report.requests_estimated),
            false => format!("done in {}", human::took(took)),
        });
        lines.extend(console.is_verbose().then(|| requests.line()));
        if is_dry_run { console.text(&lines.join("\n"))? } else { console.summary(&lines)? }
    }
    Ok(Exit::Done)
}

fn lines(report: &PruneReport, is_dry_run: bool) -> Vec<String> {
    let packs = |count, bytes| format!("{} ({})", human::count(count, "pack"), human::bytes(bytes));
    let would = if is_dry_run { "would be " } else { "" };
    let mut lines = vec![
        format!("{} found", packs(report.packs_before, report.bytes_before)),
        format!("{} {would}removed", packs(report.packs_removed, report.bytes_removed)),
    ];
    if report.packs_rewritten > 0 {
        let from = packs(report.packs_rewritten, report.bytes_rewritten);
        let to = packs(report.packs_written, report.bytes_written);
        lines.push(format!("{from} {would}rewritten to {to}"));
    }
    lines.push(format!("{} unused, and left", human::bytes(report.unused_left_bytes)));
    if report.sessions_given_up > 0 {
        let backups = human::count(report.sessions_given_up, "unfinished backup");
        lines.push(format!("{backups} given up: starting them again goes on from what is stored"));
    }
    if report.damaged_packs > 0 {
        let damaged = human::count(report.damaged_packs, "pack");
        lines.push(format!("{damaged} left as found, because of damage: see `verify --read-data`"));
    }
    if report.took_over {
        lines.push("went on from a prune that was interrupted".to_owned());
    }
    lines
}

#[derive(Serialize)]
struct Summary<'a> {
    message_type: &'static str,
    operation: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    report: &'a PruneReport,
    total_duration: f64,
    requests: Requests,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_was_done() {
        let report = PruneReport {
            packs_before: 4,
            bytes_before: 4 << 20,
            packs_removed: 1,
            bytes_removed: 1 << 20,
            packs_rewritten: 2,
            bytes_rewritten: 2 << 20,
            packs_written: 1,
            bytes_written: 1 << 20,
            sessions_given_up: 1,
            ..PruneReport::default()
        };
        let text = lines(&report, false).join("\n");
        assert!(text.starts_with("4 packs (4.0 MiB) found\n1 pack (1.0 MiB) removed\n"), "{text}");
        assert!(text.contains("2 packs (2.0 MiB) rewritten to 1 pack (1.0 MiB)"), "{text}");
        assert!(text.contains("1 unfinished backup given up"), "{text}");
        assert!(lines(&report, true).join("\n").contains("1 pack (1.0 MiB) would be removed"));
    }
}
