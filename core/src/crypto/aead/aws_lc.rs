//! AES-256-GCM by AWS-LC (assembly for x86-64 and Arm).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{Gcm, NONCE_BYTES, TAG_BYTES, Unauthentic};

/// A key as AWS-LC holds it; wiped by AWS-LC when dropped.
pub(super) struct AwsLc(LessSafeKey);

impl Gcm for AwsLc {
    #[expect(clippy::expect_used, reason = "fails for keys of another length only")]
    fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    #[expect(clippy::expect_used, reason = "fails beyond 64 GiB; messages are at most 16 MiB")]
    fn seal(&self, nonce: &[u8; NONCE_BYTES], aad: &[u8], message: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), message)
            .expect("a message that AES-GCM can take");
        let mut bytes = [0; TAG_BYTES];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Unauthentic> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(aad), sealed).map(|_| ()).map_err(|_| Unauthentic)
    }
}
