//! Names of objects: one rule, checked going in and coming out.
//!
//! A key is a path of one or more segments joined by `/`; a segment is 1 to 128 characters out of
//! `a-z 0-9 . _ -` and does not begin with a dot (such names belong to backends: temporary files,
//! markers). At most 512 characters in all. So a key means the same on every storage, can never
//! leave the root, and never needs escaping.

use std::{fmt, str::FromStr, sync::Arc};

const KEY_LEN_MAX: usize = 512;
const SEGMENT_LEN_MAX: usize = 128;

/// Text that is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an object key: {text:?} ({why})")]
pub struct InvalidKey {
    text: String,
    why: &'static str,
}

/// The name of an object.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// A folder of keys: empty (all keys), or whole segments that keys begin with.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyPrefix(String);

impl ObjectKey {
    /// The key, if `text` follows the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        check(text).map_err(|why| InvalidKey { text: text.chars().take(200).collect(), why })?;
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// All segments, first to last.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl KeyPrefix {
    /// All keys.
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys below `text`, which follows the same rule as a key; empty means all.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() {
            return Ok(Self::all());
        }
        ObjectKey::parse(text).map(|key| Self(key.as_str().to_owned()))
    }

    /// The prefix without a trailing slash; empty for all keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `key` lies below this prefix.
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.0.is_empty()
            || key
                .as_str()
                .strip_prefix(&self.0)
                .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    }

    /// The key below this prefix.
    pub fn join(&self, key: &ObjectKey) -> Result<ObjectKey, InvalidKey> {
        if self.0.is_empty() {
            return Ok(key.clone());
        }
        ObjectKey::parse(&format!("{}/{key}", self.0))
    }

    /// `key` without this prefix, or `None` if it does not lie below.
    pub fn strip(&self, key: &ObjectKey) -> Option<ObjectKey> {
        if self.0.is_empty() {
            return Some(key.clone());
        }
        let rest = key.as_str().strip_prefix(&self.0)?.strip_prefix('/')?;
        ObjectKey::parse(rest).ok()
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("empty");
    }
    if text.len() > KEY_LEN_MAX {
        return Err("longer than 512 characters");
    }
    text.split('/').try_for_each(check_segment)
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment.as_bytes() {
        [] => Err("an empty segment"),
        [b'.', ..] => Err("a segment that begins with a dot"),
        bytes if bytes.len() > SEGMENT_LEN_MAX => Err("a segment longer than 128 characters"),
        bytes if !bytes.iter().all(|byte| is_allowed(*byte)) => {
            Err("only a-z, 0-9, '.', '_' and '-' are allowed")
        }
        _ => Ok(()),
    }
}

const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        Self::parse(text)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({})", self.0)
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPrefix({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_no_keys() {
        let long_segment = "a".repeat(129);
        let long_key = ["a"; 300].join("/");
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.b",
            "A",
            "a b",
            "a\\b",
            "a\0b",
            "ä",
            "a:b",
            "a%2fb",
            "a\nb",
            &long_segment,
            &long_key,
        ] {
            assert!(ObjectKey::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a.b", "packs/0123-_.x/7", &"a".repeat(128)] {
            assert!(ObjectKey::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_prefix_is_whole_segments() {
        let prefix = KeyPrefix::parse("packs/s1").unwrap();
        let key = |text| ObjectKey::parse(text).unwrap();
        assert!(prefix.contains(&key("packs/s1/0")));
        assert!(!prefix.contains(&key("packs/s10/0")));
        assert!(!prefix.contains(&key("packs/s1")));
        assert!(KeyPrefix::all().contains(&key("x")));
        assert_eq!(prefix.strip(&key("packs/s1/a/b")), Some(key("a/b")));
        assert_eq!(prefix.join(&key("a/b")).unwrap(), key("packs/s1/a/b"));
    }
}
