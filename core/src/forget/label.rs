//! Tags and holds: small objects beside commits, which never change.
//!
//! A label says everything that the one before it said, with a change; two people who change the
//! same snapshot at once both have their way.

use bytes::Bytes;

use super::{Survey, WRITES_AT_ONCE};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{commit::Commit, label::Label, object::ObjectType, record},
    id::SessionId,
    repository::{
        MetaListing, Repository,
        layout::{self, MetaName},
    },
    target::{TargetErrorKind, TargetExt},
    tasks,
};

/// How often others may be faster before we give up.
const ATTEMPTS_MAX: usize = 100;
/// Tags that one snapshot may have.
const TAGS_MAX: usize = 1_000;

/// What becomes of the tags of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagChange {
    /// Nothing.
    Keep,
    /// These, and no others.
    Set(Vec<String>),
    /// Some more and some less.
    Edit {
        /// Tags that it gets, if it has them not.
        add: Vec<String>,
        /// Tags that it loses, if it has them.
        remove: Vec<String>,
    },
}

/// What is said of a snapshot from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelChange {
    /// Its tags.
    pub tags: TagChange,
    /// Whether it is held; `None` changes nothing.
    pub hold: Option<bool>,
}

impl LabelChange {
    /// Other tags.
    pub fn tags(tags: TagChange) -> Self {
        Self { tags, hold: None }
    }

    /// Held, or no longer.
    pub fn hold(is_held: bool) -> Self {
        Self { tags: TagChange::Keep, hold: Some(is_held) }
    }

    fn apply(&self, label: &Label) -> Label {
        let mut tags = match &self.tags {
            TagChange::Keep => label.tags.clone(),
            TagChange::Set(tags) => tags.clone(),
            TagChange::Edit { add, remove } => {
                let kept = label.tags.iter().filter(|tag| !remove.contains(tag));
                kept.chain(add).cloned().collect()
            }
        };
        let mut seen = std::collections::BTreeSet::new();
        tags.retain(|tag| seen.insert(tag.clone()));
        Label { session: label.session, tags, is_held: self.hold.unwrap_or(label.is_held) }
    }
}

/// What a change came to for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelOutcome {
    /// The snapshot.
    pub id: SessionId,
    /// Its tags now.
    pub tags: Vec<String>,
    /// Whether it is held now.
    pub is_held: bool,
    /// False if it was so before.
    pub is_changed: bool,
}

/// Changes what is said of the snapshots `ids`.
///
/// # Errors
/// `NotFound` if there is no such snapshot: then nothing was done. `Conflict` if one that was to
/// be held was forgotten meanwhile. `Invalid` for more than 1,000 tags, or what the target
/// reports: then some may be changed.
pub async fn change_labels(
    repository: &Repository,
    ids: &[SessionId],
    change: &LabelChange,
) -> Result<Vec<LabelOutcome>> {
    let listing = repository.list_meta().await?;
    let survey = Survey::from_listing(repository, &listing).await?;
    let mut works = Vec::new();
    for id in ids {
        let Some(snapshot) = survey.snapshot(*id) else {
            return Err(Error::new(ErrorKind::NotFound, "there is no such snapshot").on(id));
        };
        let is_held = survey.is_held(snapshot);
        let label = Label { session: *id, tags: snapshot.tags.clone(), is_held };
        let is_lost = survey.unlabelled.contains(id);
        works.push(change_label(repository, label, next_number(&listing, *id), change, is_lost));
    }
    let mut outcomes = Vec::with_capacity(works.len());
    tasks::each(works, WRITES_AT_ONCE, |outcome: Result<LabelOutcome>| {
        outcome.map(|outcome| outcomes.push(outcome))
    })
    .await?;
    if change.hold == Some(true) {
        expect_not_forgotten(repository, ids).await?;
    }
    Ok(outcomes)
}

/// The other half of what those do who forget.
async fn expect_not_forgotten(repository: &Repository, ids: &[SessionId]) -> Result<()> {
    let tombstones = repository.list_meta().await?.tombstones();
    match ids.iter().find(|id| tombstones.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let message = "somebody forgot it while it was about to be held";
            Err(Error::new(ErrorKind::Conflict, message)
                .on(id)
                .hint("`strongroom forget --undo` brings it back, held"))
        }
    }
}

