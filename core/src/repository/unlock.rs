//! From a credential, or from what an agent remembers, to the keys: slots and epochs.
//!
//! Of several slots that open, the one with the newest epoch counts: an interrupted rotation
//! leaves older ones behind.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{
    Cache, Credential, KeyAgent, agent,
    layout::{self, MetaName},
    listing::MetaListing,
    protection::{heal, read_healing},
};
use crate::{
    crypto::{KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        epoch::EpochRecord,
        object::ObjectType,
        record,
        slot::{self, SlotKind, SlotSecret},
    },
    id::{RepositoryId, SlotId},
    runtime::Randomness,
    target::{ByteRange, SharedTarget, TargetErrorKind},
};

/// What opens a repository: at least one of the two.
#[derive(Clone, Default)]
pub struct Unlock {
    /// What the user gave.
    pub credential: Option<Credential>,
    /// Remembers what a password was stretched to. Asked for slots that take a password, if one
    /// or nothing was given.
    pub agent: Option<Arc<dyn KeyAgent>>,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unlock({:?}, {:?})", self.credential, self.agent)
    }
}

impl From<&Credential> for Unlock {
    fn from(credential: &Credential) -> Self {
        Self { credential: Some(credential.clone()), agent: None }
    }
}

pub(super) type Masters = Vec<(u32, MasterKey)>;

impl Unlock {
    /// The master keys in the slot, or `None` if it is not for this credential.
    ///
    /// # Errors
    /// `Damaged`, `Unsupported`, or `Io` if hashing the password needs more memory than there is.
    pub(super) fn try_slot(
        &self,
        repository: RepositoryId,
        id: SlotId,
        bytes: &[u8],
        randomness: &dyn Randomness,
    ) -> Result<Option<Masters>> {
        let info = slot::inspect(bytes)?;
        if info.repository != repository {
            return Ok(None);
        }
        if let Some(masters) = self.recall(repository, id, info.kind, bytes) {
            tracing::debug!(slot = %id, "the agent opens the key slot");
            return Ok(Some(masters));
        }
        let Some(secret) = self.credential.as_ref().map(secret_of) else { return Ok(None) };
        if secret.kind() != info.kind {
            return Ok(None);
        }
        if info.kind == SlotKind::Password {
            tracing::debug!(slot = %id, "the password is hashed for the key slot");
        }
        let stretched = slot::stretch(&secret, bytes)?;
        let masters = match slot::open_stretched(repository, &stretched, bytes) {
            Ok(masters) => masters,
            Err(error) if error.kind() == ErrorKind::WrongKey => return Ok(None),
            Err(error) => return Err(error),
        };
        if let (Some(agent), SlotSecret::Password(password)) = (&self.agent, secret)
            && let Some(entry) = agent::entry(password, &stretched, randomness)
        {
            agent.keep(&agent::entry_name(repository, id), &entry);
        }
        Ok(Some(masters))
    }

    fn recall(
        &self,
        repository: RepositoryId,
        id: SlotId,
        kind: SlotKind,
        bytes: &[u8],
    ) -> Option<Masters> {
        let agent = self.agent.as_ref().filter(|_| kind == SlotKind::Password)?;
        let password = match &self.credential {
            None => None,
            Some(Credential::Password(password)) => Some(password.as_slice()),
            Some(_) => return None,
        };
        let entry = agent.recall(&agent::entry_name(repository, id))?;
        slot::open_stretched(repository, &agent::open_entry(&entry, password)?, bytes).ok()
    }

    fn refused(&self, fitting: usize) -> Error {
        let Some(credential) = &self.credential else {
            return Error::new(
                ErrorKind::WrongKey,
                "no agent holds a key, and no password was given",
            );
        };
        let message = match (secret_of(credential).kind(), fitting) {
            (SlotKind::Password, 0) => "no key slot takes a password",
            (SlotKind::Password, _) => "the password is wrong",
            (SlotKind::Recovery, 0) => "no key slot takes a recovery key",
            (SlotKind::Recovery, _) => "the recovery key is not the one of this repository",
            (SlotKind::KeyFile, 0) => "no key slot takes a key file",
            (SlotKind::KeyFile, _) => "the key file is not one of this repository",
        };
        Error::new(ErrorKind::WrongKey, message)
    }
}

pub(super) fn secret_of(credential: &Credential) -> SlotSecret<'_> {
    match credential {
        Credential::Password(password) => SlotSecret::Password(password),
        Credential::RecoveryKey(key) => SlotSecret::Recovery(key),
        Credential::KeyFile(file) => SlotSecret::KeyFile(file),
    }
}

/// A slot that opened.
pub(super) struct Unlocked {
    pub(super) id: SlotId,
    pub(super) slot: Bytes,
    pub(super) keys: KeyRing,
    /// The record of its newest epoch, unless that is the first.
    pub(super) epoch: Option<Bytes>,
}

/// The keys of a slot: an epoch whose record is missing, or was made with another key, is not in
/// force. Its key still opens what there is.
pub(super) fn ring(
    repository: RepositoryId,
    masters: Masters,
    record_of_newest: Option<&[u8]>,
) -> Result<KeyRing> {
    let keys = KeyRing::new(repository, masters)?;
    let newest = keys.current().epoch();
    let before = keys.masters().iter().map(|(epoch, _)| *epoch).filter(|epoch| *epoch < newest);
    let Some(before) = before.max() else { return Ok(keys) };
    if record_of_newest.is_some_and(|sealed| opens_epoch(&keys, newest, sealed)) {
        return Ok(keys);
    }
    tracing::warn!(epoch = newest, "the newest key epoch is not in force: no record of it opens");
    KeyRing::with_current(repository, keys.masters().to_vec(), before)
}

