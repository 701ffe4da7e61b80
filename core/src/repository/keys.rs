//! Key slots: listing, adding, removing; a new password in the place of an old one.
//!
//! What is new is written first and what is old removed last, so that a run that dies at any
//! point leaves a repository that opens. After each change the slots are looked at again: of two
//! changes that must not happen together at least one sees the other. Knows nothing of where
//! secrets come from.

mod rotate;

use bytes::Bytes;

pub use self::rotate::{RotateOptions, Rotated};
use super::{
    Credential, Repository, agent,
    layout::{self, MetaName},
    unlock::{highest, read, secret_of},
};
use crate::{
    crypto::{KdfCost, KeyRing},
    entry::PackRef,
    error::{Error, ErrorKind, Result},
    format::slot::{self, SlotKind, SlotNote, SlotSecret},
    id::SlotId,
    runtime::random,
    target::{Payload, PutMode},
};

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Its id.
    pub id: SlotId,
    /// What opens it.
    pub kind: SlotKind,
    /// What opening it costs; `None` for all but passwords.
    pub cost: Option<KdfCost>,
    /// How many key epochs it opens.
    pub epochs: usize,
    /// When it was made and what people call it; `None` if it does not say.
    pub note: Option<SlotNote>,
    /// True if it opened this run.
    pub is_in_use: bool,
    /// True if it does not open everything: it was made before the keys were rotated, or by a
    /// rotation that another one overtook.
    pub is_outdated: bool,
}

/// The key slots of a repository.
#[derive(Debug, Clone, Default)]
pub struct KeySlots {
    /// In order of their making.
    pub slots: Vec<KeySlot>,
    /// Slots that nothing opens any more, and why.
    pub damaged: Vec<(SlotId, String)>,
}

impl KeySlots {
    /// The slot whose id begins with `prefix` (lowercase hex).
    ///
    /// # Errors
    /// `NotFound` if there is none, `Invalid` if there are several.
    pub fn find(&self, prefix: &str) -> Result<SlotId> {
        let damaged = self.damaged.iter().map(|(id, _)| *id);
        let all = self.slots.iter().map(|slot| slot.id).chain(damaged);
        let mut fitting = all.filter(|id| id.to_string().starts_with(prefix));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(Error::new(ErrorKind::NotFound, format!("no key slot {prefix}"))
                .hint("`strongroom key list` shows all of them")),
            (Some(_), Some(_)) => {
                let message = format!("several key slots begin with {prefix}");
                Err(Error::new(ErrorKind::Invalid, message))
            }
        }
    }

    /// The cost of the slot in use, else the highest: what a new password should cost.
    pub fn usual_cost(&self) -> KdfCost {
        let in_use = self.slots.iter().find(|slot| slot.is_in_use).and_then(|slot| slot.cost);
        let work = |cost: &KdfCost| u64::from(cost.memory_kib) * u64::from(cost.passes);
        let highest = self.slots.iter().filter_map(|slot| slot.cost).max_by_key(work);
        in_use.or(highest).unwrap_or_default()
    }

    fn get(&self, id: SlotId) -> Option<&KeySlot> {
        self.slots.iter().find(|slot| slot.id == id)
    }

    /// True if something but `without` opens all there is.
    fn opens_without(&self, without: Option<SlotId>) -> bool {
        self.slots.iter().any(|slot| Some(slot.id) != without && !slot.is_outdated)
    }
}

/// How a slot is protected and called.
#[derive(Debug, Clone)]
pub struct SlotOptions {
    /// Cost of deriving a key from a password; counts for nothing else.
    pub kdf: KdfCost,
    /// What people call it: whose it is, or where. At most 256 bytes.
    pub label: String,
}

/// What became of a change of password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PasswordChange {
    /// The slot that the new password opens.
    pub added: SlotId,
    /// The slot that is gone.
    pub removed: SlotId,
}

/// The slots as they were found.
struct Found {
    slots: KeySlots,
    newest_epoch: u32,
    bytes: Vec<(SlotId, Bytes)>,
}

impl Repository {
    /// All key slots.
    ///
    /// # Errors
    /// What the target reports, and `Conflict` if the keys were rotated meanwhile.
    pub async fn key_slots(&self) -> Result<KeySlots> {
        Ok(self.find_slots().await?.slots)
    }

    /// The slot that opened this run.
    pub fn slot_in_use(&self) -> SlotId {
        self.0.slot
    }

