//! Packs: a header, a sealed directory, then sealed segments that follow each other without gaps.
//!
//! ```text
//! header 96 | LE32 length of the sealed directory | sealed directory | segments | padding
//! ```
//! The directory stands in front, so that one read of the first bytes leads to everything. Each
//! segment has a key of its own, derived from the pack's and from what the segment is. Knows
//! nothing of the content of chunks or of how segments are filled.

mod directory;

use bytes::Bytes;
use zeroize::Zeroizing;

pub use self::directory::{
    DIRECTORY_PLAIN_BYTES_MAX, Directory, SEGMENT_PLAIN_BYTES_MAX, SegmentRow,
};
use super::{
    object::{self, HEADER_BYTES, ObjectKeys, ObjectType, SALT_BYTES},
    wire::Reader,
};
use crate::{
    compress::Algorithm,
    crypto::{AeadKey, KeyRing, TAG_BYTES, expand, padme},
    error::{Error, Result},
    id::{ChunkId, PackId},
    runtime::Randomness,
};

/// The largest pack.
pub const PACK_BYTES_MAX: u64 = 256 << 20;
/// How much to read of a pack to have its directory, in most cases.
pub const DIRECTORY_READ_BYTES: u64 = 64 << 10;

/// The directory's message number: segments count up from 0 and never reach it.
const DIRECTORY_COUNTER: u64 = 1 << 63;
const DIRECTORY_LENGTH_BYTES: usize = 4;
/// What stands before the sealed directory.
const PREFIX_BYTES: usize = HEADER_BYTES + DIRECTORY_LENGTH_BYTES;

/// The object that pack `id` is stored as.
pub fn pack_object_name(id: PackId) -> String {
    format!("packs/{id}")
}

/// What both sides need of a pack's keys.
struct PackKeys {
    object: ObjectKeys,
    directory: AeadKey,
}

impl PackKeys {
    fn new(object: ObjectKeys) -> Self {
        let key: Zeroizing<[u8; 32]> = expand(&object.key, &[b"strongroom/1 directory"]);
        Self { directory: AeadKey::new(&key), object }
    }

    /// The key of one segment: the chunks it holds, how they are stored and how long they are
    /// decide it, so no segment opens as another.
    fn segment(&self, chunks: &[(ChunkId, u32)], algorithm: Algorithm, plain_len: u32) -> AeadKey {
        let mut ids = blake3::Hasher::new();
        for (id, _) in chunks {
            ids.update(id.as_bytes());
        }
        let key = blake3::Hasher::new_keyed(&self.object.key)
            .update(b"strongroom/1 segment")
            .update(ids.finalize().as_bytes())
            .update(&[algorithm.code()])
            .update(&plain_len.to_le_bytes())
            .finalize();
        AeadKey::new(&Zeroizing::new(*key.as_bytes()))
    }
}

/// Seals the parts of one pack, from several threads if need be.
pub struct PackSealer {
    name: String,
    epoch: u32,
    salt: [u8; SALT_BYTES],
    header: [u8; HEADER_BYTES],
    keys: PackKeys,
}

/// A finished pack, ready to be put.
#[derive(Debug, Clone)]
pub struct SealedPack {
    /// Its bytes: header and directory first, then one buffer a segment, the padding last.
    pub parts: Vec<Bytes>,
    /// Length of all parts together.
    pub size: u64,
    /// BLAKE3 of all parts together.
    pub blake3: [u8; 32],
    /// The directory as it was sealed: the given one and the row of the padding.
    pub directory: Directory,
}

impl PackSealer {
    /// Begins pack `id` under the ring's current keys.
    pub fn new(keys: &KeyRing, id: PackId, randomness: &dyn Randomness) -> Self {
        let name = pack_object_name(id);
        let salt = object::fresh_salt(keys.current(), ObjectType::Pack, &name, &[], randomness);
        Self::with_salt(keys, id, salt)
    }

    #[expect(clippy::expect_used, reason = "deriving fails for names over 65,535 bytes only")]
    fn with_salt(keys: &KeyRing, id: PackId, salt: [u8; SALT_BYTES]) -> Self {
        let name = pack_object_name(id);
        let epoch_keys = keys.current();
        let object = ObjectKeys::derive(epoch_keys, ObjectType::Pack, &name, &salt)
            .expect("the name of a pack is short");
        let header = object::encode_header(epoch_keys, ObjectType::Pack, &salt, &object);
        Self { name, epoch: epoch_keys.epoch(), salt, header, keys: PackKeys::new(object) }
    }

