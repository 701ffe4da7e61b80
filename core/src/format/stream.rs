//! One object of a length that nobody knows beforehand: a header and sealed frames.
//!
//! Every frame holds 65,536 bytes but the last, which holds fewer (possibly none): an object that
//! was cut or extended at any place has no valid last frame. Works on buffers that are pushed in,
//! with the memory of one frame; knows nothing of where the bytes come from or go to.

use super::object::{self, HEADER_BYTES, ObjectKeys, ObjectType};
use crate::{
    crypto::{AeadKey, KeyRing, NonceBase, TAG_BYTES},
    error::{Error, ErrorKind, Result},
    runtime::Randomness,
};

/// Plaintext bytes of every frame but the last.
pub const FRAME_PLAIN_BYTES: usize = 65_536;
/// Sealed bytes of every frame but the last.
pub const FRAME_SEALED_BYTES: usize = FRAME_PLAIN_BYTES + TAG_BYTES;
/// Frames of one stream: 256 TiB of content, well inside what one AES-GCM key may seal.
pub const FRAMES_MAX: u64 = 1 << 32;

/// The lengths of a stream, computed from one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLayout {
    plain_bytes: u64,
}

impl StreamLayout {
    /// The layout of content with this length.
    pub const fn of_plain(plain_bytes: u64) -> Self {
        Self { plain_bytes }
    }

    /// The layout of a sealed object with this size, or `None` if no stream has it: the object
    /// was cut inside the header or inside a tag.
    pub fn of_sealed(sealed_bytes: u64) -> Option<Self> {
        let body = sealed_bytes.checked_sub(HEADER_BYTES as u64)?;
        let full_frames = body / FRAME_SEALED_BYTES as u64;
        let last = (body % FRAME_SEALED_BYTES as u64).checked_sub(TAG_BYTES as u64)?;
        Some(Self { plain_bytes: full_frames * FRAME_PLAIN_BYTES as u64 + last })
    }

    /// Length of the content.
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// How many frames there are, the last one included.
    pub const fn frames(&self) -> u64 {
        self.plain_bytes / FRAME_PLAIN_BYTES as u64 + 1
    }

    /// Size of the sealed object; saturates at the end of 64 bits.
    pub const fn sealed_bytes(&self) -> u64 {
        let overhead = HEADER_BYTES as u64 + self.frames() * TAG_BYTES as u64;
        self.plain_bytes.saturating_add(overhead)
    }

    /// Where frame `index` begins in the sealed object; saturates at the end of 64 bits.
    pub const fn frame_offset(index: u64) -> u64 {
        index.saturating_mul(FRAME_SEALED_BYTES as u64).saturating_add(HEADER_BYTES as u64)
    }
}

/// Seals content that is pushed in pieces of any size.
#[derive(Debug)]
pub struct StreamSealer {
    cipher: AeadKey,
    nonce_base: NonceBase,
    header: Option<[u8; HEADER_BYTES]>,
    /// The frame that is being filled, always shorter than a full one between calls.
    frame: Vec<u8>,
    frames_sealed: u64,
}

impl StreamSealer {
    /// Begins the object `name` under the ring's current keys.
    ///
    /// # Errors
    /// `Invalid` if the name is longer than 65,535 bytes.
    pub fn new(
        keys: &KeyRing,
        object_type: ObjectType,
        name: &str,
        randomness: &dyn Randomness,
    ) -> Result<Self> {
        let salt = object::fresh_salt(keys.current(), object_type, name, &[], randomness);
        Self::with_salt(keys, object_type, name, &salt)
    }

    /// Begins the object with a salt that the caller has drawn for it.
    pub(super) fn with_salt(
        keys: &KeyRing,
        object_type: ObjectType,
        name: &str,
        salt: &[u8; object::SALT_BYTES],
    ) -> Result<Self> {
        let epoch_keys = keys.current();
        let object_keys = ObjectKeys::derive(epoch_keys, object_type, name, salt)?;
        let header = object::encode_header(epoch_keys, object_type, salt, &object_keys);
        Ok(Self {
            cipher: object_keys.cipher(),
            nonce_base: object_keys.nonce_base,
            header: Some(header),
            frame: Vec::new(),
            frames_sealed: 0,
        })
    }

