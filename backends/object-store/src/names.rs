//! Keys as paths of a store, and back.

use object_store::path::Path;
use strongroom_core::target::{
    KeyPrefix, ObjectKey, Operation, TargetError, TargetErrorKind, TargetResult,
};

/// What names of unfinished objects begin with. No key does, so they are never listed as objects.
pub(crate) const TEMPORARY: &str = ".strongroom-tmp-";

/// The folder below which all keys lie.
#[derive(Debug, Clone)]
pub(crate) struct Base(Path);

impl Base {
    pub(crate) fn new(path: &[String]) -> Self {
        Self(Path::from_iter(path.iter().map(String::as_str)))
    }

    pub(crate) fn path(&self, key: &ObjectKey) -> TargetResult<Path> {
        self.join(key.as_str())
    }

    pub(crate) fn prefix(&self, prefix: &KeyPrefix) -> TargetResult<Path> {
        self.join(prefix.as_str())
    }

    pub(crate) fn temporary(&self, name: &str) -> TargetResult<Path> {
        self.join(&format!("{TEMPORARY}{name}"))
    }

    /// The base is encoded already, and names out of the alphabet of keys need no encoding.
    fn join(&self, name: &str) -> TargetResult<Path> {
        let text = match (self.0.as_ref(), name) {
            ("", name) => name.to_owned(),
            (base, "") => base.to_owned(),
            (base, name) => format!("{base}/{name}"),
        };
        Path::parse(&text).map_err(|error| {
            let why = format!("{text:?} is no path of this store");
            TargetError::new(TargetErrorKind::Invalid, Operation::Open, why).because(error)
        })
    }

    /// `None` for what is not ours.
    pub(crate) fn key(&self, path: &Path) -> Option<ObjectKey> {
        let text = path.as_ref();
        let rest = match self.0.as_ref() {
            "" => text,
            base => text.strip_prefix(base)?.strip_prefix('/')?,
        };
        ObjectKey::parse(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_in_and_come_back() {
        let key = ObjectKey::parse("packs/1").unwrap();
        for (folders, expected) in [
            (vec![], "packs/1"),
            (vec!["a".to_owned(), "My Backups%".to_owned()], "a/My Backups%25/packs/1"),
        ] {
            let base = Base::new(&folders);
            let path = base.path(&key).unwrap();
            assert_eq!(path.as_ref(), expected);
            assert_eq!(base.key(&path), Some(key.clone()));
            assert_eq!(base.key(&base.temporary("x").unwrap()), None);
            assert_eq!(base.prefix(&KeyPrefix::all()).unwrap(), base.0);
        }
        assert_eq!(Base::new(&["a".to_owned()]).key(&Path::from("ab/packs/1")), None);
    }
}
