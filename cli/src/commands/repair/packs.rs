//! `repair packs`.

use strongroom_core::repair::{self, PacksReport, RepairOptions};

use super::{super::requests::Requests, Summary, damage_lines, options};
use crate::{
    access::Context,
    args::RepairPacksArgs,
    error::{Doing, Result},
    exit::Exit,
    output::{human, progress::Reporter},
};

/// Writes down what is lost, then says what that is.
pub async fn run(args: &RepairPacksArgs, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let options = RepairOptions {
        read_data: args.read_data.share(),
        packs: args.packs.clone(),
        ..options(&args.how, context)
    };
    let reporter = Reporter::start(console, context.interrupt.clone(), "repair");
    let report = repair::packs(&opened.repository, &options, reporter.clone()).await;
    reporter.finish();
    let report = report.doing(|| "cannot repair packs".to_owned())?;
    let requests = Requests::from(opened.requests());
    let mut lines = damage_lines(&report.damage, &report.healed);
    lines.extend(lines_of(&report, options.is_dry_run));
    Summary::new("repair_packs", options.is_dry_run, &report, requests).print(lines, console)?;
    Ok(if report.damage.is_empty() { Exit::Done } else { Exit::Damaged })
}

fn lines_of(report: &PacksReport, is_dry_run: bool) -> Vec<String> {
    if report.packs_lost == 0 {
        return vec!["no pack is damaged".to_owned()];
    }
    let (packs, chunks) =
        (human::count(report.packs_lost, "pack"), human::count(report.chunks_lost, "chunk"));
    let mut lines = vec![format!("{packs} damaged, {chunks} lost with them")];
    lines.push(match (report.packs_new, is_dry_run) {
        (0, _) => "all of that was known; the next backup stores again what it meets".to_owned(),
        (new, true) => format!("{} to write down; nothing was written", human::count(new, "pack")),
        (new, false) => {
            let new = human::count(new, "pack");
            format!("wrote down {new}: the next backup stores again what it meets")
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_happens_next() {
        let mut report = PacksReport { packs_lost: 2, packs_new: 1, ..Default::default() };
        assert!(lines_of(&report, true)[1].ends_with("nothing was written"));
        assert!(lines_of(&report, false)[1].starts_with("wrote down 1 pack"));
        report.packs_new = 0;
        assert!(lines_of(&report, false)[1].starts_with("all of that was known"));
        assert_eq!(lines_of(&PacksReport::default(), false), ["no pack is damaged"]);
    }
}
