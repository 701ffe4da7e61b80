//! Key slots: the master keys of all epochs, wrapped under a password, a recovery key or a key
//! file.
//!
//! ```text
//! head 52 | commitment 32 | sealed: (LE32 epoch, master key 32) each, tag 16
//!         | note: a record, and its LE32 length; if the head says that there is one
//!         | BLAKE3 of all before, 16
//! ```
//! The commitment makes sure that one slot opens under one password only; the checksum tells a
//! damaged slot from a wrong password. Knows nothing of where slots are stored.

mod key_file;
mod note;
mod recovery;

use zeroize::Zeroizing;

pub use self::{
    key_file::{KEY_FILE_BYTES_MAX, KEY_FILE_BYTES_MIN, KeyFile},
    note::{SLOT_LABEL_BYTES_MAX, SlotNote},
    recovery::RecoveryKey,
};
use super::{object::ObjectType, record, wire::Reader};
use crate::{
    crypto::{
        AeadKey, KDF_SALT_BYTES, KEY_BYTES, KdfCost, KeyRing, MasterKey, Nonce, Secret, TAG_BYTES,
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
const BODY_START: usize = HEAD_BYTES + COMMITMENT_BYTES;
/// A flag of the head: a note follows the keys.
const FLAG_NOTE: u8 = 1;
const NOTE_LENGTH_BYTES: usize = 4;
/// The longest note as sealed, far more than a label needs.
const NOTE_BYTES_MAX: usize = 4 << 10;

/// What opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A password, stretched by Argon2id.
    Password,
    /// A recovery key, used as it is.
    Recovery,
    /// The content of a key file, used as it is.
    KeyFile,
}

impl SlotKind {
    const fn code(self) -> u8 {
        match self {
            Self::Password => 1,
            Self::Recovery => 2,
            Self::KeyFile => 3,
        }
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Recovery => "recovery key",
            Self::KeyFile => "key file",
        }
    }
}

/// What the user unlocks with.
pub enum SlotSecret<'a> {
    /// The password's bytes, exactly as typed.
    Password(&'a [u8]),
    /// The recovery key.
    Recovery(&'a RecoveryKey),
    /// The key file.
    KeyFile(&'a KeyFile),
}

impl SlotSecret<'_> {
    /// The kind of slot that it opens.
    pub fn kind(&self) -> SlotKind {
        match self {
            Self::Password(_) => SlotKind::Password,
            Self::Recovery(_) => SlotKind::Recovery,
            Self::KeyFile(_) => SlotKind::KeyFile,
        }
    }
}

/// What a secret was made into for one slot, at the cost of a password's hashing: opens that slot
/// and no other. Wiped when dropped.
#[derive(Clone)]
pub struct Stretched(Secret);

impl Stretched {
    /// The bytes; for what keeps them for a while and gives them to nobody else.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// What [`Self::as_bytes`] gave.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl std::fmt::Debug for Stretched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stretched(..)")
    }
}

/// What a slot tells without being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotInfo {
    /// What opens it.
    pub kind: SlotKind,
    /// What opening it costs; `None` for all but passwords.
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
    let head = Head::new(repository, secret, cost, random(randomness));
    seal_with_head(&head, secret, masters, &[])
}

/// A slot that wraps all keys of `keys` and says what `note` says to who has them; `name` is the
/// slot's object. `cost` counts for passwords only.
///
/// # Errors
/// Those of [`seal`]; `Invalid` for a note that is too long.
pub fn seal_noted(
    keys: &KeyRing,
    name: &str,
    secret: &SlotSecret<'_>,
    cost: &KdfCost,
    note: &SlotNote,
    randomness: &dyn Randomness,
) -> Result<Vec<u8>> {
    note.check()?;
    let mut tail = record::seal(keys, ObjectType::SlotNote, name, &note.encode(), randomness)?;
    let length = tail.len() as u32;
    tail.extend_from_slice(&length.to_le_bytes());
    let mut head = Head::new(keys.repository(), secret, cost, random(randomness));
    head.has_note = true;
    seal_with_head(&head, secret, keys.masters(), &tail)
}

