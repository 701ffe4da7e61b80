//! Keys below the path of a URL: the full names that a storage sees, and back.

use std::fmt;

use strongroom_core::target::{KeyPrefix, ObjectKey};

/// Maps keys to full names, joined by `/`, without a slash in front.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Empty, or ends with a slash.
    base: String,
}

impl Names {
    /// Names below `path`.
    pub fn new(path: &[String]) -> Self {
        let mut base = path.join("/");
        if !base.is_empty() {
            base.push('/');
        }
        Self { base }
    }

    /// The full name of `key`.
    pub fn full(&self, key: &ObjectKey) -> String {
        format!("{}{key}", self.base)
    }

    /// What the full names of the keys below `prefix` begin with: empty, or ending in a slash.
    pub fn full_prefix(&self, prefix: &KeyPrefix) -> String {
        match prefix.as_str() {
            "" => self.base.clone(),
            prefix => format!("{}{prefix}/", self.base),
        }
    }

    /// The key of a full name; `None` for names that are not ours.
    pub fn key(&self, full: &str) -> Option<ObjectKey> {
        ObjectKey::parse(full.strip_prefix(&self.base)?).ok()
    }

    /// The path below which all names lie: empty, or ending in a slash.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.base.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_in_and_come_back() {
        let key = ObjectKey::parse("packs/1").unwrap();
        let below = Names::new(&["My Backups".into(), "x".into()]);
        assert_eq!(below.full(&key), "My Backups/x/packs/1");
        assert_eq!(below.key("My Backups/x/packs/1"), Some(key.clone()));
        assert_eq!(below.key("My Backups/y/packs/1"), None);
        assert_eq!(below.key("My Backups/x/.part"), None);
        assert_eq!(below.full_prefix(&KeyPrefix::all()), "My Backups/x/");
        assert_eq!(below.full_prefix(&KeyPrefix::parse("packs").unwrap()), "My Backups/x/packs/");
        let root = Names::default();
        assert_eq!(root.full(&key), "packs/1");
        assert_eq!(root.full_prefix(&KeyPrefix::all()), "");
        assert_eq!((root.to_string(), below.to_string()), ("".into(), "My Backups/x".into()));
    }
}
