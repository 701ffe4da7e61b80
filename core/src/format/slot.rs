//! Key slots: the master keys of all epochs, wrapped under a password or a recovery key.
//!
//! ```text
//! head 52 | commitment 32 | sealed: (LE32 epoch, master key 32) each, tag 16
//!         | BLAKE3 of all before, 16
//! ```
//! The commitment makes sure that one slot opens under one password only; the checksum tells a
//! damaged slot from a wrong password. Knows nothing of where slots are stored.

mod recovery;

use zeroize::Zeroizing;

pub use self::recovery::RecoveryKey;
use super::wire::Reader;
use crate::{
    crypto::{
        AeadKey, KDF_SALT_BYTES, KEY_BYTES, KdfCost, MasterKey, Nonce, Secret, TAG_BYTES,
        constant_time_eq, expand, extract,
    },
    error::{Error, ErrorKind, Result},
    id::RepositoryId,
    runtime::{Randomness, random},
};

/// The most master keys that one slot holds.
pub const SLOT_KEYS_MAX: usize = 1024;

const MAGIC: [u8; 4] = *b"SRKS";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 52;
const COMMITMENT_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 16;
const ENTRY_BYTES: usize = 4 + KEY_BYTES;
const FRAME_BYTES: usize = HEAD_BYTES + COMMITMENT_BYTES + TAG_BYTES + CHECKSUM_BYTES;
const BODY_START: usize = HEAD_BYTES + COMMITMENT_BYTES;

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A password, stretched by Argon2id.
    Password,
    /// A recovery key, used as it is.
    Recovery,
}

impl SlotKind {
    const fn code(self) -> u8 {
        match self {
            Self::Password => 1,
            Self::Recovery => 2,
        }
    }
}

/// What the user unlocks with.
pub enum SlotSecret<'a> {
    /// The password's bytes, exactly as typed.
    Password(&'a [u8]),
    /// The recovery key.
    Recovery(&'a RecoveryKey),
}

impl SlotSecret<'_> {
    /// The kind of slot that it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Password(_) => SlotKind::Password,
            Self::Recovery(_) => SlotKind::Recovery,
        }
    }
}

/// What a slot tells without being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// What opens it.
    pub kind: SlotKind,
    /// What opening it costs; `None` for recovery keys.
    pub cost: Option<KdfCost>,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// How many master keys it holds.
    pub keys: usize,
}

/// A slot that wraps `masters`, which are 1 to [`SLOT_KEYS_MAX`] keys of distinct epochs.
/// `cost` counts for passwords only.
///
/// # Errors
/// `Invalid` for a cost or number of keys out of bounds, `Io` if memory does not suffice.
pub fn seal(
    repository: RepositoryId,
    secret: &SlotSecret<'_>,
    cost: &KdfCost,
    masters: &[(u32, MasterKey)],
    randomness: &dyn Randomness,
) -> Result<Vec<u8>> {
    seal_with_salt(repository, secret, cost, masters, random(randomness))
}

