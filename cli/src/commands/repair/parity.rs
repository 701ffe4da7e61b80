//! `repair parity`: heals a repository from what it keeps beside its objects.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use strongroom_backends::OpenMode;
use strongroom_core::{
    error::Error,
    repository::{self, layout},
    target::{
        SharedTarget, TargetExt,
        layers::{MetricsLayer, ScrubOptions, ScrubReport},
    },
};

use super::super::{
    requests::Requests,
    target::{Place, or_stop, within},
};
use crate::{
    access::Access,
    args::{GlobalArgs, RepairParityArgs},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{Console, human, progress::Reporter},
};

/// Heals without a password.
pub fn run(args: &RepairParityArgs, global: &GlobalArgs, console: Console) -> Result<Exit> {
    let url = Access::without_credential(global)?.into_url();
    within(console, async |place| {
        let target = place.open(&url, OpenMode::Existing).await.map_err(no_repository)?;
        parity(args, target, place).await
    })
}

/// Scrubs, then says what was found and done.
async fn parity(args: &RepairParityArgs, target: Arc<MetricsLayer>, place: &Place) -> Result<Exit> {
    let doing = || "cannot repair the repository".to_owned();
    let shared: SharedTarget = target.clone();
    or_stop(place, async { expect_parity(&shared).await }).await?;
    let layer = repository::protect(shared).doing(doing)?;
    let options = ScrubOptions {
        is_dry_run: args.dry_run,
        removes_orphans: args.remove_orphans,
        only_small: false,
    };
    let clock = &place.runtime.clock;
    let began = clock.monotonic();
    let reporter = Reporter::start(place.console, place.interrupt.clone(), "repair");
    let report = layer.scrub(options, &*reporter).await;
    reporter.finish();
    let report = report.map_err(Error::from).doing(doing)?;
    if place.interrupt.is_set() {
        return Err(Failure::interrupted());
    }
    let took = clock.monotonic().saturating_sub(began);
    print(&report, args.dry_run, took, Requests::from(target.snapshot()), place.console)?;
    Ok(exit(&report, args.dry_run))
}

/// Only a repository that was made with parity has something to heal from.
async fn expect_parity(target: &SharedTarget) -> Result<()> {
    let doing = || "cannot open the repository".to_owned();
    if repository::is_protected(&**target).await.doing(doing)? {
        return Ok(());
    }
    let descriptor = layout::key(layout::DESCRIPTOR).doing(doing)?;
    if !target.exists(&descriptor).await.map_err(Error::from).doing(doing)? {
        let why = format!("{target}: there is no repository here");
        return Err(Failure::new(Exit::NoRepository, why).hint("`strongroom init` makes one"));
    }
    let why = format!("{target}: the repository was made without parity");
    Err(Failure::new(Exit::Failed, why)
        .hint("parity is decided when a repository is made: `strongroom init --parity on`"))
}

fn no_repository(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Failed => failure.with_exit(Exit::NoRepository),
        _ => failure,
    }
}

fn exit(report: &ScrubReport, is_dry_run: bool) -> Exit {
    let is_damaged = !report.damaged.is_empty() || is_dry_run && !report.healed.is_empty();
    if is_damaged { Exit::Damaged } else { Exit::Done }
}

fn print(
    report: &ScrubReport,
    is_dry_run: bool,
    took: Duration,
    requests: Requests,
    console: Console,
) -> Result<()> {
    if console.is_json() {
        return console.object(&RepairSummary {
            message_type: "summary",
            dry_run: is_dry_run,
            report,
            total_duration: took.as_secs_f64(),
            requests,
        });
    }
    let objects = object_lines(report, is_dry_run);
    if !objects.is_empty() {
        console.text(&objects.join("\n"))?;
    }
    let mut lines = summary_lines(report, is_dry_run, took);
    lines.extend(console.is_verbose().then(|| requests.line()));
    console.summary(&lines)
}

fn object_lines(report: &ScrubReport, is_dry_run: bool) -> Vec<String> {
    let (healed, completed) = match is_dry_run {
        true => ("would be healed", "would get parity or copies"),
        false => ("healed", "got parity or copies"),
    };
    let mut lines: Vec<String> =
        report.healed.iter().map(|object| format!("{healed}: {object}")).collect();
    lines.extend(report.completed.iter().map(|object| format!("{completed}: {object}")));
    let damaged = report.damaged.iter();
    lines.extend(damaged.map(|damage| format!("damaged: {}: {}", damage.object, damage.message)));
    let removed = report.orphans_removed.iter();
    lines.extend(removed.map(|object| format!("removed what was left beside {object}")));
    lines
}

fn summary_lines(report: &ScrubReport, is_dry_run: bool, took: Duration) -> Vec<String> {
    let (packs, small) =
        (human::count(report.packs, "pack"), human::count(report.small_objects, "small object"));
    let count = |list: &[String]| human::count(list.len() as u64, "object");
    let (healed, completed) = (count(&report.healed), count(&report.completed));
    let done = match is_dry_run {
        true => format!("{healed} to heal, {completed} to complete; nothing was written"),
        false => format!("{healed} healed, {completed} completed"),
    };
    let left = match report.damaged.len() as u64 {
        0 => "nothing is beyond healing".to_owned(),
        beyond => format!("{} beyond healing", human::count(beyond, "object")),
    };
    let took = human::took(took);
    vec![format!("checked {packs} and {small} in {took}"), done, left]
}

#[derive(Serialize)]
struct RepairSummary<'a> {
    message_type: &'static str,
    dry_run: bool,
    #[serde(flatten)]
    report: &'a ScrubReport,
    total_duration: f64,
    requests: Requests,
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::target::layers::Unhealed;

    #[test]
    fn what_is_damaged_decides_the_exit_code() {
        let mut report = ScrubReport { healed: vec!["x".to_owned()], ..ScrubReport::default() };
        assert_eq!(exit(&report, false), Exit::Done);
        assert_eq!(exit(&report, true), Exit::Damaged);
        let (object, message) = ("y".to_owned(), "it is missing".to_owned());
        report.damaged.push(Unhealed { object, message });
        assert_eq!(exit(&report, false), Exit::Damaged);
        assert_eq!(object_lines(&report, false), ["healed: x", "damaged: y: it is missing"]);
        assert_eq!(object_lines(&report, true)[0], "would be healed: x");
    }
}
