//! AES-256-GCM in pure Rust, for machines that AWS-LC does not build on.

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};

use super::{Gcm, NONCE_BYTES, TAG_BYTES, Unauthentic};

/// A key as the `aes-gcm` crate holds it; wiped when dropped.
pub(super) struct Portable(Aes256Gcm);

impl Gcm for Portable {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    #[expect(clippy::expect_used, reason = "fails beyond 64 GiB; messages are at most 16 MiB")]
    fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        self.0
            .encrypt_inout_detached(nonce.into(), aad, message.into())
            .expect("a message that AES-GCM can take")
            .into()
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Unauthentic> {
        let (message, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(Unauthentic)?;
        self.0
            .decrypt_inout_detached(nonce.into(), aad, message.into(), (&*tag).into())
            .map_err(|_| Unauthentic)
    }
}
