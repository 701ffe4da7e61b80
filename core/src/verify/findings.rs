//! What a verification found to be wrong: one entry for each object, and for packs which part.

use std::collections::{BTreeMap, BTreeSet};

use super::Damage;
use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        damage::{Damage as Lost, LostPart},
        pack::pack_object_name,
    },
    id::{ChunkId, PackId, SessionId},
    target::{TargetError, TargetErrorKind},
};

/// Messages kept for one object.
const MESSAGES_MAX: usize = 4;
/// Paths listed for one piece of damage.
pub(super) const FILES_MAX: usize = 100;

/// Which part of a pack cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// These segments; none if everything in it can still be read.
    Segments(BTreeSet<u32>),
    /// All of it.
    Whole,
}

impl Extent {
    pub(super) fn none() -> Self {
        Self::Segments(BTreeSet::new())
    }

    pub(super) fn segment(number: u32) -> Self {
        Self::Segments(BTreeSet::from([number]))
    }

    pub(super) fn covers(&self, segment: u32) -> bool {
        match self {
            Self::Segments(segments) => segments.contains(&segment),
            Self::Whole => true,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Segments(segments) if segments.is_empty())
    }

    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Segments(own), Self::Segments(other)) => own.extend(other),
            _ => *self = Self::Whole,
        }
    }
}

/// What is wrong with one object.
#[derive(Debug, Default)]
struct Finding {
    messages: Vec<String>,
    has_more: bool,
    snapshots: BTreeSet<SessionId>,
    files: BTreeSet<String>,
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    objects: BTreeMap<String, Finding>,
    packs: BTreeMap<PackId, Extent>,
    /// Chunks in damaged parts of packs that snapshots refer to.
    chunks: BTreeMap<PackId, BTreeSet<ChunkId>>,
}

impl Findings {
    /// True if nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Something is wrong with the object `name`.
    pub(super) fn object(&mut self, name: impl Into<String>, message: impl Into<String>) {
        let finding = self.objects.entry(name.into()).or_default();
        let message = message.into();
        if finding.messages.contains(&message) {
            return;
        }
        if finding.messages.len() < MESSAGES_MAX {
            finding.messages.push(message);
        } else {
            finding.has_more = true;
        }
    }

    /// Something is wrong with the object `name`, which `snapshot` cannot do without.
    pub(super) fn object_of(&mut self, name: &str, snapshot: SessionId, message: String) {
        self.object(name, message);
        if let Some(finding) = self.objects.get_mut(name) {
            finding.snapshots.insert(snapshot);
        }
    }

    /// Something is wrong with a part of a pack.
    pub(super) fn pack(&mut self, pack: PackId, extent: Extent, message: impl Into<String>) {
        self.object(pack_object_name(pack), message);
        self.packs.entry(pack).or_insert_with(Extent::none).add(extent);
    }

    /// `snapshot` needs a damaged part of the pack, for `path` if there is one.
    ///
    /// True if more paths are wanted.
    pub(super) fn affects(
        &mut self,
        pack: PackId,
        snapshot: SessionId,
        path: Option<&str>,
    ) -> bool {
        let Some(finding) = self.objects.get_mut(&pack_object_name(pack)) else { return false };
        finding.snapshots.insert(snapshot);
        if let Some(path) = path
            && finding.files.len() < FILES_MAX
        {
            finding.files.insert(path.to_owned());
        }
        finding.files.len() < FILES_MAX
    }

    /// A snapshot refers to this chunk in a damaged part of the pack.
    pub(super) fn misses(&mut self, pack: PackId, chunk: ChunkId) {
        self.chunks.entry(pack).or_default().insert(chunk);
    }

    /// What is lost of packs.
    pub(super) fn lost(&self) -> Lost {
        let mut lost = Lost::default();
        for (pack, extent) in self.damaged_packs() {
            let segments = match extent {
                Extent::Segments(segments) => Some(segments),
                Extent::Whole => None,
            };
            let chunks = self.chunks.get(&pack).cloned().unwrap_or_default();
            lost.add(pack, &LostPart { segments, chunks });
        }
        lost
    }

    /// Drops what is wrong with a pack that is known to be damaged, if nothing misses anything.
    pub(super) fn forgive(&mut self, pack: PackId) {
        let name = pack_object_name(pack);
        if self.objects.get(&name).is_some_and(|finding| finding.snapshots.is_empty()) {
            self.objects.remove(&name);
        }
    }

    /// Drops what is wrong with an object that nothing misses.
    pub(super) fn forgive_object(&mut self, name: &str) {
        self.objects.remove(name);
    }