    /// True for packs that were sealed before the last rotation: prune rewrites them, so that who
    /// kept an old master key cannot read what it copies from the storage later.
    pub fn is_of_earlier_epoch(&self, pack: &PackRef) -> bool {
        pack.epoch < self.keys().current().epoch()
    }

    /// A further slot that `credential` opens.
    ///
    /// # Errors
    /// `Invalid` for an empty password, a cost or label out of bounds; `Conflict` if the keys
    /// were rotated meanwhile: then nothing was added; what the target reports.
    pub async fn add_key(&self, credential: &Credential, options: &SlotOptions) -> Result<SlotId> {
        credential.check()?;
        options.kdf.check()?;
        self.expect_whole_ring(&self.find_slots().await?)?;
        let (id, _) = self.put_slot(self.keys(), &secret_of(credential), options).await?;
        match self.find_slots().await.and_then(|found| self.expect_whole_ring(&found)) {
            Ok(()) => Ok(id),
            Err(error) => {
                self.drop_slot(id).await?;
                Err(error)
            }
        }
    }

    /// A new password in the place of the one that opens the slot `replaced`: by default the one
    /// that opened this run, else the only one that takes a password.
    ///
    /// # Errors
    /// Those of [`Self::add_key`]; `Invalid` if it is not clear what is replaced. If the old slot
    /// cannot be removed both passwords open, and the error says so.
    pub async fn change_password(
        &self,
        password: &Credential,
        options: &SlotOptions,
        replaced: Option<SlotId>,
    ) -> Result<PasswordChange> {
        let before = self.find_slots().await?;
        let removed = replaced_password(&before.slots, replaced)?;
        let added = self.add_key(password, options).await?;
        self.drop_slot(removed).await.map_err(|error| {
            let message = format!("the new password opens, and key slot {removed} is still there");
            Error::new(error.kind(), message)
                .because(error)
                .hint(format!("remove it: `strongroom key remove {removed}`"))
        })?;
        Ok(PasswordChange { added, removed })
    }

    /// Removes a slot. The last one that opens everything stays, and so does the one that opened
    /// this run, unless `is_forced`.
    ///
    /// Who has opened the slot before may have kept the master keys: see [`Self::rotate_keys`].
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a slot that must stay, `Conflict` if others removed slots at the
    /// same time and none would have been left, and what the target reports.
    pub async fn remove_key(&self, id: SlotId, is_forced: bool) -> Result<()> {
        let found = self.find_slots().await?;
        self.check_removal(&found.slots, id, is_forced)?;
        let kept = found.bytes.into_iter().find(|(slot, _)| *slot == id).map(|(_, bytes)| bytes);
        self.drop_slot(id).await?;
        if self.find_slots().await?.slots.opens_without(None) {
            return Ok(());
        }
        if let Some(bytes) = kept {
            self.create(MetaName::Slot(id.0), bytes).await?;
        }
        let message =
            "other key slots were removed at the same time, and none would have been left";
        Err(Error::new(ErrorKind::Conflict, message).hint("the key slot was put back"))
    }

    /// What [`Self::remove_key`] would refuse.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` for a slot that must stay.
    pub fn check_removal(&self, slots: &KeySlots, id: SlotId, is_forced: bool) -> Result<()> {
        let is_there = slots.get(id).is_some() || slots.damaged.iter().any(|(it, _)| *it == id);
        if !is_there {
            return Err(Error::new(ErrorKind::NotFound, format!("no key slot {id}")));
        }
        if !slots.opens_without(Some(id)) {
            let message =
                format!("key slot {id} is the last one: nothing else opens the repository");
            return Err(Error::new(ErrorKind::Invalid, message)
                .hint("add another one first: `strongroom key add`"));
        }
        if id == self.slot_in_use() && !is_forced {
            let message = format!("key slot {id} is the one that opened this run");
            return Err(Error::new(ErrorKind::Invalid, message)
                .hint("open the repository with another one, or use --force"));
        }
        Ok(())
    }

    async fn find_slots(&self) -> Result<Found> {
        let listing = self.list_slots().await?;
        let newest_epoch = listing.newest_epoch();
        let mut found = Found { slots: KeySlots::default(), newest_epoch, bytes: Vec::new() };
        for name in listing.names() {
            let MetaName::Slot(id) = name else { continue };
            // removed since the listing
            let Some(bytes) = read(self.target(), name).await? else { continue };
            let id = SlotId(id);
            match self.describe(id, &bytes) {
                Ok(Some(slot)) => found.slots.slots.push(slot),
                // left by an interrupted `init`
                Ok(None) => continue,
                Err(error) => found.slots.damaged.push((id, error.to_string())),
            }
            found.bytes.push((id, bytes));
        }
        let age = |slot: &KeySlot| (slot.note.as_ref().map(|note| note.created), slot.id);
        found.slots.slots.sort_by_key(age);
        Ok(found)
    }

