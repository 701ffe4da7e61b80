//! What is known of each OpenDAL service beyond what OpenDAL says: how a new object comes to its
//! name there, what deleting a folder does, how many calls at once are worth while.
//!
//! Knows no URL, no secret and no request.

use opendal::Capability;

/// How a put brings an object to its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// Under a folder that only one creator can publish, then renamed; see [`crate::claim`].
    /// Atomic wherever renaming a folder onto one that has something in it fails.
    Claim,
    /// Under a temporary name, then moved. A create is atomic if the move can be told not to
    /// overwrite.
    Move {
        /// A move for a create is sent as one that must not overwrite.
        is_exclusive: bool,
    },
    /// The service itself shows an object only when it is whole. A create is atomic only if the
    /// service takes a condition with it.
    Direct {
        /// OpenDAL sends `if_not_exists` to the service.
        has_condition: bool,
    },
}

/// What a delete of a name does that is a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Folders {
    /// There are none: names merely have slashes in them.
    None,
    /// It fails and the folder stays.
    Kept,
    /// It may take everything below along: never ask without having looked.
    Removed,
}

/// The traits of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) publish: Publish,
    pub(crate) folders: Folders,
    /// The length of what was read is compared with what the server says it is: a read that ends
    /// early looks like the end of the object (FTP), or the object may have been replaced between
    /// the answer's head and its body (rclone's WebDAV).
    pub(crate) compares_length: bool,
    /// FTP, as OpenDAL speaks it: an object without bytes needs a write of nothing, OpenDAL's own
    /// temporary names, which may look like keys, lie at the root, an object is listed as a
    /// folder of itself, and a connection is spoilt by a transfer that OpenDAL has not ended.
    pub(crate) is_ftp: bool,
    /// An upload is one request whose body may be of any length that is not known beforehand.
    pub(crate) takes_streams: bool,
    pub(crate) concurrency: usize,
}

impl Traits {
    /// The traits of OpenDAL's `service`, whose operator has `capability`.
    pub(crate) fn of(service: &str, capability: &Capability) -> Self {
        let has_condition = capability.write_with_if_not_exists;
        let folders = if capability.create_dir { Folders::Removed } else { Folders::None };
        let usual = Self {
            publish: Publish::Direct { has_condition },
            folders,
            compares_length: false,
            is_ftp: false,
            takes_streams: false,
            concurrency: 8,
        };
        match service {
            "sftp" => {
                Self { publish: Publish::Claim, folders: Folders::Kept, concurrency: 4, ..usual }
            }
            "webdav" => Self {
                publish: Publish::Move { is_exclusive: true },
                compares_length: true,
                takes_streams: true,
                ..usual
            },
            // Its rename carries the switch in a header that is signed before we see it.
            "azfile" => Self { publish: Publish::Move { is_exclusive: false }, ..usual },
            "ftp" => Self {
                folders: Folders::Kept,
                compares_length: true,
                is_ftp: true,
                concurrency: 4,
                ..usual
            },
            // Personal drives ask for few requests at once.
            "gdrive" | "dropbox" | "onedrive" => Self { concurrency: 4, ..usual },
            _ => usual,
        }
    }

    /// True if the storage decides who creates an object.
    pub(crate) fn atomic_create(&self) -> bool {
        match self.publish {
            Publish::Claim => true,
            Publish::Move { is_exclusive } => is_exclusive,
            Publish::Direct { has_condition } => has_condition,
        }
    }
}

/// True for a name at the root such as `x.Ab3dE6gH`, under which OpenDAL's FTP service keeps an
/// object until it is whole. Killed or failed writers leave them behind.
pub(crate) fn is_stray(name: &str) -> bool {
    const RANDOM_LEN: usize = 8;
    !name.contains('/')
        && name.rsplit_once('.').is_some_and(|(stem, tail)| {
            !stem.is_empty()
                && tail.len() == RANDOM_LEN
                && tail.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_that_decide_are_called_atomic() {
        let plain = Capability { create_dir: true, ..Capability::default() };
        let conditional = Capability { write_with_if_not_exists: true, ..plain };
        for (service, capability, is_atomic) in [
            ("sftp", plain, true),
            ("webdav", plain, true),
            ("ftp", plain, false),
            ("azfile", plain, false),
            ("gdrive", plain, false),
            ("b2", Capability::default(), false),
            ("other", plain, false),
            ("other", conditional, true),
        ] {
            assert_eq!(Traits::of(service, &capability).atomic_create(), is_atomic, "{service}");
        }
    }

    #[test]
    fn names_of_unfinished_uploads_are_known() {
        assert!(is_stray("0001.Ab3dE6gH") && is_stray("a.b.abcdefgh"));
        for name in ["abcdefgh", ".abcdefgh", "a.abcdefg", "a.abcdefg_", "packs/a.abcdefgh"] {
            assert!(!is_stray(name), "{name}");
        }
    }
}