    /// The pack's salt; with the epoch it opens segments without the pack's header.
    pub fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// The key epoch that the pack is sealed in.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Seals segment `number` (from 0, in the order of the directory): encrypts `payload` in
    /// place and appends the tag. `payload` is what `algorithm` made of the chunks' plaintext.
    ///
    /// # Errors
    /// `Internal` if the row breaks a rule of the directory.
    pub fn seal_segment(
        &self,
        number: u32,
        chunks: &[(ChunkId, u32)],
        algorithm: Algorithm,
        plain_len: u32,
        payload: &mut Vec<u8>,
    ) -> Result<()> {
        let sealed_bytes = payload.len() + TAG_BYTES;
        directory::check_row(algorithm, plain_len, sealed_bytes, chunks)
            .map_err(|why| Error::internal(format!("segment {number}: {why}")).on(&self.name))?;
        let nonce = self.keys.object.nonce_base.at(u64::from(number));
        self.keys.segment(chunks, algorithm, plain_len).seal_from(nonce, &[], payload, 0);
        Ok(())
    }

    /// Puts sealed segments together, in the order of `directory`, and adds the padding that
    /// brings the pack to a PADME length.
    ///
    /// # Errors
    /// `Internal` if segments and directory differ, or the pack or its directory grew too large.
    pub fn finish(&self, directory: &Directory, segments: Vec<Bytes>) -> Result<SealedPack> {
        let broken = |why: &str| Error::internal(why).on(&self.name);
        let is_matching = segments.len() == directory.segments.len()
            && segments
                .iter()
                .zip(&directory.segments)
                .all(|(segment, row)| segment.len() as u64 == u64::from(row.stored_len));
        if !is_matching {
            return Err(broken("the segments of a pack do not match its directory"));
        }
        let (directory, padding) = self.seal_padding(directory)?;
        let head = self.seal_head(&directory)?;
        let mut parts = Vec::with_capacity(segments.len() + 2);
        parts.push(Bytes::from(head));
        parts.extend(segments);
        parts.push(Bytes::from(padding));
        let mut hasher = blake3::Hasher::new();
        let mut size = 0;
        for part in &parts {
            hasher.update(part);
            size += part.len() as u64;
        }
        debug_assert_eq!(size, directory.pack_bytes());
        Ok(SealedPack { parts, size, blake3: *hasher.finalize().as_bytes(), directory })
    }

    /// The directory with the padding's row, and the sealed padding.
    fn seal_padding(&self, directory: &Directory) -> Result<(Directory, Vec<u8>)> {
        let mut directory = directory.clone();
        let number = u32::try_from(directory.segments.len()).unwrap_or(u32::MAX);
        directory.segments.push(SegmentRow::padding(0));
        let unpadded_bytes = directory.pack_bytes();
        let padding_len = u32::try_from(padme(unpadded_bytes) - unpadded_bytes).unwrap_or(u32::MAX);
        directory.segments.pop();
        directory.segments.push(SegmentRow::padding(padding_len));
        directory.check().map_err(|why| Error::internal(why).on(&self.name))?;
        let mut padding = Vec::with_capacity(padding_len as usize + TAG_BYTES);
        padding.resize(padding_len as usize, 0);
        self.seal_segment(number, &[], Algorithm::Padding, padding_len, &mut padding)?;
        Ok((directory, padding))
    }

    fn seal_head(&self, directory: &Directory) -> Result<Vec<u8>> {
        let mut plain = directory.encode();
        plain.resize(directory.padded_bytes(), 0);
        let sealed_len = u32::try_from(plain.len() + TAG_BYTES)
            .map_err(|_| Error::internal("a pack's directory over 4 GiB"))?
            .to_le_bytes();
        let mut head = Vec::with_capacity(PREFIX_BYTES + plain.len() + TAG_BYTES);
        head.extend_from_slice(&self.header);
        head.extend_from_slice(&sealed_len);
        head.extend_from_slice(&plain);
        let nonce = self.keys.object.nonce_base.at(DIRECTORY_COUNTER);
        self.keys.directory.seal_from(nonce, &sealed_len, &mut head, PREFIX_BYTES);
        Ok(head)
    }
}

impl std::fmt::Debug for PackSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackSealer({}, epoch {})", self.name, self.epoch)
    }
}

/// Opens the segments of one pack, from several threads if need be.
pub struct PackOpener {
    name: String,
    epoch: u32,
    salt: [u8; SALT_BYTES],
    keys: PackKeys,
}

/// What the first bytes of a pack lead to.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a pack, taken apart at once")]
pub enum PackHead {
    /// They were enough.
    Opened {
        /// Opens the segments.
        opener: PackOpener,
        /// What lies where.
        directory: Directory,
    },
    /// The first `bytes` bytes of the pack are needed. If the pack is shorter, it is damaged.
    NeedsMore {
        /// How many bytes, from the beginning of the pack.
        bytes: u64,
    },
}

