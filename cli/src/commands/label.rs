//! `tag`, `hold` and `release`: what is said of snapshots after they were made.

use serde::Serialize;
use strongroom_core::{
    entry::display_name,
    forget::{LabelChange, LabelOutcome, TagChange, change_labels},
};

use super::select::{self, short_id};
use crate::{
    access::Context,
    args::{ChosenArgs, TagArgs, TagSet},
    error::{Doing, Result},
    exit::Exit,
    output::human,
};

/// Changes tags.
pub async fn tag(args: &TagArgs, context: &Context) -> Result<Exit> {
    let all = |sets: &[TagSet]| sets.iter().flat_map(|set| set.0.clone()).collect();
    let tags = match &args.set {
        Some(set) => TagChange::Set(set.0.clone()),
        None => TagChange::Edit { add: all(&args.add), remove: all(&args.remove) },
    };
    run(&args.chosen, &LabelChange::tags(tags), context).await
}

/// Holds snapshots, or releases them.
pub async fn hold(chosen: &ChosenArgs, is_held: bool, context: &Context) -> Result<Exit> {
    run(chosen, &LabelChange::hold(is_held), context).await
}

async fn run(args: &ChosenArgs, change: &LabelChange, context: &Context) -> Result<Exit> {
    let console = context.console;
    let opened = context.open().await?;
    let repository = &opened.repository;
    let listing = select::list(repository, &args.filter, console);
    let listed = context.interrupt.or(listing).await?;
    let mut ids: Vec<_> = listed.choose_all(&args.snapshots)?.iter().map(|one| one.id).collect();
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    let doing = || "cannot change what is said of the snapshots".to_owned();
    let work = async { change_labels(repository, &ids, change).await.doing(doing) };
    let outcomes = context.interrupt.or(work).await?;
    if console.is_json() {
        console.object(&outcomes.iter().map(LabelJson::new).collect::<Vec<_>>())?;
    } else {
        let mut lines: Vec<String> = outcomes.iter().map(line).collect();
        let changed = outcomes.iter().filter(|outcome| outcome.is_changed).count();
        lines.push(format!("{} changed", human::count(changed as u64, "snapshot")));
        console.summary(&lines)?;
    }
    Ok(if listed.damaged.is_empty() { Exit::Done } else { Exit::Damaged })
}

fn line(outcome: &LabelOutcome) -> String {
    let tags: Vec<String> = outcome.tags.iter().map(|tag| display_name(tag.as_bytes())).collect();
    let tags = if tags.is_empty() { "no tags".to_owned() } else { tags.join(",") };
    let held = if outcome.is_held { ", held" } else { "" };
    format!("{}: {tags}{held}", short_id(&outcome.id))
}

#[derive(Serialize)]
struct LabelJson<'a> {
    id: String,
    short_id: String,
    tags: &'a [String],
    held: bool,
    changed: bool,
}

impl<'a> LabelJson<'a> {
    fn new(outcome: &'a LabelOutcome) -> Self {
        Self {
            id: outcome.id.to_string(),
            short_id: short_id(&outcome.id),
            tags: &outcome.tags,
            held: outcome.is_held,
            changed: outcome.is_changed,
        }
    }
}
