//! Forgetting snapshots, bringing forgotten ones back, and what people say of them afterwards.
//!
//! A snapshot is forgotten by a tombstone beside its commit and nothing else: its data stays until
//! the next prune. Labels give it other tags and hold it. Everything here is one create-if-absent
//! of a small object, so that runs beside it are never in the way. Policies are [`retention`]'s;
//! removing data is prune's.
//!
//! [`retention`]: crate::retention

mod label;
mod survey;
#[cfg(test)]
mod tests;
mod undo;

pub use self::{
    label::{LabelChange, LabelOutcome, TagChange, change_labels},
    survey::Survey,
    undo::{UndoOptions, Undone, forgotten, undo},
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::commit::ObjectHash,
    id::SessionId,
    repository::{Repository, Snapshot},
    retention::GroupBy,
    target::{TargetErrorKind, TargetExt},
    tasks,
};

/// Small objects written at once.
const WRITES_AT_ONCE: usize = 16;

/// What a forget did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForgetReport {
    /// Snapshots that are forgotten now.
    pub forgotten: Vec<SessionId>,
    /// Snapshots that had been forgotten before.
    pub already: Vec<SessionId>,
}

/// Forgets the snapshots `ids` of `survey`; those whose commits cannot be read, too: only by
/// their ids they can be told. `host` is recorded for people.
///
/// # Errors
/// `Invalid` if one of them is held, `NotFound` if there is no such snapshot: then nothing was
/// done. `Conflict` if somebody began to hold one of them meanwhile: all are forgotten, and
/// [`undo`] brings that one back, held. What the target reports: then some may be forgotten, and
/// a second run does the rest.
pub async fn forget(
    repository: &Repository,
    survey: &Survey,
    ids: &[SessionId],
    host: &str,
) -> Result<ForgetReport> {
    let mut report = ForgetReport::default();
    let mut chosen: Vec<(SessionId, ObjectHash)> = Vec::new();
    for id in ids {
        match survey.snapshot(*id) {
            Some(snapshot) => chosen.push((snapshot.id, snapshot.hash)),
            // nobody knows what was written
            None if survey.unreadable.contains_key(id) => chosen.push((*id, ObjectHash::default())),
            None if survey.forgotten.contains(id) => report.already.push(*id),
            None => return Err(Error::new(ErrorKind::NotFound, "there is no such snapshot").on(id)),
        }
    }
    expect_not_held(survey, ids)?;
    let writes = chosen.iter().map(|(id, hash)| async move {
        match bury(repository, *id, *hash, host).await {
            Err(error) if repository.makes_room_after(&error).await? => {
                bury(repository, *id, *hash, host).await
            }
            outcome => outcome,
        }
    });
    tasks::each(writes, WRITES_AT_ONCE, |written| {
        let (id, is_new) = written?;
        if is_new {
            report.forgotten.push(id)
        } else {
            report.already.push(id)
        }
        Ok::<_, Error>(())
    })
    .await?;
    if !report.forgotten.is_empty() {
        expect_not_held_meanwhile(repository, &report.forgotten).await?;
    }
    Ok(report)
}

/// Writes the tombstone of one snapshot; false if there is one already. One that cannot be read
/// counts for nothing and is replaced.
async fn bury(
    repository: &Repository,
    session: SessionId,
    commit: ObjectHash,
    host: &str,
) -> Result<(SessionId, bool)> {
    let (key, sealed) = repository.seal_tombstone(session, commit, host)?;
    match repository.target().create(&key, sealed.clone()).await {
        Ok(()) => {}
        Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {
            match repository.load_tombstone(session).await {
                Ok(_) => return Ok((session, false)),
                Err(error) if error.kind() == ErrorKind::Damaged => {
                    repository.target().replace(&key, sealed.clone()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error.into()),
    }
    repository.cache().put(key.as_str(), sealed).await;
    Ok((session, true))
}

/// Who holds a snapshot looks for a tombstone afterwards, and who writes a tombstone looks for a
/// hold: of two who do so at once, at least one finds out.
async fn expect_not_held_meanwhile(repository: &Repository, ids: &[SessionId]) -> Result<()> {
    let listing = repository.list_meta().await?;
    let labelled = ids.iter().filter_map(|id| Some((*id, label::newest_number(&listing, *id)?)));
    for (id, number) in labelled {
        if repository.load_label(id, number).await?.is_held {
            let message = "somebody began to hold it while it was being forgotten";
            return Err(Error::new(ErrorKind::Conflict, message)
                .on(id)
                .hint("`strongroom forget --undo` brings it back, held"));
        }
    }
    Ok(())
}

/// Checks that none of the snapshots `ids` is held.
///
/// # Errors
/// `Invalid`, naming one that is.
pub fn expect_not_held(survey: &Survey, ids: &[SessionId]) -> Result<()> {
    let is_held = |id: &&SessionId| match survey.snapshot(**id) {
        Some(snapshot) => survey.is_held(snapshot),
        None => survey.unreadable.get(*id).is_some_and(|is_held| *is_held),
    };
    let held: Vec<SessionId> = ids.iter().filter(is_held).copied().collect();
    let Some(first) = held.first() else { return Ok(()) };
    let message = match held.len() {
        1 => "is held and cannot be forgotten".to_owned(),
        more => format!("is held and cannot be forgotten; neither can {} others", more - 1),
    };
    let hint = match survey.unlabelled.contains(first) {
        true => "its label is damaged, so it counts as held; `strongroom release` writes a new one",
        false => "`strongroom release` lets it go",
    };
    Err(Error::new(ErrorKind::Invalid, message).on(first).hint(hint))
}

/// Checks that each group of `snapshots` keeps a snapshot without `ids`.
///
/// # Errors
/// `Invalid`, naming the newest snapshot of a group that would be empty.
pub fn expect_survivors(
    snapshots: &[Snapshot],
    ids: &[SessionId],
    group_by: GroupBy,
) -> Result<()> {
    let group = |one: &Snapshot| group_by.group(&one.host, &one.paths, &one.tags);
    let stay = snapshots.iter().filter(|one| !ids.contains(&one.id));
    let alive: std::collections::BTreeSet<_> = stay.map(group).collect();
    let go = snapshots.iter().rev().filter(|one| ids.contains(&one.id));
    match go.into_iter().find(|one| !alive.contains(&group(one))) {
        None => Ok(()),
        Some(last) => {
            let message = "is the last snapshot of its host and paths";
            Err(Error::new(ErrorKind::Invalid, message)
                .on(last.id)
                .hint("--force forgets it nevertheless"))
        }
    }
}
