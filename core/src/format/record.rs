//! Small whole objects: a length, the content, and zeros up to a size that tells little.
//!
//! A record is sealed as a stream, so that one rule covers both. Knows nothing of the content.

use super::{
    object::{self, HEADER_BYTES, ObjectType},
    stream::{StreamLayout, StreamOpener, StreamSealer},
    wire::{Reader, is_zero},
};
use crate::{
    crypto::{KeyRing, TAG_BYTES, padme},
    error::{Error, Result},
    runtime::Randomness,
};

const LENGTH_BYTES: usize = 8;

/// Seals `content` as the object `name` under the ring's current keys. The sealed size is a
/// PADME length (or the first size of a stream above it).
///
/// # Errors
/// `Invalid` if the name is longer than 65,535 bytes.
pub fn seal(
    keys: &KeyRing,
    object_type: ObjectType,
    name: &str,
    content: &[u8],
    randomness: &dyn Randomness,
) -> Result<Vec<u8>> {
    let salt = object::fresh_salt(keys.current(), object_type, name, content, randomness);
    seal_with_salt(keys, object_type, name, content, &salt)
}

fn seal_with_salt(
    keys: &KeyRing,
    object_type: ObjectType,
    name: &str,
    content: &[u8],
    salt: &[u8; object::SALT_BYTES],
) -> Result<Vec<u8>> {
    let layout = padded_layout(content.len());
    let mut sealed = Vec::with_capacity(layout.sealed_bytes() as usize);
    let mut sealer = StreamSealer::with_salt(keys, object_type, name, salt)?;
    sealer.push(&(content.len() as u64).to_le_bytes(), &mut sealed)?;
    sealer.push(content, &mut sealed)?;
    let padding_bytes = layout.plain_bytes() as usize - LENGTH_BYTES - content.len();
    sealer.push(&vec![0; padding_bytes], &mut sealed)?;
    sealer.finish(&mut sealed)?;
    Ok(sealed)
}

/// The content of the record `name`, from all of its sealed bytes.
///
/// # Errors
/// `Damaged` if this is not what was sealed as this object.
pub fn open(keys: &KeyRing, object_type: ObjectType, name: &str, sealed: &[u8]) -> Result<Vec<u8>> {
    let mut opener = StreamOpener::new(keys, object_type, name, sealed)?;
    let mut plain = Vec::with_capacity(sealed.len());
    opener.push(&sealed[HEADER_BYTES..], &mut plain)?;
    opener.finish(&mut plain)?;
    let content_bytes = content_length(&plain).map_err(|why| Error::damaged(name, why))?;
    plain.truncate(LENGTH_BYTES + content_bytes);
    plain.drain(..LENGTH_BYTES);
    Ok(plain)
}

fn content_length(plain: &[u8]) -> Result<usize, &'static str> {
    let mut reader = Reader::new(plain);
    let length = reader.u64().ok_or("a record without a length")?;
    let length = usize::try_from(length).map_err(|_| "a record longer than memory")?;
    reader.take(length).ok_or("a record longer than its object")?;
    if !is_zero(reader.rest()) {
        return Err("the padding of a record is not zero");
    }
    Ok(length)
}

/// The smallest layout whose sealed size reaches the PADME length of the unpadded record. Some
/// sizes are no stream's (they would end inside a tag); the next one is taken then.
fn padded_layout(content_bytes: usize) -> StreamLayout {
    let unpadded = StreamLayout::of_plain((LENGTH_BYTES + content_bytes) as u64);
    let target = padme(unpadded.sealed_bytes());
    (0..=TAG_BYTES as u64)
        .find_map(|beyond| StreamLayout::of_sealed(target + beyond))
        .unwrap_or(unpadded)
}

#[cfg(test)]
mod tests;