fn seal_with_head(
    head: &Head,
    secret: &SlotSecret<'_>,
    masters: &[(u32, MasterKey)],
    tail: &[u8],
) -> Result<Vec<u8>> {
    let mut sorted: Vec<&(u32, MasterKey)> = masters.iter().collect();
    sorted.sort_by_key(|(epoch, _)| *epoch);
    let is_distinct = sorted.windows(2).all(|pair| pair[0].0 != pair[1].0);
    if sorted.is_empty() || sorted.len() > SLOT_KEYS_MAX || !is_distinct {
        let message = "a key slot holds 1 to 1024 master keys of distinct epochs";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let mut slot = head.encode();
    let keys = SlotKeys::derive(&stretch_for(head, secret)?, &slot);
    slot.extend_from_slice(&keys.commitment[..]);
    let mut body = Zeroizing::new(Vec::with_capacity(sorted.len() * ENTRY_BYTES + TAG_BYTES));
    for (epoch, master) in sorted {
        body.extend_from_slice(&epoch.to_le_bytes());
        body.extend_from_slice(master.as_bytes());
    }
    AeadKey::new(&keys.key).seal_from(Nonce::ZERO, &slot, &mut body, 0);
    slot.extend_from_slice(&body);
    slot.extend_from_slice(tail);
    slot.extend_from_slice(&checksum(&slot));
    Ok(slot)
}

/// What `slot` tells without being opened; checks that it is whole.
///
/// # Errors
/// `Damaged` if it is not, `Unsupported` if a newer program wrote it.
pub fn inspect(slot: &[u8]) -> Result<SlotInfo> {
    let (head, parts) = decode(slot)?;
    Ok(SlotInfo {
        kind: head.kind,
        cost: (head.kind == SlotKind::Password).then_some(head.cost),
        repository: head.repository,
        keys: (parts.wrapped.len() - TAG_BYTES) / ENTRY_BYTES,
    })
}

/// What the slot, the object `name`, says to who has the repository's keys; `None` if it says
/// nothing.
///
/// # Errors
/// Those of [`inspect`]; `Damaged` for a note that is not this slot's, or that none of `keys`
/// opens.
pub fn note(keys: &KeyRing, name: &str, slot: &[u8]) -> Result<Option<SlotNote>> {
    let (_, parts) = decode(slot)?;
    let Some(sealed) = parts.note else { return Ok(None) };
    SlotNote::decode(&record::open(keys, ObjectType::SlotNote, name, sealed)?).map(Some)
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
    check_repository(repository, &decode(slot)?.0)?;
    open_stretched(repository, &stretch(secret, slot)?, slot)
}

/// Pays what it costs to try `secret` on `slot`; [`open_stretched`] does the rest, any number of
/// times.
///
/// # Errors
/// As [`open`], but a wrong secret of the right kind is not noticed yet.
pub fn stretch(secret: &SlotSecret<'_>, slot: &[u8]) -> Result<Stretched> {
    let (head, _) = decode(slot)?;
    if head.kind != secret.kind() {
        return Err(Error::new(ErrorKind::WrongKey, "the key slot is of another kind"));
    }
    stretch_for(&head, secret)
}

/// The master keys in `slot` by epoch, for what [`stretch`] made of a secret.
///
/// # Errors
/// Those of [`open`].
pub fn open_stretched(
    repository: RepositoryId,
    stretched: &Stretched,
    slot: &[u8],
) -> Result<Vec<(u32, MasterKey)>> {
    let (head, parts) = decode(slot)?;
    check_repository(repository, &head)?;
    let keys = SlotKeys::derive(stretched, &slot[..HEAD_BYTES]);
    if !constant_time_eq(&keys.commitment[..], &slot[HEAD_BYTES..BODY_START]) {
        return Err(Error::new(ErrorKind::WrongKey, format!("wrong {}", head.kind.name())));
    }
    let mut body = Zeroizing::new(parts.wrapped.to_vec());
    let entries = AeadKey::new(&keys.key)
        .open(Nonce::ZERO, &slot[..BODY_START], &mut body)
        .map_err(|error| damaged("wrapped keys").because(error))?;
    decode_entries(entries)
}

fn check_repository(repository: RepositoryId, head: &Head) -> Result<()> {
    match head.repository == repository {
        true => Ok(()),
        false => Err(damaged("a key slot of another repository")),
    }
}

/// What stands behind the commitment.
struct Parts<'a> {
    /// The sealed keys, tag included.
    wrapped: &'a [u8],
    note: Option<&'a [u8]>,
}

