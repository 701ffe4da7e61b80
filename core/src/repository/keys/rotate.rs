//! A new master key: new data is sealed under it at once, old packs when prune rewrites them.
//!
//! New slots come first, then the record of the epoch (by create-if-absent: of two rotations one
//! wins, and nothing is sealed in an epoch before), and old slots go last. A rotation that was
//! interrupted is finished by the next one.

use bytes::Bytes;

use super::{Found, KeySlot, SlotOptions};
use crate::{
    crypto::{KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        epoch::EpochRecord,
        object::ObjectType,
        record,
        slot::{self, RecoveryKey, SLOT_KEYS_MAX, SlotSecret},
    },
    id::SlotId,
    repository::{
        Credential, Inner, Repository,
        layout::MetaName,
        listing::RememberedSlot,
        packs::PackReader,
        unlock::{highest, opens_epoch, read, secret_of},
    },
};

/// How keys are rotated.
#[derive(Debug, Clone)]
pub struct RotateOptions {
    /// Of the new slots.
    pub slot: SlotOptions,
    /// Removes the slots whose secrets are not at hand: they cannot follow.
    pub removes_others: bool,
}

/// What became of a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// The repository with its new keys.
    pub repository: Repository,
    /// The epoch that new data is sealed in.
    pub epoch: u32,
    /// The slot that the credential opens now.
    pub slot: SlotId,
    /// The slot of the new recovery key.
    pub recovery_slot: SlotId,
    /// The new recovery key; shown once, never stored.
    pub recovery: RecoveryKey,
    /// Slots that are gone.
    pub removed: Vec<SlotId>,
    /// Slots that appeared meanwhile: they open only what is older.
    pub left: Vec<SlotId>,
    /// True if this finished a rotation that was interrupted.
    pub is_resumed: bool,
    /// What failed after the new keys came into force.
    pub problem: Option<Error>,
}

/// A rotation under way.
struct Rotation<'a> {
    old: &'a Repository,
    keys: KeyRing,
    epoch: u32,
    is_resumed: bool,
}

impl Repository {
    /// The slots that a rotation would have to remove, and damaged ones: their secrets are not
    /// at hand.
    ///
    /// # Errors
    /// What the target reports; `Conflict` if nothing at hand opens all keys.
    pub async fn slots_left_behind(
        &self,
        credential: &Credential,
    ) -> Result<(Vec<KeySlot>, Vec<SlotId>)> {
        let (_, found) = self.fullest(credential).await?;
        let slots = found.slots.slots.into_iter().filter(|slot| !slot.is_in_use).collect();
        let damaged = found.slots.damaged.into_iter().map(|(id, _)| id).collect();
        Ok((slots, damaged))
    }

    /// A new master key for all that is stored from now on, under the given credential (which
    /// must be the one that opened this run) and a new recovery key.
    ///
    /// Runs that began before finish under the old keys, and stay readable.
    ///
    /// # Errors
    /// `WrongKey` if the credential does not open the slot in use, `Invalid` if other slots exist
    /// and are not to be removed, `Conflict` if another rotation was faster, and what the target
    /// reports. After any error the repository opens with the credential.
    pub async fn rotate_keys(
        &self,
        credential: &Credential,
        options: &RotateOptions,
    ) -> Result<Rotated> {
        options.slot.kdf.check()?;
        let (base, found) = self.fullest(credential).await?;
        base.expect_credential(&found, credential)?;
        check_others(&found, options)?;
        let rotation = Rotation::begin(&base)?;
        rotation.run(&found, credential, options).await
    }

