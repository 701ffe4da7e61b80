//! What a snapshot holds about one file, folder or other thing: the vocabulary that sources,
//! formats and sinks share.
//!
//! Knows nothing of how entries are stored (`format::page`) or where they come from.

use std::cmp::Ordering;

use crate::{
    id::{ChunkId, PackId},
    packset::PackSet,
};

/// A path inside a snapshot: names joined by `/`, no leading or trailing slash, empty for the
/// root. Names are bytes without `/` and NUL, and never empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root of a snapshot.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path, if every name in it is a valid one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let valid = bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(is_valid_name);
        valid.then(|| Self(bytes.to_vec()))
    }

    /// This path with one more name. The name must be valid.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(is_valid_name(name), "not a name: {name:?}");
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// The path as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, outermost first.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The folder that holds this path and its name there; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => Some((Self(self.0[..at].to_vec()), &self.0[at + 1..])),
            None => Some((Self::root(), &self.0)),
        }
    }

    /// True if `self` is `folder` or lies below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        folder.is_root()
            || self
                .0
                .strip_prefix(folder.0.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path for people: invalid UTF-8, control characters and backslashes escaped.
    pub fn display(&self) -> String {
        display_name(&self.0)
    }
}

/// Component-wise order: a folder comes before what lies below it, and everything below it
/// before its next sibling, whatever bytes the names hold.
impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.names().cmp(other.names())
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// True if `name` can name an entry.
pub fn is_valid_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Bytes of a name or path for people, in one line: what is not printable UTF-8 is escaped.
pub fn display_name(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for symbol in part.valid().chars() {
            if symbol.is_control() || symbol == '\\' {
                text.extend(symbol.escape_default());
            } else {
                text.push(symbol);
            }
        }
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix-domain socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
}

/// A file system time: seconds since 1970 and nanoseconds (0 to 999,999,999) beyond them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct FileTime {
    /// Whole seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds beyond the second.
    pub nanoseconds: u32,
}

/// What one `statx` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes of a file; 0 for everything else.
    pub size: u64,
    /// Bytes of storage in use; less than `size` says that a file has holes.
    pub allocated_bytes: u64,
    /// Last change of content.
    pub mtime: FileTime,
    /// Last change of content or metadata.
    pub ctime: FileTime,
    /// Inode number.
    pub inode: u64,
    /// Device that holds the inode, as `major << 32 | minor`.
    pub device: u64,
    /// Names of this inode.
    pub links: u64,
    /// Number of a device node, as `major << 32 | minor`; 0 for everything else.
    pub device_number: u64,
}

/// The parts of an entry that cost more than a stat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Details {
    /// Name of the owner, if the system knows one.
    pub user: Option<Vec<u8>>,
    /// Name of the group, if the system knows one.
    pub group: Option<Vec<u8>>,
    /// Extended attributes, ACLs and capabilities among them, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Target of a symbolic link.
    pub link_target: Option<Vec<u8>>,
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The last component of its path.
    pub name: Vec<u8>,
    /// What `statx` told.
    pub stat: Stat,
    /// Names of owner and group, extended attributes, link target.
    pub details: Details,
    /// Content of a file; empty for everything else.
    pub content: Content,
    /// True if the file went on changing while it was read.
    pub is_torn: bool,
}

impl Entry {
    /// True if other names of the same inode may be in the snapshot.
    pub fn is_hard_linked(&self) -> bool {
        self.stat.links > 1 && self.stat.kind != EntryKind::Dir
    }
}

/// The content of a file: pieces in order, or the chunks that hold the list of pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// All pieces, in file order.
    Inline(Vec<Piece>),
    /// The pieces are listed in chunks of their own (see `format::page`).
    Listed {
        /// The chunks that hold the list, in order.
        lists: Vec<ChunkRef>,
        /// Every pack that the listed pieces lie in.
        packs: PackSet,
    },
}

impl Default for Content {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// A piece of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A chunk.
    Chunk(ChunkRef),
    /// So many bytes of hole: they read as zeros and take no room.
    Hole(u64),
}

impl Piece {
    /// How many bytes of the file it stands for.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => u64::from(chunk.len_bytes),
            Self::Hole(length) => *length,
        }
    }
}

/// Where a chunk is: everything that is needed to fetch and check it, without an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// Keyed hash of the plaintext.
    pub id: ChunkId,
    /// The pack it lies in.
    pub pack: PackRef,
    /// The segment of the pack.
    pub segment: u32,
    /// Length of the plaintext.
    pub len_bytes: u32,
}

/// A pack, and what its keys are derived from: enough to open any part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackRef {
    /// Which pack.
    pub id: PackId,
    /// The key epoch that it is sealed in.
    pub epoch: u32,
    /// The salt in its header.
    pub salt: [u8; 32],
}
