//! The header that every sealed object begins with, and the keys that it leads to.
//!
//! Type, name, repository and epoch are bound into an object's key, and a commitment to that key
//! is compared before anything is opened: an object that was swapped, renamed, retyped or taken
//! from another repository fails at its header. Knows nothing of what follows the header.

use zeroize::Zeroizing;

use super::wire::{Reader, is_zero};
use crate::{
    crypto::{
        AeadKey, EpochKeys, KEY_BYTES, KeyRing, NONCE_BYTES, NonceBase, Secret, constant_time_eq,
        expand,
    },
    error::{Error, ErrorKind, Result},
    runtime::Randomness,
};

/// Length of the header.
pub const HEADER_BYTES: usize = 96;
/// Length of an object's salt.
pub const SALT_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"SRM1";
const VERSION: u8 = 1;
/// The only suite so far: AES-256-GCM, HKDF-SHA-256, BLAKE3.
const SUITE: u8 = 1;
const FLAGS: u8 = 0;
const COMMITMENT_BYTES: usize = 32;
const DERIVED_BYTES: usize = KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES;

/// What an object is; bound into its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectType {
    /// Content of any length, outside a repository.
    Stream = 1,
    /// Segments of chunks and their directory.
    Pack = 2,
    /// Which chunks lie in which packs.
    IndexSegment = 3,
    /// A snapshot.
    Commit = 4,
    /// A step of a collector.
    CollectorHead = 5,
    /// A writer at work.
    Session = 6,
    /// Redundancy of a pack.
    Parity = 7,
    /// A snapshot that was given up.
    Tombstone = 8,
    /// Which packs a snapshot needs; sealed under the index key.
    ReferenceList = 9,
    /// Settings of the repository.
    Settings = 10,
    /// What people say of a snapshot.
    Label = 11,
    /// What a key slot says to who has the keys.
    SlotNote = 12,
    /// A key epoch that is in force.
    Epoch = 13,
    /// What is known to be lost.
    Damage = 14,
}

impl ObjectType {
    /// The number that stands for it in headers.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Pack => "pack",
            Self::IndexSegment => "index segment",
            Self::Commit => "commit",
            Self::CollectorHead => "collector head",
            Self::Session => "session",
            Self::Parity => "parity",
            Self::Tombstone => "tombstone",
            Self::ReferenceList => "reference list",
            Self::Settings => "settings",
            Self::Label => "label",
            Self::SlotNote => "key slot's note",
            Self::Epoch => "key epoch",
            Self::Damage => "record of damage",
        }
    }

    fn parent_key(self, keys: &EpochKeys) -> &[u8; KEY_BYTES] {
        match self {
            Self::ReferenceList => keys.index_key(),
            _ => keys.object_key(),
        }
    }
}

/// The keys of one object.
pub(super) struct ObjectKeys {
    /// Seals, or leads to what seals, the object's content.
    pub(super) key: Secret,
    /// Nonce of the object's first message.
    pub(super) nonce_base: NonceBase,
    commitment: [u8; COMMITMENT_BYTES],
}

impl ObjectKeys {
    /// The keys of the object of this type, name, epoch and salt.
    ///
    /// # Errors
    /// `Invalid` if the name is longer than 65,535 bytes.
    pub(super) fn derive(
        keys: &EpochKeys,
        object_type: ObjectType,
        name: &str,
        salt: &[u8; SALT_BYTES],
    ) -> Result<Self> {
        let name_bytes = u16::try_from(name.len())
            .map_err(|_| Error::new(ErrorKind::Invalid, "an object name over 65,535 bytes"))?;
        let derived: Zeroizing<[u8; DERIVED_BYTES]> = expand(
            object_type.parent_key(keys),
            &[
                b"strongroom/1 object",
                keys.repository().as_bytes(),
                &[VERSION, object_type.code(), SUITE, FLAGS],
                &keys.epoch().to_le_bytes(),
                &name_bytes.to_le_bytes(),
                name.as_bytes(),
                salt,
            ],
        );
        let mut key = Secret::default();
        let mut nonce_base = [0; NONCE_BYTES];
        let mut commitment = [0; COMMITMENT_BYTES];
        key.copy_from_slice(&derived[..KEY_BYTES]);
        nonce_base.copy_from_slice(&derived[KEY_BYTES..KEY_BYTES + NONCE_BYTES]);
        commitment.copy_from_slice(&derived[KEY_BYTES + NONCE_BYTES..]);
        Ok(Self { key, nonce_base: NonceBase::from_bytes(nonce_base), commitment })
    }

