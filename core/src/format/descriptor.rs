//! The object `repository`: a head that every program can read without keys, then the sealed
//! settings.
//!
//! The head's layout is fixed for all versions, so that a program can tell a repository newer
//! than itself from a damaged one. The settings repeat the versions under seal.

use super::{object::ObjectType, record, wire::Reader};
use crate::{
    chunker::{ChunkParams, ChunkerAlgorithm},
    compress::Compression,
    crypto::KeyRing,
    error::{Error, ErrorKind, Result},
    format::pack::PACK_BYTES_MAX,
    id::RepositoryId,
    runtime::{Randomness, Timestamp},
};

/// The name of the object.
pub const DESCRIPTOR_NAME: &str = "repository";
/// The format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;
/// The oldest format whose readers can read what this program writes.
const READER_VERSION_MIN: u16 = 1;

const MAGIC: [u8; 4] = *b"SRRP";
const CHECKED_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 16;
/// Length of the head.
pub const DESCRIPTOR_HEAD_BYTES: usize = CHECKED_BYTES + CHECKSUM_BYTES;

const PACK_TARGET_BYTES_MIN: u32 = 1 << 20;
const LABEL_BYTES_MAX: usize = 1024;

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorHead {
    /// The format that the repository was written in.
    pub format_version: u16,
    /// The oldest format version whose readers can read it.
    pub reader_version_min: u16,
    /// The repository's id.
    pub repository: RepositoryId,
}

/// What was decided when the repository was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where content is cut.
    pub chunking: ChunkParams,
    /// Packs are closed once they reach this size.
    pub pack_target_bytes: u32,
    /// How hard to compress, unless a run says otherwise.
    pub compression: Compression,
    /// When the repository was made.
    pub created: Timestamp,
    /// What people call it; at most 1,024 bytes.
    pub label: Option<String>,
    /// Parity and copies stand beside the objects, so that damage heals.
    pub has_parity: bool,
}

impl Settings {
    /// The defaults for a repository made at `created`.
    pub fn new(created: Timestamp) -> Self {
        Self {
            chunking: ChunkParams::default(),
            pack_target_bytes: 16 << 20,
            compression: Compression::default(),
            created,
            label: None,
            has_parity: false,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let largest = (PACK_BYTES_MAX / 2) as u32;
        if !(PACK_TARGET_BYTES_MIN..=largest).contains(&self.pack_target_bytes) {
            return Err("a pack size that is not between 1 MiB and 128 MiB");
        }
        if self.label.as_ref().is_some_and(|label| label.len() > LABEL_BYTES_MAX) {
            return Err("a label over 1,024 bytes");
        }
        Ok(())
    }
}

/// The stored form of the settings: a CBOR map with small integer keys. Unknown keys are skipped.
#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct StoredSettings {
    #[n(0)]
    format_version: u16,
    #[n(1)]
    reader_version_min: u16,
    #[n(2)]
    chunker: u8,
    #[n(3)]
    chunk_min: u32,
    #[n(4)]
    chunk_average: u32,
    #[n(5)]
    chunk_max: u32,
    #[n(6)]
    pack_target_bytes: u32,
    #[n(7)]
    compression: i8,
    #[n(8)]
    created: i64,
    #[n(9)]
    label: Option<String>,
    /// Missing if there is none.
    #[n(10)]
    has_parity: Option<bool>,
}

impl StoredSettings {
    fn new(settings: &Settings) -> Self {
        let chunking = &settings.chunking;
        Self {
            format_version: FORMAT_VERSION,
            reader_version_min: READER_VERSION_MIN,
            chunker: chunking.algorithm().code(),
            chunk_min: chunking.min_bytes() as u32,
            chunk_average: chunking.average_bytes() as u32,
            chunk_max: chunking.max_bytes() as u32,
            pack_target_bytes: settings.pack_target_bytes,
            compression: settings.compression.code(),
            created: settings.created.0,
            label: settings.label.clone(),
            has_parity: settings.has_parity.then_some(true),
        }
    }

