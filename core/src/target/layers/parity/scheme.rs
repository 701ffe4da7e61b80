//! Which objects have parity, which have copies, and what those are called.

use crate::target::{InvalidKey, KeyPrefix, ObjectKey};

/// Where parity lies.
pub(super) const PARITY: &str = "parity";
/// Where copies lie.
pub(super) const COPIES: [&str; 2] = ["copies/1", "copies/2"];
const COPIES_FOLDER: &str = "copies";

/// Which objects are protected, and how.
#[derive(Debug, Clone)]
pub struct ParityScheme {
    /// What lies below has parity.
    sharded: KeyPrefix,
    /// What lies below these, or is named so, has copies.
    copied: Vec<ObjectKey>,
}

/// What stands beside an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing: the object is not protected.
    Nothing,
    /// Its parity.
    Parity(ObjectKey),
    /// Its copies.
    Copies([ObjectKey; 2]),
}

impl Beside {
    /// The keys of all that stands beside.
    pub(super) fn keys(&self) -> &[ObjectKey] {
        match self {
            Self::Nothing => &[],
            Self::Parity(parity) => std::slice::from_ref(parity),
            Self::Copies(copies) => copies,
        }
    }
}

impl ParityScheme {
    /// Objects below the folder `sharded` have parity; objects below one of the folders of
    /// `copied`, or named like one, have copies.
    ///
    /// # Errors
    /// `InvalidKey` for names that are none.
    pub fn new(sharded: &str, copied: &[&str]) -> Result<Self, InvalidKey> {
        let copied = copied.iter().map(|name| ObjectKey::parse(name)).collect::<Result<_, _>>()?;
        let sharded = ObjectKey::parse(sharded)?;
        Ok(Self { sharded: KeyPrefix::parse(sharded.as_str())?, copied })
    }

    /// What stands beside `key`. An object whose name is too long for a longer one has nothing.
    pub(super) fn beside(&self, key: &ObjectKey) -> Beside {
        if self.sharded.contains(key) {
            let rest = self.sharded.strip(key).map(|rest| format!("{PARITY}/{rest}"));
            let parity = rest.and_then(|name| ObjectKey::parse(&name).ok());
            return parity.map_or(Beside::Nothing, Beside::Parity);
        }
        if self.is_copied(key)
            && let [Ok(first), Ok(second)] =
                COPIES.map(|at| ObjectKey::parse(&format!("{at}/{key}")))
        {
            return Beside::Copies([first, second]);
        }
        Beside::Nothing
    }

    /// True if `key` is one of an object that has copies.
    pub(super) fn is_copied(&self, key: &ObjectKey) -> bool {
        self.copied.iter().any(|name| name == key || is_below(key.as_str(), name.as_str()))
    }

    /// Folders and names of objects that have copies.
    pub(super) fn copied(&self) -> &[ObjectKey] {
        &self.copied
    }

    /// The folder of objects that have parity.
    pub(super) fn sharded(&self) -> &KeyPrefix {
        &self.sharded
    }

    /// True if objects with copies may lie below `prefix`.
    pub(super) fn may_have_copies(&self, prefix: &KeyPrefix) -> bool {
        let prefix = prefix.as_str();
        let meets = |name: &str| {
            prefix.is_empty() || name == prefix || is_below(name, prefix) || is_below(prefix, name)
        };
        self.copied.iter().any(|name| meets(name.as_str()))
    }

    /// The object that has this parity.
    pub(super) fn of_parity(&self, parity: &ObjectKey) -> Option<ObjectKey> {
        let rest = parity.as_str().strip_prefix(PARITY)?.strip_prefix('/')?;
        self.sharded.join(&ObjectKey::parse(rest).ok()?).ok()
    }

    /// The object that has this copy.
    pub(super) fn of_copy(&self, copy: &ObjectKey) -> Option<ObjectKey> {
        let strip = |at: &&str| copy.as_str().strip_prefix(*at)?.strip_prefix('/');
        let key = ObjectKey::parse(COPIES.iter().find_map(strip)?).ok()?;
        self.is_copied(&key).then_some(key)
    }

    /// True for objects of this layer, which no listing of others shows.
    pub(super) fn is_own(key: &ObjectKey) -> bool {
        is_below(key.as_str(), PARITY) || is_below(key.as_str(), COPIES_FOLDER)
    }
}

fn is_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