/// The ring of a slot whose newest epoch is listed, and the record of that; a record that does not
/// open is healed, where there are copies.
async fn in_force(
    target: &SharedTarget,
    repository: RepositoryId,
    masters: Masters,
    newest: u32,
) -> Result<(KeyRing, Option<Bytes>)> {
    let name = MetaName::Epoch(newest);
    let record = read(target, name).await?;
    let keys = ring(repository, masters, record.as_deref())?;
    if keys.current().epoch() == newest || !heal(&**target, &layout::key(&name.to_string())?).await
    {
        return Ok((keys, record));
    }
    let record = read(target, name).await?;
    Ok((ring(repository, keys.masters().to_vec(), record.as_deref())?, record))
}

/// True if the record of `epoch` was sealed with the key that `keys` has for it.
pub(super) fn opens_epoch(keys: &KeyRing, epoch: u32, sealed: &[u8]) -> bool {
    let name = MetaName::Epoch(epoch).to_string();
    let content = record::open(keys, ObjectType::Epoch, &name, sealed);
    content.and_then(|content| EpochRecord::decode(epoch, &content)).is_ok()
}

/// The highest epoch that a ring has a key for, in force or not.
pub(super) fn highest(masters: &[(u32, MasterKey)]) -> u32 {
    masters.iter().map(|(epoch, _)| *epoch).max().unwrap_or_default()
}

/// Tries the slots in `listing`; a damaged one matters only if no other opens.
pub(super) async fn unlock(
    target: &SharedTarget,
    listing: &MetaListing,
    repository: RepositoryId,
    with: &Unlock,
    randomness: &dyn Randomness,
) -> Result<Unlocked> {
    let newest = listing.newest_epoch();
    let (mut damaged, mut fitting, mut outdated) = (None, 0, None);
    for (name, object) in &listing.objects {
        let MetaName::Slot(id) = *name else { continue };
        let id = SlotId(id);
        let bytes = match read_healing(&**target, &object.key, |slot| slot::inspect(slot)).await {
            Ok((info, bytes)) if info.repository == repository => {
                let wanted = with.credential.as_ref().map(|it| secret_of(it).kind());
                fitting += usize::from(wanted == Some(info.kind));
                bytes
            }
            // left by an interrupted `init`
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Unsupported) => {
                damaged = Some(error.on(&object.key));
                continue;
            }
            Err(error) => return Err(error),
        };
        let opened = with.try_slot(repository, id, &bytes, randomness);
        let Some(masters) = opened.map_err(|error| error.on(&object.key))? else { continue };
        let own = highest(&masters);
        let (keys, epoch) = match listing.epochs().any(|epoch| epoch == own) {
            true => in_force(target, repository, masters, own).await?,
            false => (ring(repository, masters, None)?, None),
        };
        let is_in_force = keys.current().epoch() == own;
        let found = Unlocked { id, slot: bytes, keys, epoch };
        if is_in_force && own >= newest {
            return Ok(found);
        }
        if outdated.as_ref().is_none_or(|other: &Unlocked| own > highest(other.keys.masters())) {
            outdated = Some(found);
        }
    }
    match (outdated, damaged) {
        (Some(found), _) if highest(found.keys.masters()) >= newest => Ok(found),
        (Some(_), _) => Err(rotated(ErrorKind::WrongKey)
            .hint("open it with what the rotation kept, or with the recovery key it printed")),
        (None, Some(error)) => {
            Err(error.hint("another key slot or the recovery key may still open it"))
        }
        (None, None) => Err(with.refused(fitting)),
    }
}

/// Opens with a copy of a slot, and of the record of its newest epoch.
pub(super) async fn unlock_remembered(
    cache: &Cache,
    repository: RepositoryId,
    with: &Unlock,
    randomness: &dyn Randomness,
) -> Option<Unlocked> {
    for key in cache.names(&layout::prefix(layout::SLOTS).ok()?).await {
        let Some(MetaName::Slot(id)) = MetaName::of(&key) else { continue };
        let id = SlotId(id);
        let Some(bytes) = cache.get(key.as_str()).await else { continue };
        let Ok(Some(masters)) = with.try_slot(repository, id, &bytes, randomness) else { continue };
        let own = highest(&masters);
        let epoch = cache.get(&MetaName::Epoch(own).to_string()).await;
        let keys = ring(repository, masters, epoch.as_deref()).ok()?;
        if keys.current().epoch() == own {
            return Some(Unlocked { id, slot: bytes, keys, epoch });
        }
    }
    None
}

/// The error of who has the keys of before the last rotation only.
pub(super) fn rotated(kind: ErrorKind) -> Error {
    Error::new(kind, "the keys were rotated, and this one opens only what is older")
}

/// The object, if it is still there.
pub(super) async fn read(target: &SharedTarget, name: MetaName) -> Result<Option<Bytes>> {
    match target.get(&layout::key(&name.to_string())?, ByteRange::Full).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
