//! Argon2id: from a password to a key, at a cost that is bounded before it is paid.
//!
//! Knows nothing of key slots, which store the cost and the salt.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{KEY_BYTES, Secret};
use crate::error::{Error, ErrorKind, Result};

/// Length of the salt of one password.
pub const KDF_SALT_BYTES: usize = 16;

const MEMORY_KIB_MIN: u32 = 8;
const MEMORY_KIB_MAX: u32 = 4 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;
/// Limit of memory times passes: what 64 GiB in one pass would cost, about a minute.
const WORK_KIB_MAX: u64 = 64 << 20;

/// What one guess of a password costs (Argon2id, RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KdfCost {
    /// Memory, in KiB: at least 8 a lane, at most 4 GiB.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 64; passes times memory at most 64 GiB.
    pub passes: u32,
    /// Independent lanes, 1 to 64.
    pub lanes: u32,
}

impl Default for KdfCost {
    /// 64 MiB, 3 passes, 4 lanes: the second recommended option of RFC 9106, section 4.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl KdfCost {
    /// Refuses costs outside the documented bounds, so that stored costs are checked before a
    /// byte is allocated for them.
    pub fn check(&self) -> Result<()> {
        let Self { memory_kib, passes, lanes } = *self;
        let is_bounded = (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&memory_kib)
            && (1..=PASSES_MAX).contains(&passes)
            && (1..=LANES_MAX).contains(&lanes)
            && memory_kib >= 8 * lanes
            && u64::from(memory_kib) * u64::from(passes) <= WORK_KIB_MAX;
        if is_bounded {
            return Ok(());
        }
        let message = format!(
            "password hashing cost out of bounds: {memory_kib} KiB, {passes} passes, {lanes} lanes"
        );
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Argon2id version 1.3 of `password`, 32 bytes long.
    ///
    /// # Errors
    /// `Invalid` for a cost out of bounds, `Io` if there is not enough memory.
    pub fn derive(&self, password: &[u8], salt: &[u8; KDF_SALT_BYTES]) -> Result<Secret> {
        self.check()?;
        let refused = |error: argon2::Error| {
            Error::new(ErrorKind::Invalid, format!("password hashing refused: {error}"))
        };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(KEY_BYTES))
            .map_err(refused)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, key.as_mut_slice())
            .map_err(|error| match error {
                argon2::Error::OutOfMemory => self.out_of_memory(),
                other => refused(other),
            })?;
        Ok(key)
    }

    fn out_of_memory(&self) -> Error {
        let message = format!("password hashing needs {} KiB of memory", self.memory_kib);
        Error::new(ErrorKind::Io, message)
            .hint("free some memory, or unlock with a key file or a recovery key")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_out_of_bounds_are_refused_before_any_work() {
        let cost = |memory_kib, passes, lanes| KdfCost { memory_kib, passes, lanes };
        for bad in [
            cost(7, 1, 1),
            cost(15, 1, 2),
            cost(0, 0, 0),
            cost((4 << 20) + 1, 1, 1),
            cost(u32::MAX, u32::MAX, u32::MAX),
            cost(64, 0, 1),
            cost(64, 65, 1),
            cost(64, 1, 0),
            cost(1 << 20, 1, 65),
            cost(4 << 20, 17, 1),
        ] {
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
            assert!(bad.derive(b"pw", &[0; 16]).is_err());
        }
        for good in [cost(8, 1, 1), cost(16, 1, 2), cost(4 << 20, 16, 64), KdfCost::default()] {
            assert!(good.check().is_ok(), "{good:?}");
        }
    }
}
