//! What happens to an entry, given what is there already. Pure decisions, no I/O.

use super::Overwrite;
use crate::entry::{Content, Details, Entry, EntryKind, Stat};

/// The largest file that any file system of ours can hold.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// True if the entry is to be made as in the snapshot, false if what is there is left alone.
pub(super) fn is_wanted(overwrite: Overwrite, entry: &Stat, existing: Option<&Stat>) -> bool {
    let Some(existing) = existing else { return true };
    match overwrite {
        Overwrite::Always => true,
        Overwrite::Never => false,
        Overwrite::IfChanged => {
            (entry.kind, entry.size, entry.mtime) != (existing.kind, existing.size, existing.mtime)
        }
        Overwrite::IfNewer => entry.mtime > existing.mtime,
    }
}

/// Why a file's entry cannot be true, if so. Lists of pieces are measured when they are read.
pub(super) fn refuse(entry: &Entry) -> Option<String> {
    let size = entry.stat.size;
    if size > FILE_BYTES_MAX {
        return Some(format!("the snapshot gives it an impossible size of {size} bytes"));
    }
    match &entry.content {
        Content::Listed { .. } => None,
        Content::Inline(pieces) => {
            let total =
                pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.len_bytes()));
            (total != Some(size)).then(|| wrong_sum(size))
        }
    }
}

/// The message for pieces that are not as long as the file.
pub(super) fn wrong_sum(size: u64) -> String {
    format!("the snapshot gives it {size} bytes, but pieces of another length")
}

/// True if everything that a sink sets is as in the snapshot, so that it need not be set again.
/// In doubt about the owner it is not.
pub(super) fn is_metadata_right(entry: &Entry, stat: &Stat, details: &Details) -> bool {
    let names_agree = |ours: &Option<Vec<u8>>, theirs: &Option<Vec<u8>>| {
        ours.is_none() || theirs.is_none() || ours == theirs
    };
    let wanted = &entry.stat;
    is_shape_right(entry, stat, details)
        && (wanted.uid, wanted.gid) == (stat.uid, stat.gid)
        && names_agree(&entry.details.user, &details.user)
        && names_agree(&entry.details.group, &details.group)
}

/// Like [`is_metadata_right`], but for the owner: that one is the sink's decision.
pub(super) fn is_shape_right(entry: &Entry, stat: &Stat, details: &Details) -> bool {
    let wanted = &entry.stat;
    is_same_thing(entry, stat, details)
        && (wanted.mode == stat.mode || wanted.kind == EntryKind::Symlink)
        && wanted.mtime == stat.mtime
        && entry.details.xattrs == details.xattrs
}

/// True if link target or device number are as in the snapshot; content of files apart.
pub(super) fn is_same_thing(entry: &Entry, stat: &Stat, details: &Details) -> bool {
    let wanted = &entry.stat;
    wanted.kind == stat.kind
        && (wanted.kind != EntryKind::File || wanted.size == stat.size)
        && wanted.device_number == stat.device_number
        && entry.details.link_target == details.link_target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entry::{ChunkRef, FileTime, PackRef, Piece},
        id::{ChunkId, PackId, SessionId},
    };

    fn stat(size: u64, seconds: i64) -> Stat {
        Stat {
            kind: EntryKind::File,
            mode: 0o644,
            uid: 1,
            gid: 2,
            size,
            allocated_bytes: 0,
            mtime: FileTime { seconds, nanoseconds: 0 },
            ctime: FileTime::default(),
            inode: 1,
            device: 1,
            links: 1,
            device_number: 0,
        }
    }

    fn entry(stat: Stat, pieces: Vec<Piece>) -> Entry {
        Entry {
            name: b"f".to_vec(),
            stat,
            details: Details::default(),
            content: Content::Inline(pieces),
            is_torn: false,
        }
    }

    fn chunk(len_bytes: u32) -> Piece {
        let id = PackId { session: SessionId([0; 16]), counter: 0 };
        let pack = PackRef { id, epoch: 0, salt: [0; 32] };
        Piece::Chunk(ChunkRef { id: ChunkId([0; 32]), pack, segment: 0, len_bytes })
    }

    #[test]
    fn overwrite_decides_by_what_is_there() {
        use Overwrite::{Always, IfChanged, IfNewer, Never};
        let (old, same, newer) = (stat(5, 10), stat(5, 20), stat(5, 30));
        let longer = stat(6, 20);
        let wanted = stat(5, 20);
        for overwrite in [Always, IfChanged, IfNewer, Never] {
            assert!(is_wanted(overwrite, &wanted, None), "{overwrite:?}");
        }
        for (overwrite, expected) in [
            (Always, [true, true, true, true]),
            (IfChanged, [true, false, true, true]),
            (IfNewer, [true, false, false, false]),
            (Never, [false, false, false, false]),
        ] {
            let found = [&old, &same, &newer, &longer]
                .map(|existing| is_wanted(overwrite, &wanted, Some(existing)));
            assert_eq!(found, expected, "{overwrite:?}");
        }
        let folder = Stat { kind: EntryKind::Dir, ..same };
        assert!(is_wanted(IfChanged, &wanted, Some(&folder)));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert_eq!(refuse(&entry(stat(30, 0), vec![chunk(10), Piece::Hole(20)])), None);
        assert_eq!(refuse(&entry(stat(0, 0), vec![])), None);
        for (size, pieces) in [
            (31, vec![chunk(10), Piece::Hole(20)]),
            (5, vec![]),
            (3, vec![Piece::Hole(u64::MAX), Piece::Hole(4)]),
            (u64::MAX, vec![Piece::Hole(u64::MAX)]),
        ] {
            assert!(refuse(&entry(stat(size, 0), pieces)).is_some(), "{size}");
        }
    }

    #[test]
    fn metadata_is_set_again_only_where_it_differs() {
        let wanted = entry(stat(5, 20), vec![]);
        let details = Details::default();
        assert!(is_metadata_right(&wanted, &stat(5, 20), &details));
        assert!(!is_metadata_right(&wanted, &stat(5, 21), &details));
        assert!(!is_metadata_right(&wanted, &Stat { mode: 0o600, ..stat(5, 20) }, &details));
        let other_owner = Stat { uid: 9, ..stat(5, 20) };
        assert!(!is_metadata_right(&wanted, &other_owner, &details));
        assert!(is_shape_right(&wanted, &other_owner, &details));
        let labelled = Details { xattrs: vec![(b"user.a".to_vec(), vec![])], ..details };
        assert!(!is_shape_right(&wanted, &stat(5, 20), &labelled));
    }
}
