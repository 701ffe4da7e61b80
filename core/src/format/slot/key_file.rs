//! Key files: random bytes that open a slot as they are, without a password.
//!
//! Knows nothing of where the file lies or who may read it.

use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// The least that a key file holds, in bytes.
pub const KEY_FILE_BYTES_MIN: usize = 32;
/// The most that a key file holds, in bytes.
pub const KEY_FILE_BYTES_MAX: usize = 64 << 10;

/// Random bytes have more distinct values than this, and so have the hex digits of 32 of them.
const DISTINCT_BYTES_MIN: usize = 8;

/// The content of a key file; wiped when dropped.
///
/// It is not stretched: each of its guesses is cheap, so it must be random. Files that cannot be
/// (too short, or a few bytes over and over) are refused.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile(Zeroizing<Vec<u8>>);

impl KeyFile {
    /// The key with the content of a file, every byte of it.
    ///
    /// # Errors
    /// `Invalid` for content that is too short, too long, or cannot be random.
    pub fn new(content: Zeroizing<Vec<u8>>) -> Result<Self> {
        let refused = |why: String| {
            Error::new(ErrorKind::Invalid, why)
                .hint("a key file holds at least 32 random bytes: `head -c 32 /dev/urandom > FILE`")
        };
        if content.is_empty() {
            return Err(refused("it is empty".to_owned()));
        }
        if !(KEY_FILE_BYTES_MIN..=KEY_FILE_BYTES_MAX).contains(&content.len()) {
            let bounds = format!("{KEY_FILE_BYTES_MIN} to {KEY_FILE_BYTES_MAX}");
            return Err(refused(format!("it has {} bytes instead of {bounds}", content.len())));
        }
        let mut is_seen = Zeroizing::new([false; 256]);
        content.iter().for_each(|byte| is_seen[usize::from(*byte)] = true);
        if is_seen.iter().filter(|seen| **seen).count() < DISTINCT_BYTES_MIN {
            return Err(refused("it is not random: a few bytes over and over".to_owned()));
        }
        Ok(Self(content))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_random_is_refused() {
        let made = |content: Vec<u8>| KeyFile::new(Zeroizing::new(content));
        for bad in [vec![], vec![0; 32], vec![b'x'; 64], (0..31).collect(), b"secret".repeat(9)] {
            let error = made(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint_text().is_some());
        }
        assert!(made(vec![7; KEY_FILE_BYTES_MAX + 1]).is_err());
        let long = (0..KEY_FILE_BYTES_MAX).map(|at| at as u8).collect();
        for good in [(0..32).collect(), long, b"00112233445566778899aabbccddeeff".to_vec()] {
            assert_eq!(format!("{:?}", made(good).unwrap()), "KeyFile(..)");
        }
    }
}
