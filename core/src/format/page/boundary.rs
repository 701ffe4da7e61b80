//! Where pages and nodes end: decided by what stands there, so that the same stretch of two
//! tables is cut the same way whatever comes before it.

use super::NodeRow;
use crate::entry::{Content, Entry, TreePath};

/// What is being cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// A page of entries.
    Page,
    /// A node of this level.
    Node(u8),
}

/// Weights in bytes: about what an item takes as stored. Fixed for the format.
const WEIGHT_MIN: u64 = 16 << 10;
const WEIGHT_AVERAGE: u64 = 64 << 10;
const WEIGHT_MAX: u64 = 256 << 10;

/// Decides after every item whether the page or node ends there.
///
/// An item of weight `w` ends it with probability `w` / 64 KiB, taken from a keyed BLAKE3 of
/// kind and path, once 16 KiB have come together; at 256 KiB it ends in any case.
#[derive(Debug, Clone)]
pub struct Boundary {
    key: [u8; 32],
    kind: PageKind,
    weight: u64,
}

impl Boundary {
    /// The rule under the repository's chunker key.
    pub fn new(chunker_key: &[u8; 32], kind: PageKind) -> Self {
        Self { key: *chunker_key, kind, weight: 0 }
    }

    /// Adds an item; true if the page ends after it (and the next one begins).
    pub fn ends_after(&mut self, folder: &TreePath, name: &[u8], weight: u64) -> bool {
        self.weight += weight;
        let ends = self.weight >= WEIGHT_MAX
            || (self.weight >= WEIGHT_MIN && self.is_cut(folder, name, weight));
        if ends {
            self.weight = 0;
        }
        ends
    }

    /// Forgets what has come together: the next item begins a page.
    pub fn restart(&mut self) {
        self.weight = 0;
    }

    fn is_cut(&self, folder: &TreePath, name: &[u8], weight: u64) -> bool {
        let kind = match self.kind {
            PageKind::Page => 0,
            PageKind::Node(level) => level,
        };
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"strongroom/1 page").update(&[kind]);
        hasher.update(folder.as_bytes()).update(b"/").update(name);
        let mut draw = [0; 4];
        hasher.finalize_xof().fill(&mut draw);
        let threshold = (weight << 32) / WEIGHT_AVERAGE;
        u64::from(u32::from_le_bytes(draw)) < threshold
    }
}

/// The weight of an entry in a page.
pub fn entry_weight(entry: &Entry) -> u64 {
    let details = &entry.details;
    let xattrs: usize = details.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    let target = details.link_target.as_ref().map_or(0, Vec::len);
    let references = match &entry.content {
        Content::Inline(pieces) => pieces.len(),
        Content::Listed { lists, .. } => lists.len(),
    };
    80 + (entry.name.len() + xattrs + target) as u64 + 44 * references as u64
}

/// The weight of a row in a node.
pub fn row_weight(row: &NodeRow) -> u64 {
    120 + (row.first.folder.as_bytes().len() + row.first.name.len()) as u64
}
