//! Waiting for writers, and giving up those that show no sign of life.
//!
//! A writer that was announced may still refer to anything that it saw. Its session ends by one
//! create: of its commit by the writer, or of an empty one by a collector. Clocks decide only
//! when that is tried, never whether data is safe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;

use super::PruneOptions;
use crate::{
    error::Result,
    format::{object::ObjectType, record, session::SessionRecord},
    id::SessionId,
    monitor::{Monitor, Problem},
    repository::{
        Repository,
        layout::{self, MetaName},
    },
    target::{ByteRange, TargetErrorKind, TargetExt},
};

/// How often writers are looked at, at most and at least.
const POLL_MAX: Duration = Duration::from_secs(5);
const POLL_MIN: Duration = Duration::from_millis(10);

/// For whom to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Until every session has ended.
    UntilEnded,
    /// Until every session has ended or shown that it is at work.
    UntilAlive,
}

/// What was seen of a session when.
struct Sight {
    beat: Option<u64>,
    since: Duration,
}

/// Waits for `sessions`; gives up those that show no sign of life for as long as the options say.
/// Gives the sessions that were given up.
///
/// # Errors
/// What the target reports, and `Interrupted`.
pub(super) async fn wait(
    repository: &Repository,
    sessions: BTreeSet<SessionId>,
    patience: Patience,
    options: &PruneOptions,
    monitor: &dyn Monitor,
) -> Result<Vec<SessionId>> {
    let clock = repository.runtime().clock.clone();
    let poll = (options.fence_after / 8).clamp(POLL_MIN, POLL_MAX);
    let mut given_up = Vec::new();
    let mut waiting: BTreeMap<SessionId, Option<Sight>> =
        sessions.into_iter().map(|session| (session, None)).collect();
    let mut was_said = false;
    while !waiting.is_empty() {
        super::check_cancelled(monitor)?;
        for session in waiting.keys().copied().collect::<Vec<_>>() {
            let now = clock.monotonic();
            let last = waiting.get(&session).and_then(Option::as_ref);
            let is_over = match look(repository, session).await? {
                Life::Ended => true,
                Life::Vanished => {
                    given_up.extend(repository.give_up(session).await?);
                    true
                }
                Life::Beats(beat) => match last {
                    Some(sight) if sight.beat != beat => {
                        waiting.insert(session, Some(Sight { beat, since: now }));
                        patience == Patience::UntilAlive
                    }
                    Some(sight) if now.saturating_sub(sight.since) >= options.fence_after => {
                        given_up.extend(repository.give_up(session).await?);
                        true
                    }
                    Some(_) => false,
                    None => {
                        waiting.insert(session, Some(Sight { beat, since: now }));
                        false
                    }
                },
            };
            if is_over {
                waiting.remove(&session);
            }
        }
        if !waiting.is_empty() {
            if !was_said {
                say_waiting(&waiting, monitor);
                was_said = true;
            }
            clock.sleep(poll).await;
        }
    }
    Ok(given_up)
}

fn say_waiting(waiting: &BTreeMap<SessionId, Option<Sight>>, monitor: &dyn Monitor) {
    for session in waiting.keys() {
        let item = MetaName::Session(*session).to_string();
        let message = "a writer is at work, or was killed: waiting for it".to_owned();
        monitor.problem(&Problem { item, message, is_error: false });
    }
}

/// How a session does.
enum Life {
    /// It has a commit, of whatever kind.
    Ended,
    /// Neither commit nor announcement.
    Vanished,
    /// The last beat that it showed; `None` if its announcement cannot be read.
    Beats(Option<u64>),
}

async fn look(repository: &Repository, session: SessionId) -> Result<Life> {
    let target = repository.target();
    if target.exists(&layout::key(&MetaName::Commit(session).to_string())?).await? {
        return Ok(Life::Ended);
    }
    let name = MetaName::Session(session).to_string();
    match target.get(&layout::key(&name)?, ByteRange::Full).await {
        Ok(bytes) => Ok(Life::Beats(beat_of(repository, &name, &bytes))),
        Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(Life::Vanished),
        Err(error) => Err(error.into()),
    }
}

fn beat_of(repository: &Repository, name: &str, bytes: &Bytes) -> Option<u64> {
    let content = record::open(repository.keys(), ObjectType::Session, name, bytes).ok()?;
    SessionRecord::decode(&content).ok().map(|record| record.beat)
}
