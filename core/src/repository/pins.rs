//! What this machine remembers of a repository, so that a storage cannot take it back in time or
//! hide snapshots unnoticed.
//!
//! A pin is kept in a target of this machine's own (a private folder), one object a repository:
//! the highest collector generation seen, and every snapshot that was there and not forgotten.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{History, MetaListing, Repository};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{cbor, commit::ObjectHash},
    id::SessionId,
    target::{ByteRange, ObjectKey, SharedTarget, TargetErrorKind, TargetExt},
};

/// Where pins are kept, and what to do where they do not fit.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    /// A private place of this machine; without one nothing is remembered.
    pub store: Option<SharedTarget>,
    /// Take what is there for granted, and remember that from now on.
    pub accepts_rollback: bool,
    /// A commit that must be there, by the beginning of its hash in hex: for machines that
    /// remember nothing yet.
    pub expected_head: Option<String>,
}

/// What is remembered of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pin {
    generation: u64,
    /// Commits by session, with their hashes.
    commits: BTreeMap<SessionId, ObjectHash>,
}

impl Pin {
    fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.array(2)?.u64(self.generation)?.array(self.commits.len() as u64)?;
            for (session, hash) in &self.commits {
                out.array(2)?.bytes(session.as_bytes())?.bytes(hash)?;
            }
            Ok(())
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        cbor::decode_with(bytes, "pin", |input| {
            cbor::array_of(input, 2)?;
            let mut pin = Self { generation: input.u64()?, commits: BTreeMap::new() };
            for _ in 0..cbor::array_len(input)? {
                cbor::array_of(input, 2)?;
                let session = SessionId(cbor::fixed(input)?);
                pin.commits.insert(session, cbor::fixed(input)?);
            }
            Ok(pin)
        })
    }

    /// What of this is not there any more though nobody forgot it.
    pub(crate) fn missing_in(&self, now: &Seen) -> Option<String> {
        for (session, hash) in &self.commits {
            match now.commits.get(session) {
                Some(found) if found == hash => {}
                Some(_) => return Some(format!("snapshot {session} is another one than before")),
                None if now.forgotten.contains(session) => {}
                None if now.unreadable.contains(session) => {}
                None => return Some(format!("snapshot {session} is missing")),
            }
        }
        (self.generation > now.generation).then(|| {
            let (then, now) = (self.generation, now.generation);
            format!("prune was at step {then} and is at step {now} now")
        })
    }
}

/// What there is of a repository now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Of the collector.
    pub(crate) generation: u64,
    /// Snapshots and maintenance, with the hashes of their commits.
    pub(crate) commits: BTreeMap<SessionId, ObjectHash>,
    /// Sessions with a tombstone.
    pub(crate) forgotten: BTreeSet<SessionId>,
    /// Sessions whose commits are listed and cannot be read.
    pub(crate) unreadable: BTreeSet<SessionId>,
}

impl Seen {
    fn new(listing: &MetaListing, history: &History) -> Self {
        let read: BTreeSet<SessionId> =
            history.commits.iter().map(|loaded| loaded.commit.session).collect();
        let made = history.commits.iter().filter(|loaded| loaded.is_made());
        Self {
            generation: listing.newest_head(),
            commits: made.map(|loaded| (loaded.commit.session, loaded.hash)).collect(),
            forgotten: history.tombstones.clone(),
            unreadable: listing.commits().filter(|session| !read.contains(session)).collect(),
        }
    }
}

impl Repository {
    /// What this machine remembers; `None` if it remembers nothing at all. To be asked before
    /// the listing that it is compared with: another process of this machine may make a snapshot
    /// at any time, and remember it.
    ///
    /// # Errors
    /// `Internal` only.
    pub(crate) async fn remembered(&self) -> Result<Option<Pin>> {
        match self.pin_store()? {
            Some((store, key)) => Ok(read_pin(store, &key).await),
            None => Ok(None),
        }
    }

    /// Compares what is there with what this machine remembered before the listing, and
    /// remembers what is there now.
    ///
    /// # Errors
    /// `Damaged` if a snapshot that this machine has seen is neither there nor forgotten, if the
    /// collector went back, or if the expected head is not there.
    pub(crate) async fn check_pin(&self, listing: &MetaListing, history: &History) -> Result<()> {
        let pins = &self.0.pins;
        if let Some(expected) = &pins.expected_head {
            self.expect_head(expected, history)?;
        }
        let Some(before) = &listing.remembered else { return Ok(()) };
        let now = Seen::new(listing, history);
        if !pins.accepts_rollback
            && let Some(missing) = before.missing_in(&now)
        {
            return Err(self.went_back(&missing));
        }
        let Some((store, key)) = self.pin_store()? else { return Ok(()) };
        let Some(known) = read_pin(store, &key).await else { return Ok(()) };
        let mut next = Pin { generation: now.generation, commits: now.commits };
        if !pins.accepts_rollback {
            next.generation = next.generation.max(known.generation);
            // what is damaged today is still expected tomorrow
            for (session, hash) in &known.commits {
                if !history.tombstones.contains(session) {
                    next.commits.entry(*session).or_insert(*hash);
                }
            }
        }
        if next != known {
            write_pin(store, &key, &next).await;
        }
        Ok(())
    }

    /// Remembers a commit that was made here: nobody may take it back unnoticed from now on.
    pub(super) async fn pin_commit(&self, session: SessionId, hash: ObjectHash) -> Result<()> {
        let Some((store, key)) = self.pin_store()? else { return Ok(()) };
        if let Some(mut pin) = read_pin(store, &key).await {
            pin.commits.insert(session, hash);
            write_pin(store, &key, &pin).await;
        }
        Ok(())
    }

    fn pin_store(&self) -> Result<Option<(&SharedTarget, ObjectKey)>> {
        let Some(store) = &self.0.pins.store else { return Ok(None) };
        let key = ObjectKey::parse(&self.id().to_string())
            .map_err(|error| Error::internal("a bad name of a pin").because(error))?;
        Ok(Some((store, key)))
    }

    fn went_back(&self, missing: &str) -> Error {
        let message = format!("the repository is not what this machine saw last: {missing}");
        Error::new(ErrorKind::Damaged, message).on(self.target()).hint(
            "the storage lost it, hides it or went back in time; look for another copy of the \
             repository; --accept-rollback goes on with what is there",
        )
    }

    fn expect_head(&self, expected: &str, history: &History) -> Result<()> {
        let hex = |hash: &ObjectHash| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let is_there = history.commits.iter().any(|loaded| hex(&loaded.hash).starts_with(expected));
        if is_there {
            return Ok(());
        }
        let message = format!("there is no commit with the hash {expected}");
        Err(Error::new(ErrorKind::Damaged, message)
            .on(self.target())
            .hint("the repository is older than expected, or the snapshot was forgotten since"))
    }
}

/// What is remembered; `None` if that cannot be told. What does not read is forgotten.
async fn read_pin(store: &SharedTarget, key: &ObjectKey) -> Option<Pin> {
    match store.get(key, ByteRange::Full).await {
        Ok(bytes) => Some(Pin::decode(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "what this machine remembered cannot be read");
            Pin::default()
        })),
        Err(error) if error.kind() == TargetErrorKind::NotFound => Some(Pin::default()),
        Err(error) => {
            tracing::warn!(%error, "what this machine remembers cannot be read");
            None
        }
    }
}

async fn write_pin(store: &SharedTarget, key: &ObjectKey, pin: &Pin) {
    if let Err(error) = store.replace(key, Bytes::from(pin.encode())).await {
        tracing::warn!(%error, "this machine cannot remember what it saw");
    }
}
