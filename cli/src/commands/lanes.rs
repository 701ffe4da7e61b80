//! `backup` into several repositories at once: each has its own result.

use std::collections::HashSet;

use serde::Serialize;
use strongroom_core::{
    backup::{self, BackupOptions, BackupReport, Lane},
    format::slot::RecoveryKey,
};

use super::{
    backup::{NewRepository, Summary, lines, open, options},
    requests::Requests,
};
use crate::{
    access::{Context, Opened},
    args::BackupArgs,
    error::{Failure, Result},
    exit::Exit,
    output::{Console, progress::Reporter},
    sources,
};

/// One repository, as far as it got.
struct Place<'a> {
    context: &'a Context,
    opened: Option<(Opened, Option<RecoveryKey>)>,
    result: Option<Result<(BackupReport, BackupOptions)>>,
}

/// Backs up, then says of each repository what was done.
pub async fn run(args: &BackupArgs, contexts: &[Context]) -> Result<Exit> {
    let Some(first) = contexts.first() else {
        return Err(Failure::usage("no repository was named"));
    };
    let console = first.console;
    let repositories = contexts.iter().map(|context| &context.access);
    let source = sources::source(args, repositories, first.runtime.clock.now())?;
    let mut places = Vec::new();
    for context in contexts {
        places.push(Place::open(args, context).await?);
    }
    refuse_twice(&places)?;
    let mut lanes = Vec::new();
    for place in &mut places {
        lanes.extend(place.lane(args).await?);
    }
    let reporter = Reporter::start(console, first.interrupt.clone(), "archival");
    let results = backup::backup_to_all(&lanes, source, reporter.clone()).await;
    reporter.finish();
    let mut results = results.into_iter().zip(lanes);
    for place in places.iter_mut().filter(|place| place.result.is_none()) {
        place.result = results.next().map(|(result, lane)| match result {
            Ok(report) => Ok((report, lane.options)),
            Err(error) => Err(Failure::from(error).doing("cannot back up")),
        });
    }
    let mut exit = Exit::Done;
    for place in &places {
        exit = worst(exit, place.show(console)?);
    }
    Ok(exit)
}

/// Two names may lead to one repository.
fn refuse_twice(places: &[Place<'_>]) -> Result<()> {
    let mut ids = HashSet::new();
    for place in places {
        let id = place.opened.as_ref().map(|(opened, _)| opened.repository.id());
        if id.is_some_and(|id| !ids.insert(id)) {
            let name = place.context.access.place();
            return Err(Failure::usage(format!("{name}: the same repository was named twice")));
        }
    }
    Ok(())
}

/// The first failure counts; that some items could not be read counts less.
fn worst(before: Exit, now: Exit) -> Exit {
    match (before, now) {
        (Exit::Done, now) => now,
        (Exit::Incomplete, now) if now != Exit::Done => now,
        (before, _) => before,
    }
}

impl<'a> Place<'a> {
    async fn open(args: &BackupArgs, context: &'a Context) -> Result<Self> {
        let (opened, result) = match open(args, context).await {
            Ok(opened) => (Some(opened), None),
            Err(failure) if failure.exit() == Exit::Interrupted => return Err(failure),
            Err(failure) => (None, Some(Err(failure))),
        };
        Ok(Self { context, opened, result })
    }

    /// What the engine is to do, unless this one has failed.
    async fn lane(&mut self, args: &BackupArgs) -> Result<Option<Lane>> {
        let Some((opened, _)) = &self.opened else { return Ok(None) };
        match options(args, opened, self.context).await {
            Ok(options) => Ok(Some(Lane { repository: opened.repository.clone(), options })),
            Err(failure) if failure.exit() == Exit::Interrupted => Err(failure),
            Err(failure) => {
                self.result = Some(Err(failure));
                Ok(None)
            }
        }
    }

    fn show(&self, console: Console) -> Result<Exit> {
        let name = self.context.access.place();
        let new = self
            .opened
            .as_ref()
            .and_then(|(opened, key)| key.as_ref().map(|key| NewRepository::new(opened, key)));
        let requests = || {
            let metrics = self.opened.as_ref().map(|(opened, _)| opened.requests());
            Requests::from(metrics.unwrap_or_default())
        };
        match &self.result {
            Some(Ok((report, options))) => {
                if console.is_json() {
                    let mut summary = Summary::new(report, options, requests(), new);
                    summary.repository = Some(name);
                    console.object(&summary)?;
                } else {
                    let mut text = vec![format!("{name}:")];
                    text.extend(lines(report, options));
                    text.extend(console.is_verbose().then(|| requests().line()));
                    console.summary(&text)?;
                }
                let is_complete = report.problem_count == 0;
                Ok(if is_complete { Exit::Done } else { Exit::Incomplete })
            }
            Some(Err(failure)) => self.show_failure(failure, name, new, console),
            None => Err(Failure::new(Exit::Failed, format!("{name}: nothing was done"))),
        }
    }

    fn show_failure(
        &self,
        failure: &Failure,
        name: String,
        new_repository: Option<NewRepository>,
        console: Console,
    ) -> Result<Exit> {
        let named = Failure::new(failure.exit(), failure.to_string()).doing(name.as_str());
        let named = match failure.hint_text() {
            Some(hint) => named.hint(hint),
            None => named,
        };
        console.failure(&named);
        if console.is_json() {
            console.object(&Failed {
                message_type: "summary",
                repository: name,
                snapshot_id: None,
                code: failure.exit().code(),
                error: failure.to_string(),
                new_repository,
            })?;
        }
        Ok(failure.exit())
    }
}

/// The summary of a repository that has no new snapshot.
#[derive(Debug, Serialize)]
struct Failed {
    message_type: &'static str,
    repository: String,
    snapshot_id: Option<String>,
    code: u8,
    error: String,
    #[serde(flatten)]
    new_repository: Option<NewRepository>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_exit_code() {
        let of = |exits: &[Exit]| exits.iter().copied().fold(Exit::Done, worst);
        assert_eq!(of(&[Exit::Done, Exit::Done]), Exit::Done);
        assert_eq!(of(&[Exit::Done, Exit::Storage, Exit::WrongKey]), Exit::Storage);
        assert_eq!(of(&[Exit::Incomplete, Exit::Done]), Exit::Incomplete);
        assert_eq!(of(&[Exit::Incomplete, Exit::Busy, Exit::Incomplete]), Exit::Busy);
    }
}
