//! `repair index`.

use strongroom_core::repair::{self, IndexReport};

use super::{super::requests::Requests, Summary, damage_lines, options};
use crate::{
    access::Context,
    args::RepairIndexArgs,
    error::{Doing, Result},
    exit::Exit,
    output::{human, progress::Reporter},
};

/// Writes lost parts of the index anew, then says which.
pub async fn run(args: &RepairIndexArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let options = options(&args.how, context);
    let reporter = Reporter::start(console, context.interrupt.clone(), "repair");
    let report = repair::index(&opened.repository, &options, reporter.clone()).await;
    reporter.finish();
    let report = report.doing(|| "cannot repair the index".to_owned())?;
    let requests = Requests::from(opened.requests());
    let mut lines = damage_lines(&report.damage, &report.healed);
    lines.extend(lines_of(&report, options.is_dry_run));
    Summary::new("repair_index", options.is_dry_run, &report, requests).print(lines, console)?;
    Ok(exit(&report, options.is_dry_run))
}

fn exit(report: &IndexReport, is_dry_run: bool) -> Exit {
    let is_left = is_dry_run && (report.packs > 0 || !report.lost.is_empty());
    match is_left || !report.left_out.is_empty() || !report.damage.is_empty() {
        true => Exit::Damaged,
        false => Exit::Done,
    }
}

fn lines_of(report: &IndexReport, is_dry_run: bool) -> Vec<String> {
    let mut lines: Vec<String> =
        report.lost.iter().map(|object| format!("lost: {object}")).collect();
    lines.extend(report.left_out.iter().map(|pack| {
        format!("damaged, and not in the index: {pack}; see `strongroom repair packs`")
    }));
    lines.extend(report.written.iter().map(|object| format!("written: {object}")));
    let (packs, chunks) =
        (human::count(report.packs, "pack"), human::count(report.chunks, "chunk"));
    lines.push(match (report.packs, is_dry_run) {
        (0, _) => "the index tells of every pack".to_owned(),
        (_, true) => format!("{packs} with {chunks} to index; nothing was written"),
        (_, false) => format!("{packs} with {chunks} indexed"),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_missing_decides_the_exit_code() {
        let mut report =
            IndexReport { lost: vec!["meta/index/x/0".to_owned()], packs: 2, ..Default::default() };
        assert_eq!(exit(&report, true), Exit::Damaged);
        assert_eq!(exit(&report, false), Exit::Done);
        report.left_out.push("packs/x/1".to_owned());
        assert_eq!(exit(&report, false), Exit::Damaged);
        let text = lines_of(&report, true).join("\n");
        assert!(text.contains("lost: meta/index/x/0"), "{text}");
        assert!(text.ends_with("2 packs with 0 chunks to index; nothing was written"), "{text}");
    }
}