    /// The repository with all keys that the credential opens: an interrupted rotation may have
    /// left a slot with more of them than the one that opened this run.
    async fn fullest(&self, credential: &Credential) -> Result<(Self, Found)> {
        let found = self.find_slots().await?;
        let secret = secret_of(credential);
        let own = self.keys().masters().len();
        let fuller = found.slots.slots.iter().filter(|slot| slot.epochs > own);
        for slot in fuller.filter(|slot| slot.kind == secret.kind()) {
            let Some((_, bytes)) = found.bytes.iter().find(|(id, _)| *id == slot.id) else {
                continue;
            };
            let masters = match slot::open(self.id(), &secret, bytes) {
                Ok(masters) => masters,
                Err(error) if error.kind() == ErrorKind::WrongKey => continue,
                Err(error) => return Err(error.on(MetaName::Slot(slot.id.0))),
            };
            let current = self.keys().current().epoch();
            let keys = KeyRing::with_current(self.id(), masters, current)?;
            let base = self.with_keys(keys, slot.id);
            let found = base.find_slots().await?;
            base.expect_whole_ring(&found)?;
            return Ok((base, found));
        }
        self.expect_whole_ring(&found)?;
        Ok((self.clone(), found))
    }

    fn expect_credential(&self, found: &Found, credential: &Credential) -> Result<()> {
        let own = found.bytes.iter().find(|(id, _)| *id == self.slot_in_use());
        let Some((id, bytes)) = own else {
            let message = "the key slot that opened this run was removed";
            return Err(Error::new(ErrorKind::Conflict, message).hint("run the command again"));
        };
        slot::open(self.id(), &secret_of(credential), bytes)
            .map(drop)
            .map_err(|error| error.on(MetaName::Slot(id.0)))
    }

    fn with_keys(&self, keys: KeyRing, slot: SlotId) -> Self {
        let inner = &*self.0;
        let packs = PackReader::new(self.target().clone(), keys.clone(), inner.cache.clone());
        packs.follow_as(&inner.packs);
        Inner {
            guarded: inner.guarded.clone(),
            runtime: inner.runtime.clone(),
            keys,
            settings: inner.settings.clone(),
            packs: packs.into(),
            cache: inner.cache.clone(),
            pins: inner.pins.clone(),
            remembered_slot: RememberedSlot::default(),
            slot,
            agent: inner.agent.clone(),
        }
        .into_repository()
    }
}

fn check_others(found: &Found, options: &RotateOptions) -> Result<()> {
    let slots = found.slots.slots.iter().filter(|slot| !slot.is_in_use);
    let mut others: Vec<String> =
        slots.map(|slot| format!("{} ({})", slot.id, slot.kind.name())).collect();
    others.extend(found.slots.damaged.iter().map(|(id, _)| format!("{id} (damaged)")));
    if options.removes_others || others.is_empty() {
        return Ok(());
    }
    let message = format!("key slots whose secrets are not at hand: {}", others.join(", "));
    Err(Error::new(ErrorKind::Invalid, message)
        .hint("--remove-others removes them; their people are given new ones with `key add`"))
}

