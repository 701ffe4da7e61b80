//! `verify`: proves that the repository holds what its snapshots say.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use serde::Serialize;
use strongroom_core::{
    id::SessionId,
    source::Sink,
    verify::{self, Damage, ReadData, VerifyOptions, VerifyReport},
};
use tempfile::TempDir;

use super::{
    requests::Requests,
    restore::{self, Summary},
    select,
};
use crate::{
    access::{Context, Opened},
    args::{VerifyArgs, default_workers},
    error::{Doing, Failure, Result},
    exit::Exit,
    output::{Console, human, progress::Reporter},
    sinks,
};

/// Verifies, then says what was found.
pub async fn run(args: &VerifyArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let snapshots = snapshots_to_restore(args, &opened, context).await?;
    let scratch = args.restore.then(|| Scratch::make(args.scratch.as_deref())).transpose()?;
    let options = VerifyOptions {
        read_data: args.read_data(),
        snapshots,
        restore_into: scratch.as_ref().map(Scratch::sink),
        workers: args.workers.unwrap_or_else(default_workers),
        packs: Vec::new(),
    };
    let reporter = Reporter::start(console, context.interrupt.clone(), "check");
    let report = verify::verify(&opened.repository, &options, reporter.clone()).await;
    reporter.finish();
    if let Some(scratch) = scratch {
        scratch.remove(console);
    }
    let report = report.doing(|| "cannot verify the repository".to_owned())?;
    print(&report, options.read_data, &opened, console)?;
    Ok(exit(&report))
}

async fn snapshots_to_restore(
    args: &VerifyArgs,
    opened: &Opened,
    context: &Context,
) -> Result<Vec<SessionId>> {
    if args.snapshots.is_empty() {
        return Ok(Vec::new());
    }
    let listing = select::list(&opened.repository, &args.filter, context.console);
    let listed = context.interrupt.or(listing).await?;
    let chosen = listed.choose_all(&args.snapshots)?;
    Ok(chosen.into_iter().map(|snapshot| snapshot.id).collect())
}

fn exit(report: &VerifyReport) -> Exit {
    let has_problems = report.restore.as_ref().is_some_and(|restore| restore.problem_count > 0);
    match (report.damage.is_empty(), has_problems) {
        (false, _) => Exit::Damaged,
        (true, true) => Exit::Incomplete,
        (true, false) => Exit::Done,
    }
}

/// A folder for a test restore: for this user only, and gone afterwards whatever happens.
struct Scratch(TempDir);

impl Scratch {
    fn make(parent: Option<&Path>) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        let permissions = Permissions::from_mode(0o700);
        builder.prefix("strongroom-verify-").permissions(permissions);
        let made = match parent {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        made.map(Self).map_err(|error| {
            Failure::usage(error.to_string()).doing("cannot make a scratch folder")
        })
    }

    fn sink(&self) -> Arc<dyn Sink> {
        sinks::scratch(self.0.path())
    }

    fn remove(self, console: Console) {
        let path = self.0.path().to_owned();
        if let Err(error) = self.0.close() {
            console.warn(&format!("cannot remove the scratch folder {}: {error}", path.display()));
        }
    }
}

fn print(
    report: &VerifyReport,
    read_data: ReadData,
    opened: &Opened,
    console: Console,
) -> Result<()> {
    let requests = Requests::from(opened.requests());
    if console.is_json() {
        return console.object(&VerifySummary::new(report, requests));
    }
    let healed = report.healed.iter().map(|object| format!("healed: {object}"));
    let damage: Vec<_> = healed.chain(report.damage.iter().flat_map(damage_lines)).collect();
    if !damage.is_empty() {
        console.text(&damage.join("\n"))?;
    }
    let mut lines = lines(report, read_data);
    lines.extend(console.is_verbose().then(|| requests.line()));
    console.summary(&lines)
}

fn damage_lines(damage: &Damage) -> Vec<String> {
    let mut lines = vec![format!("damaged: {}: {}", damage.object, damage.message)];
    if !damage.snapshots.is_empty() {
        let short: Vec<_> = damage.snapshots.iter().map(select::short_id).collect();
        lines.push(format!("  needed by snapshots {}", short.join(", ")));
    }
    lines.extend(damage.files.iter().map(|file| format!("  needed by {file}")));
    lines
}

