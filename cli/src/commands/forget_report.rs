//! What `forget` says: a table for each group, or JSON in the shape that scripts for restic know.

use serde::Serialize;
use strongroom_core::{
    entry::display_name,
    forget::{ForgetReport, Survey, Undone},
    id::SessionId,
    retention::{Decision, Group, GroupPlan, Placed, PlacedBy},
};

use super::{select::short_id, snapshots::SnapshotJson};
use crate::{
    args::Zone,
    error::Result,
    output::{Console, human, table::Table},
    time,
};

/// What was decided, and how.
pub struct Plan<'a> {
    /// The decisions.
    pub groups: &'a [GroupPlan],
    /// What they are about.
    pub survey: &'a Survey,
    /// Whose calendar was read.
    pub zone: &'a Zone,
    /// Whether nothing is to be done.
    pub is_dry_run: bool,
}

/// Prints a table for each group. After a dry run it is what was asked for, else a summary.
pub fn print_plan(plan: &Plan<'_>, console: Console) -> Result<()> {
    let mut lines = vec![format!("times and calendar: {}", plan.zone.name)];
    for group in plan.groups {
        let kept = group.decisions.iter().filter(|decision| decision.is_kept()).count();
        let all = group.decisions.len();
        lines.push(String::new());
        let title = title(&group.group);
        lines.push(format!("{title}: {kept} kept, {} forgotten", all - kept));
        lines.extend(table(plan, group).lines());
    }
    if plan.is_dry_run { console.text(&lines.join("\n")) } else { console.summary(&lines) }
}

fn title(group: &Group) -> String {
    let clean = |text: &String| display_name(text.as_bytes());
    let list = |texts: &Vec<String>| match texts.is_empty() {
        true => "none".to_owned(),
        false => texts.iter().map(clean).collect::<Vec<_>>().join(", "),
    };
    let parts: Vec<String> = [
        group.host.as_ref().map(|host| format!("host {}", clean(host))),
        group.paths.as_ref().map(|paths| format!("paths {}", list(paths))),
        group.tags.as_ref().map(|tags| format!("tags {}", list(tags))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() { "all snapshots".to_owned() } else { parts.join(", ") }
}

fn table(plan: &Plan<'_>, group: &GroupPlan) -> Table {
    let mut table = Table::new(&["", "ID", "Time", "Tags", "Reasons"]);
    for decision in &group.decisions {
        let tags = plan.survey.snapshot(decision.id).map(|snapshot| snapshot.tags.as_slice());
        let tags = tags.unwrap_or_default().iter().map(|tag| display_name(tag.as_bytes()));
        table.row(vec![
            vec![if decision.is_kept() { "keep" } else { "forget" }.to_owned()],
            vec![short_id(&decision.id)],
            vec![time::local_in(decision.placed.time, plan.zone.rules.clone())],
            tags.collect(),
            reasons(plan, decision),
        ]);
    }
    table
}

fn reasons(plan: &Plan<'_>, decision: &Decision) -> Vec<String> {
    let mut lines: Vec<String> =
        decision.reasons.iter().map(|reason| display_name(reason.to_string().as_bytes())).collect();
    let by = match decision.placed.by {
        PlacedBy::Snapshot => return lines,
        PlacedBy::Storage => "the storage's clock",
        PlacedBy::Order => "the snapshots around it",
    };
    if let Some(snapshot) = plan.survey.snapshot(decision.id) {
        let stated = time::local_in(snapshot.time, plan.zone.rules.clone());
        lines.push(format!("dated by {by}: its own says {stated}"));
    }
    lines
}

/// What was done, in a line.
pub fn summary(
    done: &ForgetReport,
    count: usize,
    is_dry_run: bool,
    console: Console,
) -> Result<()> {
    let count = human::count(count as u64, "snapshot");
    if is_dry_run {
        return console.summary(&[format!("would forget {count}")]);
    }
    let mut line = format!("forgot {}", human::count(done.forgotten.len() as u64, "snapshot"));
    if !done.already.is_empty() {
        line.push_str(&format!("; {} had been forgotten before", done.already.len()));
    }
    if !done.forgotten.is_empty() {
        line.push_str("; the data stays until the next prune");
    }
    console.summary(&[line])
}

#[derive(Serialize)]
struct GroupJson<'a> {
    tags: Option<&'a [String]>,
    host: Option<&'a str>,
    paths: Option<&'a [String]>,
    time_zone: &'a str,
    dry_run: bool,
    keep: Vec<SnapshotJson<'a>>,
    remove: Vec<SnapshotJson<'a>>,
    reasons: Vec<ReasonJson<'a>>,
    /// Snapshots whose own clock was not believed.
    dated: Vec<DatedJson>,
}

#[derive(Serialize)]
struct ReasonJson<'a> {
    snapshot: SnapshotJson<'a>,
    matches: Vec<String>,
}