    /// The packs of which some part cannot be used.
    pub(super) fn damaged_packs(&self) -> BTreeMap<PackId, Extent> {
        let damaged = self.packs.iter().filter(|(_, extent)| !extent.is_empty());
        damaged.map(|(pack, extent)| (*pack, extent.clone())).collect()
    }

    /// True if this part of the pack is known to be damaged.
    pub(super) fn is_damaged(&self, pack: PackId, segment: u32) -> bool {
        self.packs.get(&pack).is_some_and(|extent| extent.covers(segment))
    }

    /// The findings as reported, by name of the object.
    pub(super) fn into_damage(self) -> Vec<Damage> {
        self.objects.into_iter().map(|(object, finding)| finding.into_damage(object)).collect()
    }
}

impl Finding {
    fn into_damage(self, object: String) -> Damage {
        let mut message = self.messages.join("; ");
        if self.has_more {
            message.push_str("; and more");
        }
        Damage {
            object,
            message,
            snapshots: self.snapshots.iter().map(SessionId::to_string).collect(),
            files: self.files.into_iter().collect(),
        }
    }
}

/// What an error about one object says about that object; an error that says nothing about it
/// (the storage does not answer, the run was cancelled) ends the verification.
pub(super) fn reason(error: Error) -> Result<String> {
    let is_about_object = match error.kind() {
        ErrorKind::Damaged
        | ErrorKind::NotFound
        | ErrorKind::Unsupported
        | ErrorKind::Invalid
        | ErrorKind::WrongKey => true,
        ErrorKind::Storage => is_one_object(&error),
        _ => false,
    };
    if !is_about_object {
        return Err(error);
    }
    if error.kind() == ErrorKind::NotFound {
        return Ok("is missing".to_owned());
    }
    if let Some(cause) = target_error(&error) {
        return Ok(format!("cannot be read: {cause}"));
    }
    let text = error.to_string();
    let prefix = error.object().map(|object| format!("{object}: "));
    Ok(prefix.and_then(|prefix| text.strip_prefix(&prefix)).unwrap_or(&text).to_owned())
}

/// True for storage errors that one object may have while the others can be read: a bad sector,
/// a missing permission.
fn is_one_object(error: &Error) -> bool {
    let kind = target_error(error).map(TargetError::kind);
    matches!(kind, Some(TargetErrorKind::Denied | TargetErrorKind::Unexpected))
}

/// What the target said.
fn target_error(error: &Error) -> Option<&TargetError> {
    std::error::Error::source(error).and_then(|source| source.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_for_each_object_and_bounded_lists() {
        let pack = PackId { session: SessionId([1; 16]), counter: 2 };
        let mut findings = Findings::default();
        for segment in 0..9 {
            findings.pack(pack, Extent::segment(segment), format!("segment {segment}"));
            findings.pack(pack, Extent::segment(segment), format!("segment {segment}"));
        }
        let snapshot = SessionId([3; 16]);
        for file in 0..200 {
            let wants_more = findings.affects(pack, snapshot, Some(&format!("file-{file}")));
            assert_eq!(wants_more, file < 99);
        }
        assert!(findings.is_damaged(pack, 8) && !findings.is_damaged(pack, 9));
        findings.pack(pack, Extent::Whole, "gone");
        assert!(findings.is_damaged(pack, 9));
        let damage = findings.into_damage();
        assert_eq!(damage.len(), 1);
        assert_eq!(damage[0].object, format!("packs/{pack}"));
        assert_eq!(damage[0].message, "segment 0; segment 1; segment 2; segment 3; and more");
        assert_eq!(damage[0].snapshots, [snapshot.to_string()]);
        assert_eq!(damage[0].files.len(), FILES_MAX);
    }

    #[test]
    fn a_pack_that_can_be_read_affects_nothing() {
        let pack = PackId { session: SessionId([1; 16]), counter: 0 };
        let mut findings = Findings::default();
        findings.pack(pack, Extent::none(), "has bytes after its end");
        assert!(findings.damaged_packs().is_empty());
        assert_eq!(findings.into_damage().len(), 1);
    }

    #[test]
    fn only_errors_about_one_object_are_findings() {
        let damaged = Error::damaged("packs/x", "is truncated");
        assert_eq!(reason(damaged).unwrap(), "is truncated");
        assert!(reason(Error::new(ErrorKind::Interrupted, "stop")).is_err());
        assert!(reason(Error::new(ErrorKind::Storage, "no answer")).is_err());
    }
}