impl PackOpener {
    /// Opens pack `id` with the epoch and salt that an index noted for it.
    ///
    /// # Errors
    /// `Damaged` if no key for the epoch is at hand.
    pub fn new(keys: &KeyRing, id: PackId, epoch: u32, salt: &[u8; SALT_BYTES]) -> Result<Self> {
        let name = pack_object_name(id);
        let Ok(epoch_keys) = keys.epoch(epoch) else {
            let why = format!("sealed in key epoch {epoch}, which no key at hand opens");
            return Err(Error::damaged(name, why));
        };
        let object = ObjectKeys::derive(epoch_keys, ObjectType::Pack, &name, salt)?;
        Ok(Self { name, epoch, salt: *salt, keys: PackKeys::new(object) })
    }

    /// Opens pack `id` and its directory from the first bytes of the object, of which
    /// [`DIRECTORY_READ_BYTES`] are enough in most cases.
    ///
    /// # Errors
    /// `Damaged` if they are not the beginning of this pack.
    pub fn from_head(keys: &KeyRing, id: PackId, head: &[u8]) -> Result<PackHead> {
        let Some((header, rest)) = head.split_at_checked(HEADER_BYTES) else {
            return Ok(PackHead::NeedsMore { bytes: PREFIX_BYTES as u64 });
        };
        let name = pack_object_name(id);
        let opened = object::open_header(keys, ObjectType::Pack, &name, header)?;
        let opener =
            Self { name, epoch: opened.epoch, salt: opened.salt, keys: PackKeys::new(opened.keys) };
        let mut reader = Reader::new(rest);
        let Some(sealed_len) = reader.u32() else {
            return Ok(PackHead::NeedsMore { bytes: PREFIX_BYTES as u64 });
        };
        if sealed_len as usize > DIRECTORY_PLAIN_BYTES_MAX + TAG_BYTES {
            let why = format!("a directory of {sealed_len} bytes");
            return Err(Error::damaged(&opener.name, why));
        }
        let Some(sealed) = reader.take(sealed_len as usize) else {
            let bytes = PREFIX_BYTES as u64 + u64::from(sealed_len);
            return Ok(PackHead::NeedsMore { bytes });
        };
        let directory = opener.open_directory(sealed_len, sealed.to_vec())?;
        Ok(PackHead::Opened { opener, directory })
    }

    fn open_directory(&self, sealed_len: u32, mut sealed: Vec<u8>) -> Result<Directory> {
        let nonce = self.keys.object.nonce_base.at(DIRECTORY_COUNTER);
        let plain = self
            .keys
            .directory
            .open(nonce, &sealed_len.to_le_bytes(), &mut sealed)
            .map_err(|error| Error::damaged(&self.name, "directory").because(error))?;
        Directory::decode_padded(plain).map_err(|why| Error::damaged(&self.name, why))
    }

    /// The key epoch that the pack is sealed in.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The pack's salt.
    pub fn salt(&self) -> &[u8; SALT_BYTES] {
        &self.salt
    }

    /// Opens segment `number` in place: `sealed` becomes the payload, still compressed as the
    /// row says. The row comes from the pack's directory or from an index that embeds it.
    ///
    /// # Errors
    /// `Damaged` if this is not that segment of this pack.
    pub fn open_segment(&self, number: u32, row: &SegmentRow, sealed: &mut Vec<u8>) -> Result<()> {
        let payload_bytes = self.open_in_place(number, row, sealed)?.len();
        sealed.truncate(payload_bytes);
        Ok(())
    }

    /// As [`Self::open_segment`], for a segment that lies among others: gives the payload, which
    /// is the beginning of `sealed`.
    ///
    /// # Errors
    /// As [`Self::open_segment`].
    pub fn open_in_place<'a>(
        &self,
        number: u32,
        row: &SegmentRow,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        if sealed.len() as u64 != u64::from(row.stored_len) {
            let why = format!(
                "segment {number} is truncated: {} of {} bytes",
                sealed.len(),
                row.stored_len
            );
            return Err(Error::damaged(&self.name, why));
        }
        let nonce = self.keys.object.nonce_base.at(u64::from(number));
        let key = self.keys.segment(&row.chunks, row.algorithm, row.plain_len);
        let payload = key.open(nonce, &[], sealed).map_err(|error| {
            Error::damaged(&self.name, format!("segment {number}")).because(error)
        })?;
        if row.algorithm == Algorithm::Padding && !super::wire::is_zero(payload) {
            return Err(Error::damaged(&self.name, "the padding is not zero"));
        }
        Ok(payload)
    }
}

impl std::fmt::Debug for PackOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackOpener({}, epoch {})", self.name, self.epoch)
    }
}

#[cfg(test)]
mod tests;
