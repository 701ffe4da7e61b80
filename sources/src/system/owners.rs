//! Names of users and groups, each asked of the system once.
//!
//! The system's databases (files, LDAP and the like) are slow and may fail; an owner without a
//! name is no error, ids are kept as well.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
};

use nix::unistd::{Gid, Group, Uid, User};

/// A cache of names by id and of ids by name.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    user_names: Cache<u32, Vec<u8>>,
    group_names: Cache<u32, Vec<u8>>,
    user_ids: Cache<Vec<u8>, u32>,
    group_ids: Cache<Vec<u8>, u32>,
}

impl Owners {
    /// The name of user `id`.
    pub(crate) fn user_name(&self, id: u32) -> Option<Vec<u8>> {
        self.user_names.get(&id, || {
            User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name.into_bytes())
        })
    }

    /// The name of group `id`.
    pub(crate) fn group_name(&self, id: u32) -> Option<Vec<u8>> {
        self.group_names.get(&id, || {
            Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name.into_bytes())
        })
    }

    /// The id of the user called `name`.
    pub(crate) fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.user_ids.get(name, || {
            let user = User::from_name(std::str::from_utf8(name).ok()?).ok().flatten()?;
            Some(user.uid.as_raw())
        })
    }

    /// The id of the group called `name`.
    pub(crate) fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.group_ids.get(name, || {
            let group = Group::from_name(std::str::from_utf8(name).ok()?).ok().flatten()?;
            Some(group.gid.as_raw())
        })
    }
}

/// How many answers a cache keeps: ids in a snapshot are untrusted and may be many.
const ANSWERS_MAX: usize = 65_536;

#[derive(Debug)]
struct Cache<K, V>(Mutex<HashMap<K, Option<V>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get<Q>(&self, key: &Q, ask: impl FnOnce() -> Option<V>) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(key) {
            return known.clone();
        }
        // The lock is not held while the system is asked: that may take seconds.
        let answer = ask();
        let mut answers = lock();
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(key.to_owned(), answer.clone());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_of_root_are_found() {
        let owners = Owners::default();
        assert_eq!(owners.user_name(0).as_deref(), Some(b"root".as_slice()));
        assert_eq!(owners.group_name(0).as_deref(), Some(b"root".as_slice()));
        assert_eq!(owners.user_id(b"root"), Some(0));
        assert_eq!(owners.group_id(b"root"), Some(0));
    }

    #[test]
    fn unknown_owners_have_no_answer() {
        let owners = Owners::default();
        assert_eq!(owners.user_name(3_999_999_999), None);
        assert_eq!(owners.user_id(b"no such user here"), None);
        assert_eq!(owners.user_id(b"\xff\xfe"), None);
        assert_eq!(owners.group_id(b"with\0nul"), None);
    }

    #[test]
    fn each_answer_is_asked_for_once_and_the_cache_is_bounded() {
        let cache = Cache::<u32, u32>::default();
        assert_eq!(cache.get(&1, || Some(10)), Some(10));
        assert_eq!(cache.get(&1, || panic!("asked twice")), Some(10));
        for key in 2..=(ANSWERS_MAX as u32 + 5) {
            cache.get(&key, || None);
        }
        assert!(cache.0.lock().unwrap().len() <= ANSWERS_MAX);
    }
}