impl<'a> Rotation<'a> {
    /// Draws the new master key, or takes over that of a rotation that was interrupted: its
    /// epoch is not in force yet, and nobody else may bring it into force with another key.
    fn begin(old: &'a Repository) -> Result<Self> {
        let keys = old.keys();
        let newest = highest(keys.masters());
        if newest > keys.current().epoch() {
            let keys = KeyRing::new(old.id(), keys.masters().to_vec())?;
            return Ok(Self { old, keys, epoch: newest, is_resumed: true });
        }
        let mut masters = keys.masters().to_vec();
        let epoch = newest.checked_add(1).filter(|_| masters.len() < SLOT_KEYS_MAX);
        let Some(epoch) = epoch else {
            let message = format!("keys are rotated {} times at most", SLOT_KEYS_MAX - 1);
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        masters.push((epoch, MasterKey::generate(&*old.runtime().randomness)));
        Ok(Self { old, keys: KeyRing::new(old.id(), masters)?, epoch, is_resumed: false })
    }

    async fn run(
        self,
        found: &Found,
        credential: &Credential,
        options: &RotateOptions,
    ) -> Result<Rotated> {
        let old = self.old;
        let mut made = Vec::new();
        if !self.is_resumed {
            let secret = secret_of(credential);
            let (id, bytes) = old.put_slot(&self.keys, &secret, &options.slot).await?;
            made.push((id, bytes));
        }
        let recovery = RecoveryKey::generate(&*old.runtime().randomness);
        let secret = SlotSecret::Recovery(&recovery);
        let (recovery_slot, bytes) = old.put_slot(&self.keys, &secret, &options.slot).await?;
        made.push((recovery_slot, bytes));
        let record = self.bring_into_force(&made).await?;
        let slot = match self.is_resumed {
            true => old.slot_in_use(),
            false => made[0].0,
        };
        let (removed, problem) = self.remove_old(found, slot).await;
        let repository = old.with_keys(self.keys, slot);
        let cache = repository.cache();
        cache.put(&MetaName::Epoch(self.epoch).to_string(), record).await;
        if let Some((id, bytes)) = made.into_iter().find(|(id, _)| *id == slot) {
            cache.put(&MetaName::Slot(id.0).to_string(), bytes).await;
        }
        let (epoch, is_resumed) = (self.epoch, self.is_resumed);
        let mut rotated = Rotated {
            repository,
            epoch,
            slot,
            recovery_slot,
            recovery,
            removed,
            left: Vec::new(),
            is_resumed,
            problem,
        };
        rotated.look_again().await;
        Ok(rotated)
    }

    /// The decision. Slots that were made in vain are taken back.
    async fn bring_into_force(&self, made: &[(SlotId, Bytes)]) -> Result<Bytes> {
        let runtime = self.old.runtime();
        let name = MetaName::Epoch(self.epoch);
        let text = name.to_string();
        let content = EpochRecord { epoch: self.epoch, since: runtime.clock.now() }.encode();
        let randomness = &*runtime.randomness;
        let sealed = record::seal(&self.keys, ObjectType::Epoch, &text, &content, randomness)?;
        let sealed = Bytes::from(sealed);
        let failed = match self.old.create(name, sealed.clone()).await {
            Ok(()) => return Ok(sealed),
            Err(error) => error,
        };
        match read(self.old.target(), name).await? {
            // one that took over from us decided the same
            Some(stored) if opens_epoch(&self.keys, self.epoch, &stored) => Ok(stored),
            Some(_) => {
                for (id, _) in made {
                    self.old.drop_slot(*id).await?;
                }
                let message = "the keys were rotated by another run at the same time";
                Err(Error::new(ErrorKind::Conflict, message)
                    .hint("nothing was changed by this one"))
            }
            None => Err(failed),
        }
    }

    /// Removes what is old, as far as that works.
    async fn remove_old(&self, found: &Found, kept: SlotId) -> (Vec<SlotId>, Option<Error>) {
        let mut removed = Vec::new();
        let damaged = found.slots.damaged.iter().map(|(id, _)| *id);
        let all = found.slots.slots.iter().map(|slot| slot.id).chain(damaged);
        for id in all.filter(|id| *id != kept) {
            if let Err(error) = self.old.drop_slot(id).await {
                let message =
                    format!("the new keys are in force, but key slot {id} is still there");
                let problem = Error::new(error.kind(), message)
                    .because(error)
                    .hint("`strongroom key list` shows old slots; `key remove` removes them");
                return (removed, Some(problem));
            }
            removed.push(id);
        }
        (removed, None)
    }
}

impl Rotated {
    /// Looks for slots that appeared meanwhile, and whether the new ones are still there.
    async fn look_again(&mut self) {
        let found = match self.repository.find_slots().await {
            Ok(found) => found.slots.slots,
            Err(error) => {
                self.problem.get_or_insert(error);
                return;
            }
        };
        if !found.iter().any(|slot| slot.id == self.recovery_slot) {
            let message = "another run finished this rotation, and the new recovery key is its";
            self.problem.get_or_insert(Error::new(ErrorKind::Conflict, message));
        }
        self.left = found.iter().filter(|slot| slot.is_outdated).map(|slot| slot.id).collect();
    }
}

#[cfg(test)]
mod tests;
