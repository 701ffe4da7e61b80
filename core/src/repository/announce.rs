//! Announcing a session before anything is written, and showing that it is still at work.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;

use super::{Repository, layout, layout::MetaName};
use crate::{
    error::Result,
    format::{object::ObjectType, record, session::SessionRecord},
    id::{ClientId, SessionId},
    runtime::{Timestamp, random},
    target::{Payload, PutMode},
};

/// How often a session shows that it is at work. Collectors give one up that shows nothing for
/// many times as long.
pub(crate) const BEAT_EVERY: Duration = Duration::from_secs(60);

/// A session that collectors wait for.
pub(crate) struct Announcement {
    repository: Repository,
    record: SessionRecord,
    is_spoken: bool,
    beat: AtomicU64,
}

impl Announcement {
    /// Announces a new session.
    pub(crate) async fn make(
        repository: &Repository,
        client: ClientId,
        host: &str,
    ) -> Result<Self> {
        let runtime = repository.runtime();
        let record = SessionRecord {
            session: SessionId(random(&*runtime.randomness)),
            client,
            started: runtime.clock.now(),
            host: host.to_owned(),
            beat: 0,
        };
        let repository = repository.clone();
        let announcement = Self { repository, record, is_spoken: true, beat: AtomicU64::new(0) };
        announcement.put(0, PutMode::Create).await?;
        Ok(announcement)
    }

    /// A session that will store nothing.
    pub(crate) fn unspoken(repository: &Repository) -> Self {
        let record = SessionRecord {
            session: SessionId(random(&*repository.runtime().randomness)),
            client: ClientId([0; 16]),
            started: Timestamp::default(),
            host: String::new(),
            beat: 0,
        };
        let (repository, beat) = (repository.clone(), AtomicU64::new(0));
        Self { repository, record, is_spoken: false, beat }
    }

    /// The session.
    pub(crate) fn session(&self) -> SessionId {
        self.record.session
    }

    /// Shows from time to time that the session goes on. Never returns.
    pub(crate) async fn keep_alive(&self) -> Infallible {
        if !self.is_spoken {
            return futures::future::pending().await;
        }
        loop {
            self.repository.runtime().clock.sleep(BEAT_EVERY).await;
            let beat = self.beat.fetch_add(1, Ordering::Relaxed) + 1;
            if let Err(error) = self.put(beat, PutMode::Replace).await {
                tracing::warn!(%error, "the session could not show that it is at work");
            }
        }
    }

    /// Takes the announcement back: nothing comes of the session.
    pub(crate) async fn withdraw(&self) {
        if !self.is_spoken {
            return;
        }
        let Ok(key) = layout::key(&self.name()) else { return };
        if let Err(error) = self.repository.target().delete(&key).await {
            tracing::warn!(%error, "the announcement of a run that did not begin stays");
        }
    }

    fn name(&self) -> String {
        MetaName::Session(self.record.session).to_string()
    }

    async fn put(&self, beat: u64, mode: PutMode) -> Result<()> {
        let name = self.name();
        let content = SessionRecord { beat, ..self.record.clone() }.encode();
        let randomness = &*self.repository.runtime().randomness;
        let keys = self.repository.keys();
        let sealed = record::seal(keys, ObjectType::Session, &name, &content, randomness)?;
        let payload = Payload::from(Bytes::from(sealed));
        self.repository.target().put(&layout::key(&name)?, payload, mode).await?;
        Ok(())
    }
}
