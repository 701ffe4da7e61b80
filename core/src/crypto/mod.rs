//! Keys, cipher, password hashing and the size rule that hides lengths.
//!
//! Knows how keys are derived and how bytes are sealed in place; knows nothing of objects, their
//! headers or where they are stored. Random bytes come from [`crate::runtime::Randomness`] only.

mod aead;
mod kdf;
mod keys;
#[cfg(debug_assertions)]
mod registry;
mod sizes;

pub(crate) use self::keys::{expand, extract};
pub use self::{
    aead::{AeadKey, NONCE_BYTES, Nonce, NonceBase, TAG_BYTES, Unauthentic},
    kdf::{KDF_SALT_BYTES, KdfCost},
    keys::{ChunkKeys, EpochKeys, KEY_BYTES, KeyRing, MasterKey, Secret},
    sizes::padme,
};

/// True if both slices are equal, in a time that depends on their lengths only.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(left, right).into()
}
