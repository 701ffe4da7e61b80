//! Healing before and while a repository is verified, if it has parity: small objects are compared
//! with their copies before they are opened; packs are healed when a reader finds them damaged.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    error::Result,
    monitor::{Monitor, Progress},
    repository::Repository,
    target::layers::ScrubOptions,
};

/// What was healed so far.
#[derive(Debug, Default)]
pub(super) struct Mended {
    names: Vec<String>,
    /// Objects that readers had healed before.
    before: usize,
}

/// Compares all small objects with their copies, and heals them. What cannot be healed is found
/// again when it is opened.
pub(super) async fn small_objects(
    repository: &Repository,
    monitor: &Arc<dyn Monitor>,
) -> Result<Mended> {
    let Some(layer) = repository.parity() else { return Ok(Mended::default()) };
    let options = ScrubOptions { only_small: true, ..ScrubOptions::default() };
    let scrubbed = layer.scrub(options, &Cancellable(monitor)).await?;
    let names = scrubbed.healed.into_iter().chain(scrubbed.completed).collect();
    Ok(Mended { names, before: layer.healed().len() })
}

impl Mended {
    /// Those, and what readers had healed since.
    pub(super) fn all(self, repository: &Repository) -> Vec<String> {
        let since = repository.parity().map(|layer| layer.healed()).unwrap_or_default();
        let since = since.iter().skip(self.before).map(ToString::to_string);
        let all: BTreeSet<String> = self.names.into_iter().chain(since).collect();
        all.into_iter().collect()
    }
}

/// Passes on whether to stop, and keeps the count of objects to itself: that of packs follows.
struct Cancellable<'a>(&'a Arc<dyn Monitor>);

impl Monitor for Cancellable<'_> {
    fn advance(&self, delta: Progress) {
        let _ = delta;
    }

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