fn seal_with_salt(
    repository: RepositoryId,
    secret: &SlotSecret<'_>,
    cost: &KdfCost,
    masters: &[(u32, MasterKey)],
    salt: [u8; KDF_SALT_BYTES],
) -> Result<Vec<u8>> {
    let mut sorted: Vec<&(u32, MasterKey)> = masters.iter().collect();
    sorted.sort_by_key(|(epoch, _)| *epoch);
    let is_distinct = sorted.windows(2).all(|pair| pair[0].0 != pair[1].0);
    if sorted.is_empty() || sorted.len() > SLOT_KEYS_MAX || !is_distinct {
        let message = "a key slot holds 1 to 1024 master keys of distinct epochs";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let head = Head { kind: secret.kind(), cost: *cost, repository, salt };
    let mut slot = head.encode();
    let keys = SlotKeys::derive(&head, secret, &slot)?;
    slot.extend_from_slice(&keys.commitment[..]);
    let mut body = Zeroizing::new(Vec::with_capacity(sorted.len() * ENTRY_BYTES + TAG_BYTES));
    for (epoch, master) in sorted {
        body.extend_from_slice(&epoch.to_le_bytes());
        body.extend_from_slice(master.as_bytes());
    }
    AeadKey::new(&keys.key).seal_from(Nonce::ZERO, &slot, &mut body, 0);
    slot.extend_from_slice(&body);
    slot.extend_from_slice(&checksum(&slot));
    Ok(slot)
}

/// What `slot` tells without being opened; checks that it is whole.
///
/// # Errors
/// `Damaged` if it is not, `Unsupported` if a newer program wrote it.
pub fn inspect(slot: &[u8]) -> Result<SlotInfo> {
    let head = Head::decode(slot)?;
    Ok(SlotInfo {
        kind: head.kind,
        cost: (head.kind == SlotKind::Password).then_some(head.cost),
        repository: head.repository,
        keys: (slot.len() - FRAME_BYTES) / ENTRY_BYTES,
    })
}

/// The master keys in `slot` by epoch.
///
/// # Errors
/// `WrongKey` if `secret` does not open it, `Damaged` if the slot is not what was written or
/// belongs to another repository, `Unsupported` if a newer program wrote it, `Io` if hashing the
/// password needs more memory than there is.
pub fn open(
    repository: RepositoryId,
    secret: &SlotSecret<'_>,
    slot: &[u8],
) -> Result<Vec<(u32, MasterKey)>> {
    let head = Head::decode(slot)?;
    if head.repository != repository {
        return Err(damaged("a key slot of another repository"));
    }
    if head.kind != secret.kind() {
        return Err(Error::new(ErrorKind::WrongKey, "the key slot is of another kind"));
    }
    let keys = SlotKeys::derive(&head, secret, &slot[..HEAD_BYTES])?;
    if !constant_time_eq(&keys.commitment[..], &slot[HEAD_BYTES..BODY_START]) {
        return Err(Error::new(
            ErrorKind::WrongKey,
            match head.kind {
                SlotKind::Password => "wrong password",
                SlotKind::Recovery => "wrong recovery key",
            },
        ));
    }
    let mut body = Zeroizing::new(slot[BODY_START..slot.len() - CHECKSUM_BYTES].to_vec());
    let entries = AeadKey::new(&keys.key)
        .open(Nonce::ZERO, &slot[..BODY_START], &mut body)
        .map_err(|error| damaged("wrapped keys").because(error))?;
    decode_entries(entries)
}

struct Head {
    kind: SlotKind,
    cost: KdfCost,
    repository: RepositoryId,
    salt: [u8; KDF_SALT_BYTES],
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let costs = match self.kind {
            SlotKind::Password => [self.cost.memory_kib, self.cost.passes, self.cost.lanes],
            SlotKind::Recovery => [0; 3],
        };
        let mut bytes = Vec::with_capacity(FRAME_BYTES + ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.kind.code(), 0, 0]);
        for cost in costs {
            bytes.extend_from_slice(&cost.to_le_bytes());
        }
        bytes.extend_from_slice(self.repository.as_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes
    }

    /// The head of a whole slot, checked against the checksum at the slot's end.
    fn decode(slot: &[u8]) -> Result<Self> {
        let Some((body, sum)) = slot.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(damaged("a truncated key slot"));
        };
        if !slot.starts_with(&MAGIC) {
            return Err(damaged("not a key slot: wrong magic bytes"));
        }
        if checksum(body) != *sum {
            return Err(damaged("a key slot whose checksum does not match"));
        }
        let mut reader = Reader::new(&body[MAGIC.len()..]);
        let version = reader.u8().ok_or_else(|| damaged("a truncated key slot"))?;
        if version != VERSION {
            let message = format!("key slot version {version} is newer than this program");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let keys_bytes = slot.len().checked_sub(FRAME_BYTES);
        let is_length_right = keys_bytes.is_some_and(|bytes| {
            bytes % ENTRY_BYTES == 0 && (1..=SLOT_KEYS_MAX).contains(&(bytes / ENTRY_BYTES))
        });
        if !is_length_right {
            return Err(damaged(format!("a key slot of {} bytes", slot.len())));
        }
        Self::decode_fields(&mut reader).unwrap_or_else(|| Err(damaged("a truncated key slot")))
    }

    /// The fields after the version; `None` if there are too few bytes.
    fn decode_fields(reader: &mut Reader<'_>) -> Option<Result<Self>> {
        let kind = match reader.u8()? {
            1 => SlotKind::Password,
            2 => SlotKind::Recovery,
            other => {
                let message = format!("key slot kind {other} is newer than this program");
                return Some(Err(Error::new(ErrorKind::Unsupported, message)));
            }
        };
        let reserved = reader.u16()?;
        let [memory_kib, passes, lanes] = [reader.u32()?, reader.u32()?, reader.u32()?];
        let cost = KdfCost { memory_kib, passes, lanes };
        let repository = RepositoryId(reader.array()?);
        let salt = reader.array()?;
        let is_cost_right = match kind {
            SlotKind::Password => cost.check().is_ok(),
            SlotKind::Recovery => [memory_kib, passes, lanes] == [0; 3],
        };
        if reserved != 0 || !is_cost_right {
            return Some(Err(damaged(
                "a key slot with reserved bytes set or a cost out of bounds",
            )));
        }
        Some(Ok(Self { kind, cost, repository, salt }))
    }
}

struct SlotKeys {
    key: Secret,
    commitment: Secret,
}

impl SlotKeys {
    fn derive(head: &Head, secret: &SlotSecret<'_>, head_bytes: &[u8]) -> Result<Self> {
        let input = match secret {
            SlotSecret::Password(password) => head.cost.derive(password, &head.salt)?,
            SlotSecret::Recovery(key) => key.secret().clone(),
        };
        let extracted = extract(b"strongroom/1 slot", &input[..]);
        let expanded: Zeroizing<[u8; 2 * KEY_BYTES]> = expand(&extracted, &[head_bytes]);
        let mut keys = Self { key: Secret::default(), commitment: Secret::default() };
        keys.key.copy_from_slice(&expanded[..KEY_BYTES]);
        keys.commitment.copy_from_slice(&expanded[KEY_BYTES..]);
        Ok(keys)
    }
}

fn decode_entries(entries: &[u8]) -> Result<Vec<(u32, MasterKey)>> {
    let mut keys: Vec<(u32, MasterKey)> = Vec::with_capacity(entries.len() / ENTRY_BYTES);
    let mut reader = Reader::new(entries);
    while let (Some(epoch), Some(master)) = (reader.u32(), reader.array()) {
        if keys.last().is_some_and(|(last, _)| *last >= epoch) {
            return Err(damaged("wrapped keys out of order"));
        }
        keys.push((epoch, MasterKey::from_bytes(master)));
    }
    Ok(keys)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

fn damaged(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Damaged, why)
}

#[cfg(test)]
mod tests;
