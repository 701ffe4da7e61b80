//! Which snapshot the user means.

use super::Snapshot;
use crate::{
    error::{Error, ErrorKind, Result},
    runtime::Timestamp,
};

/// A choice of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest but `n`: 0 is the latest.
    Latest(usize),
    /// The newest that is not later than this time.
    NotLaterThan(Timestamp),
    /// The one whose id begins with these hex digits.
    IdPrefix(String),
}

impl Selector {
    /// Finds the snapshot in a list sorted oldest first.
    ///
    /// # Errors
    /// `NotFound` if nothing matches, `Invalid` if an id prefix matches several.
    pub fn select<'a>(&self, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot> {
        match self {
            Self::Latest(back) => snapshots
                .iter()
                .rev()
                .nth(*back)
                .ok_or_else(|| none(format!("there are only {} snapshots", snapshots.len()))),
            Self::NotLaterThan(time) => snapshots
                .iter()
                .rev()
                .find(|snapshot| snapshot.time <= *time)
                .ok_or_else(|| none("no snapshot is that old".to_owned())),
            Self::IdPrefix(prefix) => by_prefix(prefix, snapshots),
        }
    }
}

fn by_prefix<'a>(prefix: &str, snapshots: &'a [Snapshot]) -> Result<&'a Snapshot> {
    let mut matches =
        snapshots.iter().filter(|snapshot| snapshot.id.to_string().starts_with(prefix));
    match (matches.next(), matches.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(none("no snapshot has an id that begins so".to_owned()).on(prefix)),
        (Some(_), Some(_)) => {
            Err(Error::new(ErrorKind::Invalid, "several snapshots have ids that begin so")
                .on(prefix)
                .hint("give more digits of the id"))
        }
    }
}

fn none(message: String) -> Error {
    Error::new(ErrorKind::NotFound, message).hint("`strongroom snapshots` lists what there is")
}
