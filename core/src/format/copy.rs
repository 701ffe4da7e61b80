//! Copies of small objects: the object with a checksum in front, so that anybody can tell a good
//! copy from a bad one without a key.
//!
//! The checksum finds accidents, not forgers: what a copy holds is sealed, and is opened like the
//! object itself.

use bytes::Bytes;

use super::wire::{Reader, is_zero};

/// How much longer a copy is than what it copies.
pub const COPY_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"SRCP";
const VERSION: u8 = 1;
const SUM_BYTES: usize = 16;
const CHECKED_BYTES: usize = COPY_HEADER_BYTES - SUM_BYTES;

/// The header of a copy of the object `name`; the content follows it.
pub fn header(name: &str, content: &[u8]) -> [u8; COPY_HEADER_BYTES] {
    let mut header = [0; COPY_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = VERSION;
    header[8..CHECKED_BYTES].copy_from_slice(&(content.len() as u64).to_le_bytes());
    let sum = sum(&header[..CHECKED_BYTES], name, content);
    header[CHECKED_BYTES..].copy_from_slice(&sum);
    header
}

/// What the copy of the object `name` holds, if every bit of it is right.
pub fn content(name: &str, copy: &Bytes) -> Option<Bytes> {
    let (header, content) = copy.split_at_checked(COPY_HEADER_BYTES)?;
    let mut fields = Reader::new(header);
    let is_ours = fields.array() == Some(MAGIC)
        && fields.u8() == Some(VERSION)
        && is_zero(fields.take(3)?)
        && fields.u64() == Some(content.len() as u64)
        && fields.rest() == sum(&header[..CHECKED_BYTES], name, content);
    is_ours.then(|| copy.slice(COPY_HEADER_BYTES..))
}

/// True if `copy`, though damaged, still testifies that `content` is what it was made from:
/// its checksum or its content is that of `content`.
pub fn testifies(name: &str, copy: &[u8], content: &[u8]) -> bool {
    let Some((found, copied)) = copy.split_at_checked(COPY_HEADER_BYTES) else { return false };
    let expected = header(name, content);
    found[CHECKED_BYTES..] == expected[CHECKED_BYTES..] || copied == content && !content.is_empty()
}

fn sum(checked: &[u8], name: &str, content: &[u8]) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(checked).update(name.as_bytes()).update(content);
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..SUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy_of(name: &str, content: &[u8]) -> Vec<u8> {
        [&header(name, content)[..], content].concat()
    }

    #[test]
    fn a_copy_gives_back_what_it_was_made_from() {
        for content in [&b""[..], b"x", &[7; 5_000]] {
            let copy = Bytes::from(copy_of("meta/keys/00", content));
            assert_eq!(super::content("meta/keys/00", &copy).unwrap(), content);
            assert_eq!(super::content("meta/keys/01", &copy), None, "another object's");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_found() {
        let whole = copy_of("repository", b"what is stored thrice");
        for bit in 0..whole.len() * 8 {
            let mut copy = whole.clone();
            copy[bit / 8] ^= 1 << (bit % 8);
            assert!(testifies("repository", &copy, b"what is stored thrice"));
            assert!(!testifies("repository", &copy, b"what is stored here"));
            assert_eq!(content("repository", &Bytes::from(copy)), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            let copy = Bytes::copy_from_slice(&whole[..length]);
            assert_eq!(content("repository", &copy), None, "{length} bytes");
        }
        let longer = Bytes::from([&whole[..], b"\0"].concat());
        assert_eq!(content("repository", &longer), None);
    }
}