#[derive(Serialize)]
struct DatedJson {
    id: String,
    time: String,
    by: PlacedBy,
}

impl<'a> GroupJson<'a> {
    fn new(plan: &Plan<'a>, group: &'a GroupPlan) -> Self {
        let json = |one: &Decision| plan.survey.snapshot(one.id).map(SnapshotJson::new);
        let reason = |one: &Decision| {
            let matches = one.reasons.iter().map(ToString::to_string).collect();
            Some(ReasonJson { snapshot: json(one)?, matches })
        };
        let dated = |(id, placed): (SessionId, Placed)| DatedJson {
            id: id.to_string(),
            time: time::rfc3339(placed.time),
            by: placed.by,
        };
        let (kept, gone): (Vec<&Decision>, Vec<&Decision>) =
            group.decisions.iter().partition(|decision| decision.is_kept());
        let places = group.decisions.iter().map(|one| (one.id, one.placed));
        Self {
            tags: group.group.tags.as_deref(),
            host: group.group.host.as_deref(),
            paths: group.group.paths.as_deref(),
            time_zone: &plan.zone.name,
            dry_run: plan.is_dry_run,
            keep: kept.iter().filter_map(|one| json(one)).collect(),
            remove: gone.iter().filter_map(|one| json(one)).collect(),
            reasons: kept.iter().filter_map(|one| reason(one)).collect(),
            dated: places.filter(|(_, at)| at.by != PlacedBy::Snapshot).map(dated).collect(),
        }
    }
}

/// Prints a list of groups.
pub fn json_plan(plan: &Plan<'_>, console: Console) -> Result<()> {
    let groups: Vec<GroupJson<'_>> =
        plan.groups.iter().map(|group| GroupJson::new(plan, group)).collect();
    console.object(&groups)
}

/// Prints what became of snapshots that were named.
pub fn json_named(
    ids: &[SessionId],
    done: &ForgetReport,
    is_dry_run: bool,
    console: Console,
) -> Result<()> {
    let texts = |ids: &[SessionId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    console.object(&serde_json::json!({
        "message_type": "summary",
        "dry_run": is_dry_run,
        "chosen": texts(ids),
        "forgotten": texts(&done.forgotten),
        "already_forgotten": texts(&done.already),
    }))
}

/// Says what came back.
pub fn undone(undone: &[Undone], console: Console) -> Result<()> {
    if console.is_json() {
        let json = |one: &Undone| {
            serde_json::json!({
                "forgotten": one.forgotten.to_string(),
                "snapshot": one.snapshot.to_string(),
                "new": one.is_new,
            })
        };
        return console.object(&undone.iter().map(json).collect::<Vec<_>>());
    }
    let lines: Vec<String> = undone
        .iter()
        .map(|one| {
            let (from, to) = (short_id(&one.forgotten), short_id(&one.snapshot));
            let since = if one.is_new { "is back as" } else { "was brought back before, as" };
            format!("{from} {since} {to}")
        })
        .collect();
    if lines.is_empty() { Ok(()) } else { console.summary(&lines) }
}