    fn describe(&self, id: SlotId, bytes: &[u8]) -> Result<Option<KeySlot>> {
        let info = slot::inspect(bytes)?;
        if info.repository != self.id() {
            return Ok(None);
        }
        // a note that does not open was sealed in an epoch that never came into force
        let note = slot::note(self.keys(), &MetaName::Slot(id.0).to_string(), bytes);
        let is_foreign = note.is_err();
        Ok(Some(KeySlot {
            id,
            kind: info.kind,
            cost: info.cost,
            epochs: info.keys,
            note: note.unwrap_or_default(),
            is_in_use: id == self.slot_in_use(),
            is_outdated: is_foreign || info.keys < self.keys().masters().len(),
        }))
    }

    /// Who changes slots must have all keys, or would lock others out of what is sealed already.
    fn expect_whole_ring(&self, found: &Found) -> Result<()> {
        let own = self.keys().masters();
        let fuller = found.slots.slots.iter().find(|slot| slot.epochs > own.len());
        if let Some(slot) = fuller {
            let message = format!("key slot {} opens more than what opened this run", slot.id);
            return Err(Error::new(ErrorKind::Conflict, message).hint(
                "a rotation of the keys was interrupted: `key rotate` finishes it, or remove that \
                 slot",
            ));
        }
        if found.newest_epoch > highest(own) {
            return Err(super::unlock::rotated(ErrorKind::Conflict).hint("run the command again"));
        }
        Ok(())
    }

    /// Stores a new slot and reads it back: what is removed next may be the last other one.
    async fn put_slot(
        &self,
        keys: &KeyRing,
        secret: &SlotSecret<'_>,
        options: &SlotOptions,
    ) -> Result<(SlotId, Bytes)> {
        let randomness = &*self.runtime().randomness;
        let id = SlotId(random(randomness));
        let name = MetaName::Slot(id.0);
        let note = SlotNote { created: self.runtime().clock.now(), label: options.label.clone() };
        let text = name.to_string();
        let sealed = slot::seal_noted(keys, &text, secret, &options.kdf, &note, randomness)?;
        let sealed = Bytes::from(sealed);
        self.create(name, sealed.clone()).await?;
        Ok((id, sealed))
    }

    /// Creates an object and reads it back. An answer that was lost does not matter then.
    async fn create(&self, name: MetaName, bytes: Bytes) -> Result<()> {
        let key = layout::key(&name.to_string())?;
        let payload = Payload::from(bytes.clone());
        let put = self.target().put(&key, payload, PutMode::Create).await;
        match (read(self.target(), name).await?, put) {
            (Some(stored), _) if stored == bytes => Ok(()),
            (_, Err(error)) => Err(error.into()),
            (Some(_), Ok(())) => Err(Error::damaged(&key, "reads back other than it was written")),
            (None, Ok(())) => Err(Error::damaged(&key, "is not there after it was written")),
        }
    }

    /// Removes a slot here, from the cache, and what an agent holds of it.
    async fn drop_slot(&self, id: SlotId) -> Result<()> {
        let name = MetaName::Slot(id.0).to_string();
        self.target().delete(&layout::key(&name)?).await?;
        self.cache().remove(&name).await;
        if let Some(agent) = &self.0.agent {
            agent.forget(&agent::entry_name(self.id(), id));
        }
        Ok(())
    }
}

fn replaced_password(slots: &KeySlots, asked: Option<SlotId>) -> Result<SlotId> {
    let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, message));
    if let Some(id) = asked {
        return match slots.get(id).map(|slot| slot.kind) {
            Some(SlotKind::Password) => Ok(id),
            Some(kind) => invalid(format!("key slot {id} takes a {}", kind.name())),
            None => invalid(format!("no key slot {id}")),
        };
    }
    let passwords: Vec<&KeySlot> =
        slots.slots.iter().filter(|slot| slot.kind == SlotKind::Password).collect();
    match (passwords.iter().find(|slot| slot.is_in_use), passwords.as_slice()) {
        (Some(slot), _) => Ok(slot.id),
        (None, [only]) => Ok(only.id),
        (None, []) => invalid("no key slot takes a password: add one".to_owned()),
        (None, _) => {
            let ids: Vec<String> = passwords.iter().map(|slot| slot.id.to_string()).collect();
            invalid(format!("say which password is replaced: {}", ids.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests;
