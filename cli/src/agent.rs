//! The agent: the kernel's keyring of the user, which forgets by itself.
//!
//! Entries are visible to programs of the same user only, never touch a disk, and time out.
//! Where the kernel has no keyrings, or refuses them, it is as if nothing had been kept.

use std::{fs, io, time::Duration};

use linux_keyutils::{
    Key, KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, KeySerialId, Permission,
};
use strongroom_core::repository::KeyAgent;
use zeroize::Zeroizing;

/// No entry is longer.
const ENTRY_BYTES_MAX: usize = 256;
/// The kernel's list of keys that this user may see.
const ALL_KEYS: &str = "/proc/keys";

/// Keeps entries for so long in the user's keyring.
#[derive(Debug)]
pub struct KernelAgent {
    timeout: Duration,
}

impl KernelAgent {
    /// An agent whose entries time out so long after they were made, used or not.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout }
    }

    /// The entry gets its time-out before anybody can find it: it never lasts for ever.
    fn add(&self, name: &str, entry: &[u8]) -> Result<(), KeyError> {
        let own = KeyRing::from_special_id(KeyRingIdentifier::Process, true)?;
        let key = own.add_key(name, entry)?;
        let publish = || {
            // by user, not by possession: services have sessions that lead to no user keyring
            let user = Permission::VIEW | Permission::READ | Permission::SEARCH | Permission::LINK;
            let permissions =
                KeyPermissionsBuilder::builder().posessor(Permission::ALL).user(user).build();
            key.set_timeout(usize::try_from(self.timeout.as_secs()).unwrap_or(usize::MAX))?;
            key.set_perms(permissions)?;
            user_keyring()?.link_key(key)
        };
        let published = publish();
        own.unlink_key(key)?;
        published
    }
}

impl KeyAgent for KernelAgent {
    fn recall(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut entry = Zeroizing::new([0; ENTRY_BYTES_MAX]);
        let length = user_keyring().and_then(|ring| ring.search(name)?.read(&mut *entry)).ok()?;
        entry.get(..length).map(|entry| Zeroizing::new(entry.to_vec()))
    }

    fn keep(&self, name: &str, entry: &[u8]) {
        // The error says nothing of the entry; without a keyring there is nothing to do about it.
        let _ = self.add(name, entry);
    }

    fn forget(&self, name: &str) {
        if let Ok(key) = user_keyring().and_then(|ring| ring.search(name)) {
            let _ = drop_key(key);
        }
    }
}

/// Drops all entries whose names begin with `prefix`, and tells how many there were.
///
/// # Errors
/// What the kernel said, if it has keyrings but does not let us look or drop.
pub fn drop_all(prefix: &str) -> io::Result<usize> {
    let listed = match fs::read_to_string(ALL_KEYS) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut dropped = 0;
    for serial in listed.lines().filter_map(|line| serial_of(line, prefix)) {
        match drop_key(Key::from_id(KeySerialId::new(serial))) {
            Ok(()) => dropped += 1,
            // timed out meanwhile
            Err(KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked) => {}
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
    }
    Ok(dropped)
}

fn drop_key(key: Key) -> Result<(), KeyError> {
    key.invalidate()
}

fn user_keyring() -> Result<KeyRing, KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::User, true)
}

/// The serial number in a line of the kernel's list, if it is an entry of ours.
fn serial_of(line: &str, prefix: &str) -> Option<i32> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (serial, kind, name) = (fields.first()?, fields.get(7)?, fields.get(8)?);
    if *kind != "user" || !name.starts_with(prefix) {
        return None;
    }
    i32::from_str_radix(serial, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernels_list() {
        let line =
            "2a8a6d1b I--Q---     1  14m 3f1b0000     0     0 user      strongroom:ab:cd: 80";
        assert_eq!(serial_of(line, "strongroom:"), Some(0x2a8a_6d1b));
        assert_eq!(serial_of(line, "strongroom:ab:"), Some(0x2a8a_6d1b));
        for (from, to) in [("strongroom", "other"), ("user ", "logon "), ("2a8a6d1b", "x")] {
            assert_eq!(serial_of(&line.replace(from, to), "strongroom:"), None);
        }
        assert_eq!(serial_of("", "strongroom:"), None);
    }

    #[test]
    fn what_was_never_kept_is_not_recalled() {
        let agent = KernelAgent::new(Duration::from_secs(60));
        assert!(agent.recall("strongroom:tests:none").is_none());
        agent.forget("strongroom:tests:none");
    }

    /// Where this kernel has keyrings; else there is nothing to see but that nothing breaks.
    #[test]
    fn entries_are_kept_replaced_and_dropped() {
        let agent = KernelAgent::new(Duration::from_secs(60));
        let prefix = format!("strongroom:tests-{}:", std::process::id());
        let name = format!("{prefix}slot");
        for entry in [&b"first"[..], b"second, longer"] {
            agent.keep(&name, entry);
            let Some(recalled) = agent.recall(&name) else { return };
            assert_eq!(recalled.as_slice(), entry);
        }
        assert_eq!(drop_all(&prefix).unwrap(), 1);
        assert!(agent.recall(&name).is_none());
        agent.keep(&name, b"third");
        agent.forget(&name);
        assert!(agent.recall(&name).is_none());
    }
}
