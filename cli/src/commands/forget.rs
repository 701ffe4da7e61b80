//! `forget`: by policy, by name, and back again.

use strongroom_core::{
    error::ErrorKind,
    forget::{self, ForgetReport, Survey, UndoOptions, Undone},
    id::SessionId,
    repository::{Repository, Selector, SnapshotList},
    retention::{self, Candidate, GroupPlan, RetentionOptions},
};

use super::{
    forget_report::{self as report, Plan},
    prune,
    requests::Requests,
    select::{self, Listed},
};
use crate::{
    access::Context,
    args::{ForgetArgs, SnapshotChoice, Zone},
    env,
    error::{Doing, Result},
    exit::Exit,
};

const DOING: fn() -> String = || "cannot forget".to_owned();

/// Forgets, or brings back.
pub async fn run(args: &ForgetArgs, context: &Context) -> Result<Exit> {
    if args.undo {
        return undo(args, context).await;
    }
    let opened = context.open().await?;
    if args.prune && !args.dry_run {
        prune::expect_safe(&opened, context).await?;
    }
    let reading = async { Survey::read(&opened.repository).await.doing(DOING) };
    let survey = context.interrupt.or(reading).await?;
    let list =
        SnapshotList { snapshots: survey.snapshots.clone(), damaged: survey.damaged.clone() };
    let listed = select::filtered(list, &args.filter, context.console);
    let exit = if listed.damaged.is_empty() { Exit::Done } else { Exit::Damaged };
    let forgotten = if args.snapshots.is_empty() {
        by_policy(args, &opened.repository, &survey, &listed, context).await?
    } else {
        by_name(args, &opened.repository, &survey, &listed, context).await?
    };
    if context.console.is_verbose() && !context.console.is_json() {
        context.console.text(&Requests::from(opened.requests()).line())?;
    }
    if args.prune && !args.dry_run && forgotten > 0 {
        prune::work(&args.how, false, &opened, context).await?;
    }
    Ok(exit)
}

/// The zone that was asked for, and how the policy is applied.
fn retention_options(args: &ForgetArgs, context: &Context) -> (Zone, RetentionOptions) {
    let zone = args.time_zone.clone().unwrap_or_else(Zone::system);
    let options = RetentionOptions {
        group_by: args.group_by,
        zone: zone.rules.clone(),
        now: context.runtime.clock.now(),
        may_empty_groups: args.force,
    };
    (zone, options)
}

async fn by_policy(
    args: &ForgetArgs,
    repository: &Repository,
    survey: &Survey,
    listed: &Listed,
    context: &Context,
) -> Result<usize> {
    let (zone, options) = retention_options(args, context);
    let candidates: Vec<Candidate> =
        listed.filtered.iter().map(|snapshot| survey.candidate(snapshot)).collect();
    let groups = retention::plan(&candidates, &args.policy.policy(), &options).doing(DOING)?;
    let plan = Plan { groups: &groups, survey, zone: &zone, is_dry_run: args.dry_run };
    let console = context.console;
    if !console.is_json() {
        report::print_plan(&plan, console)?;
    }
    let ids = to_forget(&groups);
    let done = match args.dry_run {
        true => ForgetReport::default(),
        false => forget_all(repository, survey, &ids, context).await?,
    };
    if console.is_json() {
        report::json_plan(&plan, console)?;
    } else {
        report::summary(&done, ids.len(), args.dry_run, console)?;
    }
    Ok(done.forgotten.len())
}

fn to_forget(groups: &[GroupPlan]) -> Vec<SessionId> {
    let decisions = groups.iter().flat_map(|group| &group.decisions);
    decisions.filter(|decision| !decision.is_kept()).map(|decision| decision.id).collect()
}

async fn by_name(
    args: &ForgetArgs,
    repository: &Repository,
    survey: &Survey,
    listed: &Listed,
    context: &Context,
) -> Result<usize> {
    let mut ids = Vec::new();
    for choice in &args.snapshots {
        let id = choose(choice, survey, listed)?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if !args.force {
        forget::expect_survivors(&survey.snapshots, &ids, args.group_by).doing(DOING)?;
    }
    forget::expect_not_held(survey, &ids).doing(DOING)?;
    let done = match args.dry_run {
        true => ForgetReport::default(),
        false => forget_all(repository, survey, &ids, context).await?,
    };
    let console = context.console;
    if console.is_json() {
        report::json_named(&ids, &done, args.dry_run, console)?;
    } else {
        report::summary(&done, ids.len(), args.dry_run, console)?;
    }
    Ok(done.forgotten.len())
}

/// The snapshot that is named; an id may be that of one that was forgotten already, or whose
/// commit cannot be read.
fn choose(choice: &SnapshotChoice, survey: &Survey, listed: &Listed) -> Result<SessionId> {
    let found = listed.choose(choice);
    if let (Err(_), Selector::IdPrefix(prefix)) = (&found, &choice.selector) {
        let others = survey.forgotten.iter().chain(survey.unreadable.keys());
        let mut matches = others.filter(|id| id.to_string().starts_with(prefix));
        if let (Some(only), None) = (matches.next(), matches.next()) {
            return Ok(*only);
        }
    }
    found.map(|snapshot| snapshot.id)
}

async fn forget_all(
    repository: &Repository,
    survey: &Survey,
    ids: &[SessionId],
    context: &Context,
) -> Result<ForgetReport> {
    let host = env::host_name();
    let work = async { forget::forget(repository, survey, ids, &host).await.doing(DOING) };
    context.interrupt.or(work).await
}

async fn undo(args: &ForgetArgs, context: &Context) -> Result<Exit> {
    let doing = || "cannot bring snapshots back".to_owned();
    let console = context.console;
    let opened = context.open().await?;
    let repository = &opened.repository;
    let listing = async { forget::forgotten(repository).await.doing(doing) };
    let list = context.interrupt.or(listing).await?;
    let listed = select::filtered(list, &args.filter, console);
    let chosen = listed.choose_all(&args.snapshots)?;
    let options = UndoOptions { client: context.client_id(), host: env::host_name() };
    let mut undone: Vec<Undone> = Vec::new();
    let mut failed = None;
    for snapshot in chosen {
        match forget::undo(repository, snapshot.id, &options).await {
            Ok(one) => undone.push(one),
            // the others may still be saved
            Err(error) if error.kind() == ErrorKind::NotFound => {
                console.item_error("undo", &snapshot.id.to_string(), &error.to_string());
                failed = Some(error);
            }
            Err(error) => return Err(error).doing(doing),
        }
    }
    report::undone(&undone, console)?;
    match failed {
        Some(error) => Err(error).doing(doing),
        None => Ok(Exit::Done),
    }
}
