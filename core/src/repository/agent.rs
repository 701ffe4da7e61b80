//! What remembers for a while what a password was stretched to, so that its price is paid once.
//!
//! An entry is bound to the password that made it by a hash of its own, under a fresh salt and at
//! a lower cost: a wrong password is refused although the agent could open the slot. Knows
//! nothing of where an agent keeps its entries.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    crypto::{KDF_SALT_BYTES, KEY_BYTES, KdfCost, constant_time_eq},
    format::slot::Stretched,
    id::{RepositoryId, SlotId},
    runtime::{Randomness, random},
};

/// Keeps entries for the user who runs the program, and for nobody else, until they time out.
/// Whatever fails is as if nothing had been kept.
pub trait KeyAgent: fmt::Debug + Send + Sync {
    /// The entry of this name, if there still is one.
    fn recall(&self, name: &str) -> Option<Zeroizing<Vec<u8>>>;

    /// Keeps an entry in the place of the one before.
    fn keep(&self, name: &str, entry: &[u8]);

    /// Drops an entry.
    fn forget(&self, name: &str);
}

/// A few milliseconds: whoever reads an entry can open the slot anyway, until it times out, but
/// shall not learn the password by fast guessing.
const CHECK_COST: KdfCost = KdfCost { memory_kib: 4 << 10, passes: 1, lanes: 1 };
const ENTRY_BYTES: usize = KDF_SALT_BYTES + 2 * KEY_BYTES;

/// What the names of all entries begin with.
pub const AGENT_PREFIX: &str = "strongroom:";

/// What the names of the entries for one repository begin with.
pub fn agent_prefix(repository: RepositoryId) -> String {
    format!("{AGENT_PREFIX}{repository}:")
}

/// The name of the entry for a slot.
pub(super) fn entry_name(repository: RepositoryId, slot: SlotId) -> String {
    format!("{}{slot}", agent_prefix(repository))
}

/// `salt 16 | hash of the password 32 | what it was stretched to 32`.
pub(super) fn entry(
    password: &[u8],
    stretched: &Stretched,
    randomness: &dyn Randomness,
) -> Option<Zeroizing<Vec<u8>>> {
    let salt = random(randomness);
    let check = CHECK_COST.derive(password, &salt).ok()?;
    let mut entry = Zeroizing::new(Vec::with_capacity(ENTRY_BYTES));
    entry.extend_from_slice(&salt);
    entry.extend_from_slice(&check[..]);
    entry.extend_from_slice(stretched.as_bytes());
    Some(entry)
}

/// What the entry holds, if it was made with this password, or if none was given.
pub(super) fn open_entry(entry: &[u8], password: Option<&[u8]>) -> Option<Stretched> {
    let (salt, rest) = entry.split_first_chunk::<KDF_SALT_BYTES>()?;
    let (check, rest) = rest.split_first_chunk::<KEY_BYTES>()?;
    let stretched = rest.try_into().ok().map(Stretched::from_bytes)?;
    if let Some(password) = password
        && !constant_time_eq(&CHECK_COST.derive(password, salt).ok()?[..], check)
    {
        return None;
    }
    Some(stretched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemRandomness;

    #[test]
    fn an_entry_opens_for_its_password_or_for_none_given() {
        let stretched = Stretched::from_bytes([7; 32]);
        let made = entry(b"right", &stretched, &SystemRandomness).unwrap();
        assert!(open_entry(&made, Some(b"right")).is_some());
        assert!(open_entry(&made, None).is_some());
        assert!(open_entry(&made, Some(b"wrong")).is_none());
        for length in 0..made.len() {
            assert!(open_entry(&made[..length], None).is_none());
        }
    }
}
