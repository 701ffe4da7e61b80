//! What happened to snapshots after they were made: tombstones, labels, steps of the collector.

use std::sync::Arc;

use super::{Run, small::Commits};
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        collector::CollectorHead, commit::ObjectHash, damage::Damage, epoch::EpochRecord,
        forwarding::Forwarding, label::Label, object::ObjectType, record, tombstone::Tombstone,
    },
    id::SessionId,
    repository::{Seen, layout::MetaName},
};

impl Run<'_> {
    /// Reads all of them, and notes in `commits` what they amount to.
    pub(super) async fn check_changes(&mut self, commits: &mut Commits) -> Result<()> {
        let mut damage = Damage::default();
        for (name, object) in self.inventory.others.clone() {
            let Some(bytes) = self.read_small_or_gone(&object).await? else { continue };
            match name {
                MetaName::Collector(number) => {
                    let head =
                        self.open_record(name, ObjectType::CollectorHead, &bytes, |content| {
                            CollectorHead::decode(content).map(|head| (head.number == number, head))
                        })?;
                    if let Some(head) = head.filter(|head| head.number > commits.head.number) {
                        commits.head = head;
                    }
                }
                MetaName::Tombstone(session) => {
                    let found =
                        self.open_record(name, ObjectType::Tombstone, &bytes, |content| {
                            let tombstone = Tombstone::decode(content)?;
                            Ok((tombstone.session == session, tombstone))
                        })?;
                    let Some(tombstone) = found else { continue };
                    commits.forgotten.insert(tombstone.session);
                    // forgotten without having been read
                    if tombstone.commit == ObjectHash::default() {
                        commits.forgotten_unread.insert(tombstone.session);
                    }
                }
                MetaName::Label(session, _) => {
                    self.open_record(name, ObjectType::Label, &bytes, |content| {
                        Label::decode(content).map(|label| (label.session == session, label))
                    })?;
                }
                MetaName::Epoch(epoch) => {
                    self.open_record(name, ObjectType::Epoch, &bytes, |content| {
                        EpochRecord::decode(epoch, content).map(|record| (true, record))
                    })?;
                }
                MetaName::Damage(_) => {
                    let found = self.open_record(name, ObjectType::Damage, &bytes, |content| {
                        Damage::decode(content).map(|damage| (true, damage))
                    })?;
                    found.iter().for_each(|more| damage.union(more));
                }
                _ => {}
            }
        }
        self.packs.avoid(damage, self.inventory.indexes.keys().copied().collect());
        let mut forwarding = Forwarding::default();
        let maintenance = commits.live().map(|(_, loaded)| &loaded.commit);
        let mut maintenance: Vec<_> =
            maintenance.filter(|commit| commit.forwarding.is_some()).collect();
        maintenance.sort_by_key(|commit| (commit.generation, commit.session));
        for rows in maintenance.iter().filter_map(|commit| commit.forwarding.as_ref()) {
            forwarding.override_with(rows);
        }
        commits.forwarding = Arc::new(forwarding);
        self.packs.follow(commits.forwarding.clone(), commits.head.number);
        self.repository.packs().follow(commits.forwarding.clone(), commits.head.number);
        Ok(())
    }

    /// Compares what there is with what this machine saw last.
    pub(super) fn check_pin(&mut self, commits: &Commits) {
        let is_read = |session: &SessionId| commits.loaded.contains_key(session);
        let made = commits.live().filter(|(_, loaded)| loaded.is_made());
        let seen = Seen {
            generation: commits.head.number,
            commits: made.map(|(session, loaded)| (*session, loaded.hash)).collect(),
            forgotten: commits.forgotten.clone(),
            unreadable: self.inventory.commits.keys().filter(|id| !is_read(id)).copied().collect(),
        };
        if let Some(lost) = self.remembered.as_ref().and_then(|pin| pin.missing_in(&seen)) {
            let why = format!("is not what this machine saw last: {lost}");
            self.findings.object("the repository", why);
        }
    }

    /// Opens a record; the flag tells whether it is the one that its name says.
    fn open_record<T>(
        &mut self,
        name: MetaName,
        object_type: ObjectType,
        bytes: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<(bool, T)>,
    ) -> Result<Option<T>> {
        let name = name.to_string();
        let opened = record::open(self.repository.keys(), object_type, &name, bytes)
            .and_then(|content| decode(&content))
            .and_then(|(is_named, value)| match is_named {
                true => Ok(value),
                false => Err(Error::damaged(&name, "belongs to another session or number")),
            });
        match opened {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.note(&name, Err(error)).map(|()| None),
        }
    }

    /// Packs come and go while a collector works: what was found then may be wrong.
    pub(super) async fn check_undisturbed(&mut self, commits: &Commits) -> Result<()> {
        let is_clean = self.findings.is_empty();
        if is_clean || self.repository.newest_head_number().await? == commits.head.number {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "a prune ran while the repository was verified")
            .hint("verify again once it is done"))
    }
}