    /// Takes `plain` and appends to `out` what can be sealed of all content so far: the header
    /// first, then full frames.
    ///
    /// # Errors
    /// `Unsupported` beyond [`FRAMES_MAX`] frames.
    pub fn push(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.header.take().as_ref().map_or(&[], |header| &header[..]));
        if !self.frame.is_empty() {
            let (head, rest) =
                plain.split_at(plain.len().min(FRAME_PLAIN_BYTES - self.frame.len()));
            self.frame.extend_from_slice(head);
            plain = rest;
            if self.frame.len() < FRAME_PLAIN_BYTES {
                return Ok(());
            }
            let full = std::mem::take(&mut self.frame);
            self.seal_frame(&full, out)?;
            self.frame = full;
            self.frame.clear();
        }
        let (frames, rest) = plain.as_chunks::<FRAME_PLAIN_BYTES>();
        out.reserve(frames.len() * FRAME_SEALED_BYTES);
        for frame in frames {
            self.seal_frame(frame, out)?;
        }
        self.frame.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the last frame. The object is valid only with it.
    ///
    /// # Errors
    /// `Unsupported` beyond [`FRAMES_MAX`] frames.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.push(&[], out)?;
        let last = std::mem::take(&mut self.frame);
        self.seal_frame(&last, out)
    }

    fn seal_frame(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.frames_sealed >= FRAMES_MAX {
            return Err(Error::new(ErrorKind::Unsupported, "a stream over 256 TiB"));
        }
        let start = out.len();
        out.extend_from_slice(plain);
        self.cipher.seal_from(self.nonce_base.at(self.frames_sealed), &[], out, start);
        self.frames_sealed += 1;
        Ok(())
    }
}

/// Opens sealed content that is pushed in pieces of any size, or frame by frame in any order.
#[derive(Debug)]
pub struct StreamOpener {
    name: String,
    cipher: AeadKey,
    nonce_base: NonceBase,
    /// Sealed bytes of the frame that is being collected.
    frame: Vec<u8>,
    frames_opened: u64,
    has_failed: bool,
}

impl StreamOpener {
    /// Checks the header, which is the first [`HEADER_BYTES`] bytes of the object `name`; more
    /// bytes are ignored.
    ///
    /// # Errors
    /// `Damaged` if it is not the header of this object.
    pub fn new(keys: &KeyRing, object_type: ObjectType, name: &str, header: &[u8]) -> Result<Self> {
        let opened = object::open_header(keys, object_type, name, header)?;
        Ok(Self {
            name: name.to_owned(),
            cipher: opened.keys.cipher(),
            nonce_base: opened.keys.nonce_base,
            frame: Vec::new(),
            frames_opened: 0,
            has_failed: false,
        })
    }

    /// Takes the object's next `sealed` bytes (after the header) and appends to `out` the
    /// plaintext of the frames that they complete. Only authenticated plaintext is appended.
    ///
    /// # Errors
    /// `Damaged`; the stream gives nothing more after that.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.check_usable()?;
        if !self.frame.is_empty() {
            let missing = FRAME_SEALED_BYTES - self.frame.len();
            let (head, rest) = sealed.split_at(sealed.len().min(missing));
            self.frame.extend_from_slice(head);
            sealed = rest;
            if self.frame.len() < FRAME_SEALED_BYTES {
                return Ok(());
            }
            let full = std::mem::take(&mut self.frame);
            self.append_frame(&full, false, out)?;
            self.frame = full;
            self.frame.clear();
        }
        let (frames, rest) = sealed.as_chunks::<FRAME_SEALED_BYTES>();
        out.reserve(frames.len() * FRAME_PLAIN_BYTES);
        for frame in frames {
            self.append_frame(frame, false, out)?;
        }
        self.frame.extend_from_slice(rest);
        Ok(())
    }

    /// Says that the object ends here, and appends the last frame's plaintext to `out`.
    ///
    /// # Errors
    /// `Damaged` if the object does not end here: it was truncated.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<()> {
        self.check_usable()?;
        let last = std::mem::take(&mut self.frame);
        self.append_frame(&last, true, out)
    }

    /// Opens frame `index` in place and returns its plaintext, part of `sealed`. `is_last` says
    /// that the object's size makes it the last one.
    ///
    /// # Errors
    /// `Damaged`; the buffer's content is worthless then.
    pub fn open_frame<'a>(
        &self,
        index: u64,
        sealed: &'a mut [u8],
        is_last: bool,
    ) -> Result<&'a mut [u8]> {
        let is_fitting = match is_last {
            true => (TAG_BYTES..FRAME_SEALED_BYTES).contains(&sealed.len()),
            false => sealed.len() == FRAME_SEALED_BYTES,
        };
        if !is_fitting || index >= FRAMES_MAX {
            return Err(Error::damaged(&self.name, format!("truncated in frame {index}")));
        }
        self.cipher
            .open(self.nonce_base.at(index), &[], sealed)
            .map_err(|error| Error::damaged(&self.name, format!("frame {index}")).because(error))
    }

    fn append_frame(&mut self, sealed: &[u8], is_last: bool, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        out.extend_from_slice(sealed);
        let opened = self.open_frame(self.frames_opened, &mut out[start..], is_last);
        match opened.map(|plain| plain.len()) {
            Ok(plain_bytes) => {
                out.truncate(start + plain_bytes);
                self.frames_opened += 1;
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                self.has_failed = true;
                Err(error)
            }
        }
    }

    fn check_usable(&self) -> Result<()> {
        if self.has_failed {
            return Err(Error::damaged(&self.name, "an earlier frame could not be opened"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
