//! The agent: the kernel's keyring of the user, which forgets by itself.
//!
//! Entries are visible to programs of the same user only, never touch a disk, and time out.
//! Where the kernel has no keyrings, or refuses them, one warning says so, and it is as if nothing
//! had been kept.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use linux_keyutils::{
    Key, KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, KeySerialId, Permission,
};
use strongroom_core::repository::KeyAgent;
use zeroize::Zeroizing;

use crate::output::Console;

/// No entry is longer.
const ENTRY_BYTES_MAX: usize = 256;
/// The kernel's list of keys that this user may see.
const ALL_KEYS: &str = "/proc/keys";
/// Errors of the kernel that the bindings have no name for.
const ENOSYS: i32 = 38;
/// Bytes of a key's serial number in a keyring's content.
const SERIAL_BYTES: usize = 4;
/// Serial numbers read at first; a keyring with more is read again.
const LINKS: usize = 256;

/// Keeps entries for so long in the user's keyring.
#[derive(Debug)]
pub struct KernelAgent {
    timeout: Duration,
    console: Console,
    has_warned: AtomicBool,
}

impl KernelAgent {
    /// An agent whose entries time out so long after they were made, used or not. What keeps it
    /// from remembering is said once on `console`.
    pub fn new(timeout: Duration, console: Console) -> Self {
        Self { timeout, console, has_warned: AtomicBool::new(false) }
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

    fn warn(&self, error: KeyError) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            let why = reason(error);
            self.console.warn(&format!("the agent remembers nothing: the kernel's keyring {why}"));
        }
    }
}

impl KeyAgent for KernelAgent {
    fn recall(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let mut entry = Zeroizing::new([0; ENTRY_BYTES_MAX]);
        match user_keyring().and_then(|ring| ring.search(name)?.read(&mut *entry)) {
            Ok(length) => entry.get(..length).map(|entry| Zeroizing::new(entry.to_vec())),
            Err(error) if is_absence(error) => None,
            Err(error) => {
                self.warn(error);
                None
            }
        }
    }

    fn keep(&self, name: &str, entry: &[u8]) {
        // the error says nothing of the entry
        if let Err(error) = self.add(name, entry) {
            self.warn(error);
        }
    }

    fn forget(&self, name: &str) {
        if let Ok(key) = user_keyring().and_then(|ring| ring.search(name)) {
            let _ = drop_key(key);
        }
    }
}

/// Drops all entries whose names begin with `prefix`, and tells how many there were; `None` if the
/// kernel has no keyrings for us, so that nothing can have been kept from here.
///
/// # Errors
/// What the kernel said, if it has keyrings but does not let us look or drop.
pub fn drop_all(prefix: &str) -> io::Result<Option<usize>> {
    let linked = match linked() {
        Ok(linked) => linked,
        Err(error) if is_refusal(error) => return Ok(None),
        Err(error) => return Err(io::Error::other(reason(error))),
    };
    let listed = match fs::read_to_string(ALL_KEYS) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        listed => listed.unwrap_or_default(),
    };
    // containers hide the list
    if listed.is_empty() && !linked.is_empty() {
        return Err(io::Error::other(format!("{ALL_KEYS} shows nothing here")));
    }
    let mut dropped = 0;
    let serials = listed.lines().filter_map(|line| serial_of(line, prefix));
    // an entry that was replaced may be listed for a moment, but is no longer in the keyring
    for serial in serials.filter(|serial| linked.contains(serial)) {
        match drop_key(Key::from_id(KeySerialId::new(serial))) {
            Ok(()) => dropped += 1,
            // timed out meanwhile
            Err(error) if is_absence(error) => {}
            Err(error) => return Err(io::Error::other(reason(error))),
        }
    }
    Ok(Some(dropped))
}

fn drop_key(key: Key) -> Result<(), KeyError> {
    key.invalidate()
}

fn user_keyring() -> Result<KeyRing, KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::User, true)
}

/// The serial numbers in the user's keyring, whatever they are of.
fn linked() -> Result<BTreeSet<i32>, KeyError> {
    user_keyring()?;
    let ring = Key::from_id(KeySerialId::new(KeyRingIdentifier::User as i32));
    let mut content = vec![0; LINKS * SERIAL_BYTES];
    loop {
        // the kernel tells how much there is, and gives as much as there is room for
        let length = ring.read(&mut content)?;
        if length <= content.len() {
            let serials = content[..length].chunks_exact(SERIAL_BYTES);
            let number = |serial: &[u8]| serial.try_into().map(i32::from_ne_bytes).ok();
            return Ok(serials.filter_map(number).collect());
        }
        content.resize(length, 0);
    }
}

/// True if there is no such entry, or no longer.
fn is_absence(error: KeyError) -> bool {
    matches!(
        error,
        KeyError::KeyDoesNotExist
            | KeyError::KeyExpired
            | KeyError::KeyRevoked
            | KeyError::MissingFileOrDirectory
    )
}

/// True if the kernel has no keyrings, or a container keeps us from them.
fn is_refusal(error: KeyError) -> bool {
    matches!(
        error,
        KeyError::Unknown(ENOSYS)
            | KeyError::OperationNotSupported
            | KeyError::PermissionDenied
            | KeyError::AccessDenied
    )
}

/// What is wrong with the keyring, for people.
fn reason(error: KeyError) -> String {
    match error {
        error if is_refusal(error) => "is not to be had here".to_owned(),
        KeyError::QuotaExceeded => "is full".to_owned(),
        error => format!("failed: {error}"),
    }
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
    use strongroom_core::runtime::{SystemRandomness, random};

    fn agent() -> KernelAgent {
        KernelAgent::new(Duration::from_secs(60), Console::early(true))
    }

    /// What no other run uses, or has left behind.
    fn prefix() -> String {
        let fresh: [u8; 8] = random(&SystemRandomness);
        format!("strongroom:tests-{:016x}:", u64::from_ne_bytes(fresh))
    }

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
        let name = format!("{}none", prefix());
        assert!(agent().recall(&name).is_none());
        agent().forget(&name);
    }

    /// Where this kernel has keyrings; else there is nothing to see but that nothing breaks.
    #[test]
    fn entries_are_kept_replaced_and_dropped() {
        let (agent, prefix) = (agent(), prefix());
        let name = format!("{prefix}slot");
        for entry in [&b"first"[..], b"second, longer"] {
            agent.keep(&name, entry);
            let Some(recalled) = agent.recall(&name) else { return };
            assert_eq!(recalled.as_slice(), entry);
        }
        assert_eq!(drop_all(&prefix).unwrap(), Some(1));
        assert!(agent.recall(&name).is_none());
        agent.keep(&name, b"third");
        agent.forget(&name);
        assert!(agent.recall(&name).is_none());
        assert_eq!(drop_all(&prefix).unwrap(), Some(0));
    }

    #[test]
    fn what_keeps_the_agent_from_remembering_is_told_apart() {
        assert!(is_refusal(KeyError::Unknown(ENOSYS)) && is_refusal(KeyError::PermissionDenied));
        assert!(!is_refusal(KeyError::QuotaExceeded) && !is_absence(KeyError::QuotaExceeded));
        assert!(is_absence(KeyError::KeyExpired) && !is_refusal(KeyError::KeyExpired));
        assert_eq!(reason(KeyError::QuotaExceeded), "is full");
    }
}
