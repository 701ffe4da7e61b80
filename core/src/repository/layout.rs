//! Names of a repository's objects.
//!
//! ```text
//! repository                     descriptor and settings
//! meta/keys/<slot>               key slots
//! meta/keys/epochs/<n>           key epochs in force, but the first
//! meta/sessions/<session>        a writer is at work
//! meta/snapshots/<session>       its commit
//! meta/index/<session>/<n>       its index segments
//! meta/labels/<session>/<n>      what people say of a snapshot since
//! meta/tombstones/<session>      it was forgotten
//! meta/collector/<n>             steps of the collector
//! meta/damage/<random>           what is known to be lost
//! packs/<session>/<n>            its packs
//! ```
//! Everything small lies under one prefix: one listing shows it all.

use crate::{
    error::{Error, Result},
    format::pack::pack_object_name,
    id::{PackId, SessionId},
    target::{KeyPrefix, ObjectKey},
};

/// Descriptor and settings.
pub const DESCRIPTOR: &str = "repository";
/// Folder of key slots.
pub const SLOTS: &str = "meta/keys";
/// Folder of everything small that changes.
pub const META: &str = "meta";
/// Folder of collector heads.
pub const COLLECTOR: &str = "meta/collector";
/// Folder of what is known to be lost.
pub const DAMAGE: &str = "meta/damage";
/// Folder of packs.
pub const PACKS: &str = "packs";

/// An object of [`META`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetaName {
    /// A session.
    Session(SessionId),
    /// A commit.
    Commit(SessionId),
    /// An index segment.
    Index(SessionId, u32),
    /// A key slot.
    Slot([u8; 16]),
    /// A key epoch that is in force.
    Epoch(u32),
    /// A label of a snapshot.
    Label(SessionId, u32),
    /// A tombstone.
    Tombstone(SessionId),
    /// A collector head.
    Collector(u64),
    /// What is known to be lost.
    Damage([u8; 16]),
}

impl MetaName {
    /// What `key` names, if it follows the layout.
    pub fn of(key: &ObjectKey) -> Option<Self> {
        let segments: Vec<&str> = key.segments().collect();
        match segments.as_slice() {
            ["meta", "keys", slot] => parse_slot(slot).map(Self::Slot),
            ["meta", "keys", "epochs", number] => parse_counter(number).map(Self::Epoch),
            ["meta", "sessions", id] => id.parse().ok().map(Self::Session),
            ["meta", "snapshots", id] => id.parse().ok().map(Self::Commit),
            ["meta", "index", id, counter] => {
                Some(Self::Index(id.parse().ok()?, parse_counter(counter)?))
            }
            ["meta", "labels", id, counter] => {
                Some(Self::Label(id.parse().ok()?, parse_counter(counter)?))
            }
            ["meta", "tombstones", id] => id.parse().ok().map(Self::Tombstone),
            ["meta", "collector", number] => parse_counter(number).map(Self::Collector),
            ["meta", "damage", name] => parse_slot(name).map(Self::Damage),
            _ => None,
        }
    }
}

impl std::fmt::Display for MetaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(id) => write!(f, "meta/sessions/{id}"),
            Self::Commit(id) => write!(f, "meta/snapshots/{id}"),
            Self::Index(id, counter) => write!(f, "meta/index/{id}/{counter}"),
            Self::Slot(slot) => write!(f, "{SLOTS}/{}", hex(slot)),
            Self::Epoch(number) => write!(f, "{SLOTS}/epochs/{number}"),
            Self::Label(id, counter) => write!(f, "meta/labels/{id}/{counter}"),
            Self::Tombstone(id) => write!(f, "meta/tombstones/{id}"),
            Self::Collector(number) => write!(f, "meta/collector/{number}"),
            Self::Damage(name) => write!(f, "{DAMAGE}/{}", hex(name)),
        }
    }
}

/// The pack that `key` names, if it names one.
pub fn pack_of(key: &ObjectKey) -> Option<PackId> {
    let segments: Vec<&str> = key.segments().collect();
    match segments.as_slice() {
        [PACKS, session, counter] => {
            Some(PackId { session: session.parse().ok()?, counter: parse_counter(counter)? })
        }
        _ => None,
    }
}

/// The key of a pack.
pub fn pack_key(pack: PackId) -> Result<ObjectKey> {
    key(&pack_object_name(pack))
}

/// A key of this layout.
pub fn key(name: &str) -> Result<ObjectKey> {
    ObjectKey::parse(name).map_err(|error| Error::internal("a bad object name").because(error))
}

/// A prefix of this layout.
pub fn prefix(name: &str) -> Result<KeyPrefix> {
    KeyPrefix::parse(name).map_err(|error| Error::internal("a bad prefix").because(error))
}

/// 32 hex digits in lower case: every slot has one name.
fn parse_slot(text: &str) -> Option<[u8; 16]> {
    let mut slot = [0; 16];
    for (at, byte) in slot.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    (hex(&slot) == text).then_some(slot)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decimal without leading zeros: every number has one name.
fn parse_counter<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    let counter: N = text.parse().ok()?;
    (counter.to_string() == text).then_some(counter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        let session = SessionId([7; 16]);
        for name in [
            MetaName::Session(session),
            MetaName::Commit(session),
            MetaName::Index(session, 12),
            MetaName::Slot([0xa7; 16]),
            MetaName::Epoch(3),
            MetaName::Label(session, 3),
            MetaName::Tombstone(session),
            MetaName::Collector(u64::MAX),
            MetaName::Damage([0x3c; 16]),
        ] {
            assert_eq!(MetaName::of(&key(&name.to_string()).unwrap()), Some(name));
        }
        let pack = PackId { session, counter: 40 };
        assert_eq!(pack_of(&pack_key(pack).unwrap()), Some(pack));
        for bad in ["packs/00/1", &format!("packs/{session}/01"), &format!("packs/{session}")] {
            assert_eq!(pack_of(&key(bad).unwrap()), None, "{bad}");
        }
    }
}
