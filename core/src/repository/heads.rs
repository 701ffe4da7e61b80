//! Collector heads: reading the newest, making the next.

use bytes::Bytes;

use super::{
    Repository,
    layout::{self, MetaName},
};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        collector::CollectorHead, commit::ObjectHash, object::ObjectType, record,
        tombstone::Tombstone,
    },
    id::SessionId,
    target::{ObjectKey, Payload, PutMode, TargetErrorKind},
};

impl Repository {
    /// The head of this number; the one before all others (idle, nothing gone) for 0.
    ///
    /// # Errors
    /// `NotFound` if a newer one took its place meanwhile, `Damaged`, or the target's.
    pub(crate) async fn load_head(&self, number: u64) -> Result<CollectorHead> {
        if number == 0 {
            return Ok(CollectorHead::default());
        }
        let name = MetaName::Collector(number).to_string();
        let open = |bytes: &Bytes| {
            let content = record::open(self.keys(), ObjectType::CollectorHead, &name, bytes)?;
            let head = CollectorHead::decode(&content)?;
            if head.number != number {
                return Err(Error::damaged(&name, "is the head of another number"));
            }
            Ok(head)
        };
        let read = self.cache().read(self.target(), &name, open).await;
        read.map_err(|error| if error.object().is_some() { error } else { error.on(&name) })
    }

    /// Makes `head` the newest by one create; false if another collector was faster.
    ///
    /// Older heads may have been deleted, so that a number long passed could be free again: it
    /// only counts if a listing made afterwards shows none above it.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn publish_head(&self, head: &CollectorHead) -> Result<bool> {
        let name = MetaName::Collector(head.number).to_string();
        let randomness = &*self.runtime().randomness;
        let content = head.encode();
        let kind = ObjectType::CollectorHead;
        let sealed = Bytes::from(record::seal(self.keys(), kind, &name, &content, randomness)?);
        let key = layout::key(&name)?;
        match self.target().put(&key, Payload::from(sealed.clone()), PutMode::Create).await {
            Ok(()) => {}
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if self.newest_head_number().await? != head.number {
            return Ok(false);
        }
        self.cache().put(&name, sealed).await;
        Ok(true)
    }

    /// Forgets a session; that it was forgotten already is fine.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn put_tombstone(
        &self,
        session: SessionId,
        commit: ObjectHash,
        host: &str,
    ) -> Result<()> {
        let (key, sealed) = self.seal_tombstone(session, commit, host)?;
        match self.target().put(&key, Payload::from(sealed), PutMode::Create).await {
            Err(error) if error.kind() != TargetErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A tombstone of now, sealed, and the key that it is stored under.
    pub(crate) fn seal_tombstone(
        &self,
        session: SessionId,
        commit: ObjectHash,
        host: &str,
    ) -> Result<(ObjectKey, Bytes)> {
        let time = self.runtime().clock.now();
        let content = Tombstone { session, commit, time, host: host.to_owned() }.encode();
        let name = MetaName::Tombstone(session).to_string();
        let randomness = &*self.runtime().randomness;
        let sealed = record::seal(self.keys(), ObjectType::Tombstone, &name, &content, randomness)?;
        Ok((layout::key(&name)?, Bytes::from(sealed)))
    }

    /// The number of the newest head that is stored; 0 if there is none.
    pub(crate) async fn newest_head_number(&self) -> Result<u64> {
        use futures::TryStreamExt;
        let prefix = layout::prefix(layout::COLLECTOR)?;
        let mut newest = 0;
        let mut objects = self.target().list(&prefix);
        while let Some(object) = objects.try_next().await? {
            if let Some(MetaName::Collector(number)) = MetaName::of(&object.key) {
                newest = newest.max(number);
            }
        }
        Ok(newest)
    }

    /// Fails with `Conflict` if the head `number` is no longer the newest.
    pub(crate) async fn expect_newest_head(&self, number: u64) -> Result<()> {
        match self.newest_head_number().await? == number {
            true => Ok(()),
            false => Err(overtaken()),
        }
    }
}

/// The error of a collector that another one took over from.
pub(crate) fn overtaken() -> Error {
    Error::new(ErrorKind::Conflict, "another prune took over")
        .hint("nothing is lost; the other one finishes the work")
}