/// What is said of the snapshot of `commit`, whether or not it was forgotten. If that cannot be
/// read, it counts as held.
pub(super) async fn current(
    repository: &Repository,
    listing: &MetaListing,
    commit: &Commit,
) -> Result<Label> {
    let session = commit.session;
    let original = Label { session, tags: commit.tags.clone(), is_held: false };
    let Some(number) = newest_number(listing, session) else { return Ok(original) };
    match repository.load_label(session, number).await {
        Err(error) if error.kind() == ErrorKind::Damaged => {
            tracing::warn!(%error, "the snapshot counts as held");
            Ok(Label { is_held: true, ..original })
        }
        read => read,
    }
}

/// The number of the newest label of `id`.
pub(super) fn newest_number(listing: &MetaListing, id: SessionId) -> Option<u32> {
    let numbers = listing.names().filter_map(|name| match name {
        MetaName::Label(session, number) if session == id => Some(number),
        _ => None,
    });
    numbers.max()
}

/// The number after that of the newest label of `id`.
fn next_number(listing: &MetaListing, id: SessionId) -> Option<u32> {
    newest_number(listing, id).map_or(Some(0), |newest| newest.checked_add(1))
}

/// Writes the label after `current`; if somebody was faster, theirs is changed instead. A label
/// that cannot be read (`is_lost`) is replaced in any case.
async fn change_label(
    repository: &Repository,
    mut current: Label,
    mut next: Option<u32>,
    change: &LabelChange,
    is_lost: bool,
) -> Result<LabelOutcome> {
    let id = current.session;
    for _ in 0..ATTEMPTS_MAX {
        let wanted = change.apply(&current);
        if wanted.tags.len() > TAGS_MAX {
            let message = format!("a snapshot can have at most {TAGS_MAX} tags");
            return Err(Error::new(ErrorKind::Invalid, message).on(id));
        }
        let is_changed = is_lost || wanted != current;
        let number = next.ok_or_else(|| Error::internal("too many labels").on(id))?;
        if !is_changed || write(repository, &wanted, number).await? {
            let Label { tags, is_held, .. } = wanted;
            return Ok(LabelOutcome { id, tags, is_held, is_changed });
        }
        current = repository.load_label(id, number).await?;
        next = number.checked_add(1);
    }
    let message = "its tags are being changed by others again and again";
    Err(Error::new(ErrorKind::Conflict, message).on(id).hint("try again"))
}

/// Stores a label; false if there is one of this number.
pub(super) async fn write(repository: &Repository, label: &Label, number: u32) -> Result<bool> {
    let name = MetaName::Label(label.session, number).to_string();
    let randomness = &*repository.runtime().randomness;
    let content = label.encode();
    let keys = repository.keys();
    let sealed = record::seal(keys, ObjectType::Label, &name, &content, randomness)?;
    match repository.target().create(&layout::key(&name)?, Bytes::from(sealed)).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == TargetErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|&tag| tag.to_owned()).collect()
    }

    #[test]
    fn changes_keep_the_rest_and_repeat_nothing() {
        let label = Label { session: SessionId([1; 16]), tags: owned(&["a", "b"]), is_held: true };
        let edit = |add: &[&str], remove: &[&str]| TagChange::Edit {
            add: owned(add),
            remove: owned(remove),
        };
        let cases = [
            (TagChange::Keep, owned(&["a", "b"])),
            (TagChange::Set(owned(&["x", "y", "x"])), owned(&["x", "y"])),
            (TagChange::Set(Vec::new()), Vec::new()),
            (edit(&["c", "a"], &[]), owned(&["a", "b", "c"])),
            (edit(&[], &["a", "z"]), owned(&["b"])),
            (edit(&["a"], &["a"]), owned(&["b", "a"])),
        ];
        for (change, expected) in cases {
            let changed = LabelChange::tags(change.clone()).apply(&label);
            assert_eq!((changed.tags, changed.is_held), (expected, true), "{change:?}");
        }
        let released = LabelChange::hold(false).apply(&label);
        assert_eq!((released.tags, released.is_held), (owned(&["a", "b"]), false));
    }
}