    fn settings(self) -> Result<Settings> {
        let unknown = |what: &str, code: i16| {
            let message = format!("{what} {code} is newer than this program");
            Error::new(ErrorKind::Unsupported, message)
        };
        let chunking = match ChunkerAlgorithm::from_code(self.chunker) {
            Some(ChunkerAlgorithm::Fixed) => ChunkParams::fixed(self.chunk_max)?,
            Some(ChunkerAlgorithm::Gear) => {
                ChunkParams::content_defined(self.chunk_min, self.chunk_average, self.chunk_max)?
            }
            None => return Err(unknown("chunker", i16::from(self.chunker))),
        };
        let compression = Compression::from_code(self.compression)
            .ok_or_else(|| unknown("compression", i16::from(self.compression)))?;
        Ok(Settings {
            chunking,
            pack_target_bytes: self.pack_target_bytes,
            compression,
            created: Timestamp(self.created),
            label: self.label,
            has_parity: self.has_parity.unwrap_or(false),
        })
    }
}

/// The object `repository` of a new repository.
///
/// # Errors
/// `Invalid` for settings out of bounds.
pub fn seal(keys: &KeyRing, settings: &Settings, randomness: &dyn Randomness) -> Result<Vec<u8>> {
    settings.check().map_err(|why| Error::new(ErrorKind::Invalid, why))?;
    let content = minicbor::to_vec(StoredSettings::new(settings))
        .map_err(|error| Error::internal("settings do not encode").because(error))?;
    let mut object = encode_head(FORMAT_VERSION, READER_VERSION_MIN, keys.repository());
    object.extend(record::seal(keys, ObjectType::Settings, DESCRIPTOR_NAME, &content, randomness)?);
    Ok(object)
}

/// What the first [`DESCRIPTOR_HEAD_BYTES`] bytes of the object `repository` say; more bytes are
/// ignored. Needs no keys.
///
/// # Errors
/// `Damaged` if they are no head, `Unsupported` if the repository needs a newer program.
pub fn decode_head(bytes: &[u8]) -> Result<DescriptorHead> {
    let damaged = |why: &str| Error::damaged(DESCRIPTOR_NAME, why);
    let Some(head) = bytes.first_chunk::<DESCRIPTOR_HEAD_BYTES>() else {
        return Err(damaged("a truncated repository descriptor"));
    };
    let (checked, sum) = head.split_at(CHECKED_BYTES);
    if !checked.starts_with(&MAGIC) {
        return Err(damaged("not a repository descriptor: wrong magic bytes"));
    }
    if checksum(checked) != sum {
        return Err(damaged("a repository descriptor whose checksum does not match"));
    }
    let mut reader = Reader::new(&checked[MAGIC.len()..]);
    let fields = (reader.u16(), reader.u16(), reader.array());
    let (Some(format_version), Some(reader_version_min), Some(repository)) = fields else {
        return Err(damaged("a truncated repository descriptor"));
    };
    if reader_version_min > FORMAT_VERSION {
        let message = format!("repository format {format_version} is newer than this program");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .on(DESCRIPTOR_NAME)
            .hint("update strongroom"));
    }
    Ok(DescriptorHead { format_version, reader_version_min, repository: RepositoryId(repository) })
}

/// The settings in the object `repository`, from all of its bytes.
///
/// # Errors
/// Those of [`decode_head`]; `Damaged` if the settings are not those of this repository.
pub fn open_settings(keys: &KeyRing, bytes: &[u8]) -> Result<Settings> {
    let head = decode_head(bytes)?;
    let sealed = &bytes[DESCRIPTOR_HEAD_BYTES..];
    let content = record::open(keys, ObjectType::Settings, DESCRIPTOR_NAME, sealed)?;
    let stored: StoredSettings = minicbor::decode(&content).map_err(|error| {
        Error::damaged(DESCRIPTOR_NAME, "settings do not decode").because(error)
    })?;
    let is_same_head = stored.format_version == head.format_version
        && stored.reader_version_min == head.reader_version_min
        && head.repository == keys.repository();
    if !is_same_head {
        return Err(Error::damaged(DESCRIPTOR_NAME, "the head does not belong to the settings"));
    }
    let settings = stored.settings().map_err(|error| error.on(DESCRIPTOR_NAME))?;
    settings.check().map_err(|why| Error::damaged(DESCRIPTOR_NAME, why))?;
    Ok(settings)
}

fn encode_head(format_version: u16, reader_version_min: u16, repository: RepositoryId) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&format_version.to_le_bytes());
    head.extend_from_slice(&reader_version_min.to_le_bytes());
    head.extend_from_slice(repository.as_bytes());
    let sum = checksum(&head);
    head.extend_from_slice(&sum);
    head
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests;