/// The head and the parts of a whole slot, every length checked.
fn decode(slot: &[u8]) -> Result<(Head, Parts<'_>)> {
    let head = Head::decode(slot)?;
    let rest = slot.get(BODY_START..slot.len() - CHECKSUM_BYTES);
    let parts = rest.and_then(|rest| split(rest, head.has_note));
    let is_length_right = parts.as_ref().is_some_and(|parts| {
        let keys_bytes = parts.wrapped.len().saturating_sub(TAG_BYTES);
        keys_bytes % ENTRY_BYTES == 0 && (1..=SLOT_KEYS_MAX).contains(&(keys_bytes / ENTRY_BYTES))
    });
    match parts {
        Some(parts) if is_length_right => Ok((head, parts)),
        _ => Err(damaged(format!("a key slot of {} bytes", slot.len()))),
    }
}

fn split(rest: &[u8], has_note: bool) -> Option<Parts<'_>> {
    if !has_note {
        return Some(Parts { wrapped: rest, note: None });
    }
    let (rest, length) = rest.split_last_chunk::<NOTE_LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > NOTE_BYTES_MAX {
        return None;
    }
    let (wrapped, note) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
    Some(Parts { wrapped, note: Some(note) })
}

struct Head {
    kind: SlotKind,
    has_note: bool,
    cost: KdfCost,
    repository: RepositoryId,
    salt: [u8; KDF_SALT_BYTES],
}

impl Head {
    fn new(
        repository: RepositoryId,
        secret: &SlotSecret<'_>,
        cost: &KdfCost,
        salt: [u8; KDF_SALT_BYTES],
    ) -> Self {
        Self { kind: secret.kind(), has_note: false, cost: *cost, repository, salt }
    }

    fn encode(&self) -> Vec<u8> {
        let costs = match self.kind {
            SlotKind::Password => [self.cost.memory_kib, self.cost.passes, self.cost.lanes],
            SlotKind::Recovery | SlotKind::KeyFile => [0; 3],
        };
        let mut bytes = Vec::with_capacity(BODY_START + ENTRY_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.kind.code(), u8::from(self.has_note), 0]);
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
        Self::decode_fields(&mut reader).unwrap_or_else(|| Err(damaged("a truncated key slot")))
    }

    /// The fields after the version; `None` if there are too few bytes.
    fn decode_fields(reader: &mut Reader<'_>) -> Option<Result<Self>> {
        let kind = match reader.u8()? {
            1 => SlotKind::Password,
            2 => SlotKind::Recovery,
            3 => SlotKind::KeyFile,
            other => {
                let message = format!("key slot kind {other} is newer than this program");
                return Some(Err(Error::new(ErrorKind::Unsupported, message)));
            }
        };
        let [flags, reserved] = [reader.u8()?, reader.u8()?];
        let has_note = flags & FLAG_NOTE != 0;
        let [memory_kib, passes, lanes] = [reader.u32()?, reader.u32()?, reader.u32()?];
        let cost = KdfCost { memory_kib, passes, lanes };
        let repository = RepositoryId(reader.array()?);
        let salt = reader.array()?;
        let is_cost_right = match kind {
            SlotKind::Password => cost.check().is_ok(),
            SlotKind::Recovery | SlotKind::KeyFile => [memory_kib, passes, lanes] == [0; 3],
        };
        if flags & !FLAG_NOTE != 0 || reserved != 0 || !is_cost_right {
            return Some(Err(damaged(
                "a key slot with reserved bytes set or a cost out of bounds",
            )));
        }
        Some(Ok(Self { kind, has_note, cost, repository, salt }))
    }
}

struct SlotKeys {
    key: Secret,
    commitment: Secret,
}

impl SlotKeys {
    fn derive(stretched: &Stretched, head_bytes: &[u8]) -> Self {
        let expanded: Zeroizing<[u8; 2 * KEY_BYTES]> = expand(&stretched.0, &[head_bytes]);
        let mut keys = Self { key: Secret::default(), commitment: Secret::default() };
        keys.key.copy_from_slice(&expanded[..KEY_BYTES]);
        keys.commitment.copy_from_slice(&expanded[KEY_BYTES..]);
        keys
    }
}

fn stretch_for(head: &Head, secret: &SlotSecret<'_>) -> Result<Stretched> {
    let label = b"strongroom/1 slot";
    Ok(Stretched(match secret {
        SlotSecret::Password(password) => {
            extract(label, &head.cost.derive(password, &head.salt)?[..])
        }
        SlotSecret::Recovery(key) => extract(label, &key.secret()[..]),
        SlotSecret::KeyFile(file) => extract(label, file.bytes()),
    }))
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
