//! AES-256-GCM in place, with 96-bit nonces and 128-bit tags, by one of two implementations.
//!
//! Feature `aws-lc` takes AWS-LC's assembly, `portable` pure Rust; with both, AWS-LC is used.
//! Knows nothing of what is sealed; a key object is made once a stream, segment or directory.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(any(feature = "portable", test))]
#[cfg_attr(all(feature = "aws-lc", not(test)), allow(dead_code, reason = "aws-lc takes over"))]
mod portable;
#[cfg(test)]
mod tests;

use std::fmt;

#[cfg(debug_assertions)]
use super::registry::Witness;

#[cfg(not(any(feature = "aws-lc", feature = "portable")))]
compile_error!("strongroom-core needs a cipher: enable feature `aws-lc` or `portable`");

#[cfg(feature = "aws-lc")]
type Implementation = aws_lc::AwsLc;
#[cfg(all(feature = "portable", not(feature = "aws-lc")))]
type Implementation = portable::Portable;

/// Length of a nonce.
pub const NONCE_BYTES: usize = 12;
/// What sealing adds to a message.
pub const TAG_BYTES: usize = 16;

/// The sealed bytes were not sealed under this key, nonce and associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct Unauthentic;

/// What an implementation of AES-256-GCM has to do.
trait Gcm: Send + Sync {
    /// Expands the key.
    fn new(key: &[u8; 32]) -> Self;
    /// Encrypts `message` in place and returns its tag.
    fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES];
    /// Checks the tag at the end of `sealed` (at least as long as a tag) and decrypts what
    /// stands before it. Gives no plaintext to the caller if the check fails.
    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Unauthentic>;
}

/// The nonce of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// All zeros: for keys that seal exactly one message.
    pub const ZERO: Self = Self([0; NONCE_BYTES]);
}

/// The nonce of message 0 of an object; the others follow from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NonceBase([u8; NONCE_BYTES]);

impl NonceBase {
    /// A base from its bytes.
    pub const fn from_bytes(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The nonce of message `counter`: the base xor the big-endian counter.
    pub fn at(&self, counter: u64) -> Nonce {
        let mut nonce = self.0;
        for (byte, mask) in nonce[NONCE_BYTES - 8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= mask;
        }
        Nonce(nonce)
    }
}

impl fmt::Debug for NonceBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceBase(..)")
    }
}

/// An expanded AES-256-GCM key.
pub struct AeadKey {
    cipher: Implementation,
    #[cfg(debug_assertions)]
    witness: Witness,
}

impl AeadKey {
    /// Expands `key`.
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            cipher: Implementation::new(key),
            #[cfg(debug_assertions)]
            witness: Witness::new(key),
        }
    }

    /// Encrypts `message` in place and returns its tag.
    ///
    /// # Panics
    /// In debug builds, when key and nonce have sealed something else before.
    pub fn seal_detached(&self, nonce: Nonce, aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.cipher.seal(&nonce.0, aad, message);
        #[cfg(debug_assertions)]
        self.witness.record(&nonce.0, tag);
        tag
    }

    /// Encrypts `message` from `start` on in place and appends the tag.
    pub fn seal_from(&self, nonce: Nonce, aad: &[u8], message: &mut Vec<u8>, start: usize) {
        let tag = self.seal_detached(nonce, aad, &mut message[start..]);
        message.extend_from_slice(&tag);
    }

    /// Opens `sealed` (ciphertext and tag) in place and returns the plaintext part of it. After
    /// an error the buffer's content is worthless.
    pub fn open<'a>(
        &self,
        nonce: Nonce,
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], Unauthentic> {
        let plain_bytes = sealed.len().checked_sub(TAG_BYTES).ok_or(Unauthentic)?;
        self.cipher.open(&nonce.0, aad, sealed)?;
        Ok(&mut sealed[..plain_bytes])
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(..)")
    }
}
