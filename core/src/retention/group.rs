//! Groups of snapshots that a policy is applied to, each for itself.
//!
//! Knows nothing of policies.

use std::str::FromStr;

/// What snapshots must have in common to be in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// The host.
    pub host: bool,
    /// The set of paths.
    pub paths: bool,
    /// The set of tags.
    pub tags: bool,
}

impl Default for GroupBy {
    /// By host and paths.
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

impl GroupBy {
    /// One group of everything.
    pub const NOTHING: Self = Self { host: false, paths: false, tags: false };

    /// The group of a snapshot; the order of its paths and tags does not matter.
    pub fn group(self, host: &str, paths: &[String], tags: &[String]) -> Group {
        let sorted = |texts: &[String]| {
            let mut texts = texts.to_vec();
            texts.sort_unstable();
            texts.dedup();
            texts
        };
        Group {
            host: self.host.then(|| host.to_owned()),
            paths: self.paths.then(|| sorted(paths)),
            tags: self.tags.then(|| sorted(tags)),
        }
    }
}

/// Text that names no properties.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected some of host, paths and tags, separated by commas, or nothing for one group")]
pub struct ParseGroupByError;

impl FromStr for GroupBy {
    type Err = ParseGroupByError;

    fn from_str(text: &str) -> Result<Self, ParseGroupByError> {
        let mut by = Self::NOTHING;
        for name in text.split(',').filter(|_| !text.is_empty()) {
            match name {
                "host" => by.host = true,
                "paths" | "path" => by.paths = true,
                "tags" | "tag" => by.tags = true,
                _ => return Err(ParseGroupByError),
            }
        }
        Ok(by)
    }
}

/// What the snapshots of a group have in common; `None` where that was not asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The host.
    pub host: Option<String>,
    /// The paths, sorted.
    pub paths: Option<Vec<String>>,
    /// The tags, sorted.
    pub tags: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_named_in_any_order() {
        let by = |text: &str| text.parse::<GroupBy>();
        assert_eq!(by("host,paths"), Ok(GroupBy::default()));
        assert_eq!(by("tags,host"), Ok(GroupBy { host: true, paths: false, tags: true }));
        assert_eq!(by(""), Ok(GroupBy::NOTHING));
        for wrong in [",", "host,", "hosts", "host paths"] {
            assert_eq!(by(wrong), Err(ParseGroupByError), "{wrong}");
        }
    }

    #[test]
    fn the_order_of_paths_and_tags_does_not_matter() {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let by = GroupBy { host: true, paths: true, tags: true };
        let one = by.group("h", &owned(&["/a", "/b"]), &owned(&["x", "y", "x"]));
        let other = by.group("h", &owned(&["/b", "/a"]), &owned(&["y", "x"]));
        assert_eq!(one, other);
        assert_ne!(one, by.group("h", &owned(&["/a"]), &owned(&["x", "y"])));
    }
}