    /// The cipher for objects that are sealed under their key directly.
    pub(super) fn cipher(&self) -> AeadKey {
        AeadKey::new(&self.key)
    }
}

/// A fresh salt for an object; `content` is what is known of it.
pub(super) fn fresh_salt(
    keys: &EpochKeys,
    object_type: ObjectType,
    name: &str,
    content: &[u8],
    randomness: &dyn Randomness,
) -> [u8; SALT_BYTES] {
    keys.fresh_salt(randomness, &[&[object_type.code()], name.as_bytes(), content])
}

/// The header of an object sealed under `keys`.
pub(super) fn encode_header(
    keys: &EpochKeys,
    object_type: ObjectType,
    salt: &[u8; SALT_BYTES],
    object_keys: &ObjectKeys,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&[VERSION, object_type.code(), SUITE, FLAGS]);
    header[8..12].copy_from_slice(&keys.epoch().to_le_bytes());
    header[16..48].copy_from_slice(salt);
    header[48..80].copy_from_slice(&object_keys.commitment);
    header
}

/// What a header says once it has been proved to belong to its object.
pub(super) struct OpenedHeader {
    /// The epoch that the object was sealed in.
    pub(super) epoch: u32,
    /// The object's salt.
    pub(super) salt: [u8; SALT_BYTES],
    /// The object's keys.
    pub(super) keys: ObjectKeys,
}

/// Checks that `header` is that of the object `name` of this type and repository, and derives
/// the object's keys.
///
/// # Errors
/// `Damaged`, naming the object, for everything that a writer of this format would not write.
pub(super) fn open_header(
    ring: &KeyRing,
    object_type: ObjectType,
    name: &str,
    header: &[u8],
) -> Result<OpenedHeader> {
    let fields = parse_header(header, object_type).map_err(|why| Error::damaged(name, why))?;
    let Ok(epoch_keys) = ring.epoch(fields.epoch) else {
        let why = format!("sealed in key epoch {}, which no key at hand opens", fields.epoch);
        return Err(Error::damaged(name, why));
    };
    let keys = ObjectKeys::derive(epoch_keys, object_type, name, &fields.salt)?;
    if !constant_time_eq(&keys.commitment, &fields.commitment) {
        let why = "not sealed as this object of this repository: damaged, renamed or exchanged";
        return Err(Error::damaged(name, why));
    }
    Ok(OpenedHeader { epoch: fields.epoch, salt: fields.salt, keys })
}

struct HeaderFields {
    epoch: u32,
    salt: [u8; SALT_BYTES],
    commitment: [u8; COMMITMENT_BYTES],
}

fn parse_header(header: &[u8], object_type: ObjectType) -> Result<HeaderFields, String> {
    if header.len() < HEADER_BYTES {
        return Err(format!("truncated: {} bytes, a header has {HEADER_BYTES}", header.len()));
    }
    let truncated = || "truncated header".to_owned();
    let mut reader = Reader::new(header);
    if reader.array() != Some(MAGIC) {
        return Err("not an object of this format: wrong magic bytes".to_owned());
    }
    let [version, type_code, suite, flags] = reader.array().ok_or_else(truncated)?;
    if (version, suite, flags) != (VERSION, SUITE, FLAGS) {
        return Err(format!("header with version {version}, suite {suite}, flags {flags}"));
    }
    if type_code != object_type.code() {
        return Err(format!("an object of type {type_code} instead of a {}", object_type.name()));
    }
    let epoch = reader.u32().ok_or_else(truncated)?;
    let reserved: [u8; 4] = reader.array().ok_or_else(truncated)?;
    let salt = reader.array().ok_or_else(truncated)?;
    let commitment = reader.array().ok_or_else(truncated)?;
    let reserved_end: [u8; 16] = reader.array().ok_or_else(truncated)?;
    if !is_zero(&reserved) || !is_zero(&reserved_end) {
        return Err("reserved bytes of the header are not zero".to_owned());
    }
    Ok(HeaderFields { epoch, salt, commitment })
}