fn lines(report: &VerifyReport, read_data: ReadData) -> Vec<String> {
    let mut lines = vec![format!(
        "checked {} with {}, {} and {}",
        human::count(report.snapshots, "snapshot"),
        report_entries(report.entries),
        human::count(report.objects, "small object"),
        human::count(report.packs, "pack"),
    )];
    lines.push(match read_data {
        ReadData::None => "content was not read; --read-data does that".to_owned(),
        _ => format!("read all content of {}", human::count(report.packs_read, "pack")),
    });
    if report.unreferenced > 0 {
        let count = human::count(report.unreferenced, "object");
        lines.push(format!("{count} left by interrupted runs (harmless)"));
    }
    if let Some(restore) = &report.restore {
        lines
            .extend(restore::lines(restore, false).into_iter().map(|line| format!("test: {line}")));
    }
    if !report.healed.is_empty() {
        let count = human::count(report.healed.len() as u64, "object");
        lines.push(format!("{count} damaged and healed"));
    }
    let (bytes, took) = (human::bytes(report.bytes_read), human::took(report.duration));
    lines.push(match report.damage.len() as u64 {
        0 => format!("no damage found; read {bytes} in {took}"),
        count => format!("{} damaged; read {bytes} in {took}", human::count(count, "object")),
    });
    lines.extend(advice(&report.damage));
    lines
}

/// What can be done about the damage.
fn advice(damage: &[Damage]) -> Option<String> {
    let is_of = |folder: &str| damage.iter().any(|one| one.object.starts_with(folder));
    match (is_of("packs/"), is_of("meta/index/"), is_of("meta/snapshots/")) {
        (true, ..) => Some(
            "`strongroom repair packs` has the next backup store again what is lost".to_owned(),
        ),
        (false, true, _) => Some("`strongroom repair index` writes the index anew".to_owned()),
        (false, false, true) => {
            Some("`strongroom repair snapshots` says what can be done about it".to_owned())
        }
        _ => None,
    }
}

fn report_entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// What was found, in the keys that scripts for restic know, and more.
#[derive(Serialize)]
struct VerifySummary<'a> {
    message_type: &'static str,
    num_errors: usize,
    snapshots: u64,
    entries: u64,
    objects: u64,
    packs: u64,
    packs_read: u64,
    bytes_read: u64,
    unreferenced: u64,
    damage: &'a [Damage],
    healed: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    restore: Option<Summary>,
    total_duration: f64,
    requests: Requests,
}

impl<'a> VerifySummary<'a> {
    fn new(report: &'a VerifyReport, requests: Requests) -> Self {
        Self {
            message_type: "summary",
            num_errors: report.damage.len(),
            snapshots: report.snapshots,
            entries: report.entries,
            objects: report.objects,
            packs: report.packs,
            packs_read: report.packs_read,
            bytes_read: report.bytes_read,
            unreferenced: report.unreferenced,
            damage: &report.damage,
            healed: &report.healed,
            restore: report.restore.as_ref().map(Summary::of_test),
            total_duration: report.duration.as_secs_f64(),
            requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::restore::RestoreReport;

    fn damaged() -> VerifyReport {
        let damage = Damage {
            object: "packs/x/0".to_owned(),
            message: "is missing".to_owned(),
            snapshots: vec!["0123456789abcdef".to_owned()],
            files: vec!["etc/motd".to_owned()],
        };
        VerifyReport { damage: vec![damage], ..Default::default() }
    }

    #[test]
    fn damage_decides_over_problems_of_the_test_restore() {
        assert_eq!(exit(&VerifyReport::default()), Exit::Done);
        let problems = Some(RestoreReport { problem_count: 1, ..Default::default() });
        let report = VerifyReport { restore: problems.clone(), ..Default::default() };
        assert_eq!(exit(&report), Exit::Incomplete);
        assert_eq!(exit(&VerifyReport { restore: problems, ..damaged() }), Exit::Damaged);
    }

    #[test]
    fn damage_is_named_with_what_needs_it() {
        let lines = damage_lines(&damaged().damage[0]);
        let expected = [
            "damaged: packs/x/0: is missing",
            "  needed by snapshots 01234567",
            "  needed by etc/motd",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_scratch_folder_is_private_and_goes_away() {
        let temp = tempfile::tempdir().unwrap();
        let scratch = Scratch::make(Some(temp.path())).unwrap();
        let path = scratch.0.path().to_owned();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        scratch.remove(Console::early(true));
        assert!(!path.exists());
        assert!(Scratch::make(Some(&temp.path().join("none"))).is_err());
    }
}
