//! What pages, nodes and piece lists promise: the same bytes for the same thing, the same thing
//! back, nothing that is out of order, and no harm from hostile bytes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::{boundary::entry_weight, *};
use crate::{
    entry::{Details, EntryKind, FileTime, PackRef, Stat},
    id::{ChunkId, PackId, SessionId},
};

const KINDS: [EntryKind; 7] = [
    EntryKind::File,
    EntryKind::Dir,
    EntryKind::Symlink,
    EntryKind::Fifo,
    EntryKind::Socket,
    EntryKind::BlockDevice,
    EntryKind::CharDevice,
];

fn names() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'a'), Just(b'.'), Just(b' '), Just(0xff), 1u8..=255], 1..8)
        .prop_map(|bytes| bytes.into_iter().map(|b| if b == b'/' { b'0' } else { b }).collect())
        .prop_filter("not a name", |name: &Vec<u8>| crate::entry::is_valid_name(name))
}

fn paths() -> impl Strategy<Value = TreePath> {
    vec(names(), 0..4)
        .prop_map(|names| names.iter().fold(TreePath::root(), |path, name| path.join(name)))
}

fn pack_ids() -> impl Strategy<Value = PackId> {
    (0u8..4, prop_oneof![0u32..5, any::<u32>()])
        .prop_map(|(session, counter)| PackId { session: SessionId([session; 16]), counter })
}

/// Like in a repository, a pack has one salt.
fn chunk_refs() -> impl Strategy<Value = ChunkRef> {
    (any::<[u8; 32]>(), pack_ids(), any::<u32>(), any::<u32>()).prop_map(
        |(id, pack, segment, len_bytes)| ChunkRef {
            id: ChunkId(id),
            pack: PackRef { id: pack, epoch: 0, salt: [pack.counter as u8; 32] },
            segment,
            len_bytes,
        },
    )
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    vec(prop_oneof![chunk_refs().prop_map(Piece::Chunk), any::<u64>().prop_map(Piece::Hole)], 0..6)
}

fn contents() -> impl Strategy<Value = Content> {
    let listed = (vec(chunk_refs(), 0..3), vec(pack_ids(), 0..9))
        .prop_map(|(lists, packs)| Content::Listed { lists, packs: packs.into_iter().collect() });
    prop_oneof![3 => pieces().prop_map(Content::Inline), 1 => listed]
}

fn times() -> impl Strategy<Value = FileTime> {
    (any::<i64>(), 0u32..1_000_000_000)
        .prop_map(|(seconds, nanoseconds)| FileTime { seconds, nanoseconds })
}

/// Zero, often, because zeros are left out.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0u64..300, any::<u64>()]
}

fn stats() -> impl Strategy<Value = Stat> {
    let ids = (any::<u32>(), any::<u32>(), 0u32..0o10000);
    let rest = (numbers(), numbers(), numbers(), numbers());
    (0usize..KINDS.len(), ids, times(), times(), numbers(), numbers(), rest).prop_map(
        |(kind, (uid, gid, mode), mtime, ctime, size, allocated_bytes, rest)| Stat {
            kind: KINDS[kind],
            mode,
            uid,
            gid,
            size,
            allocated_bytes,
            mtime,
            ctime,
            inode: rest.0,
            device: rest.1,
            links: rest.2,
            device_number: rest.3,
        },
    )
}

fn entries() -> impl Strategy<Value = Entry> {
    let bytes = || vec(any::<u8>(), 0..6);
    let details = (option::of(bytes()), option::of(bytes()), vec((bytes(), bytes()), 0..3))
        .prop_map(|(user, group, xattrs)| (user, group, xattrs));
    (names(), stats(), details, option::of(bytes()), contents(), any::<bool>()).prop_map(
        |(name, stat, (user, group, xattrs), link_target, content, is_torn)| Entry {
            name,
            stat,
            details: Details { user, group, xattrs, link_target },
            content,
            is_torn,
        },
    )
}

fn pages() -> impl Strategy<Value = Page> {
    vec((paths(), entries()), 0..12).prop_map(|rows| {
        let sorted: BTreeMap<(TreePath, Vec<u8>), Entry> =
            rows.into_iter().map(|(folder, entry)| ((folder, entry.name.clone()), entry)).collect();
        let mut page = Page::default();
        sorted.into_iter().for_each(|((folder, _), entry)| page.push(&folder, entry));
        page
    })
}

fn rows() -> impl Strategy<Value = NodeRow> {
    let counts = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(files, dirs, others, bytes)| Counts { files, dirs, others, bytes });
    (paths(), names(), chunk_refs(), counts, vec(pack_ids(), 0..9)).prop_map(
        |(folder, name, chunk, counts, packs)| NodeRow {
            first: EntryKey { folder, name },
            chunk,
            counts,
            packs: packs.into_iter().collect(),
        },
    )
}

fn nodes() -> impl Strategy<Value = Node> {
    (1u8..=LEVELS_MAX, vec(rows(), 1..8)).prop_map(|(level, mut rows)| {
        rows.sort_by(|left, right| left.first.cmp(&right.first));
        rows.dedup_by(|left, right| left.first == right.first);
        Node { level, rows }
    })
}

/// One of the three kinds, as bytes.
fn encodings() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        pages().prop_map(|page| page.encode()),
        nodes().prop_map(|node| node.encode()),
        pieces().prop_map(|pieces| PieceList { pieces }.encode()),
    ]
}

/// Decodes as each kind; what is accepted must be stable from then on.
fn decode_all(bytes: &[u8]) {
    if let Ok(page) = Page::decode(bytes) {
        assert_eq!(Page::decode(&page.encode()).unwrap(), page);
        let _ = (page.counts(), page.packs(), page.first_key());
    }
    if let Ok(node) = Node::decode(bytes) {
        assert_eq!(Node::decode(&node.encode()).unwrap(), node);
        let _ = (node.counts(), node.packs());
    }
    if let Ok(list) = PieceList::decode(bytes) {
        assert_eq!(PieceList::decode(&list.encode()).unwrap(), list);
    }
}

proptest! {
    #[test]
    fn pages_round_trip(page in pages()) {
        let bytes = page.encode();
        prop_assert_eq!(&bytes, &page.clone().encode());
        prop_assert_eq!(Page::decode(&bytes).unwrap(), page);
    }

    #[test]
    fn nodes_round_trip(node in nodes()) {
        let bytes = node.encode();
        prop_assert_eq!(&bytes, &node.clone().encode());
        prop_assert_eq!(Node::decode(&bytes).unwrap(), node);
    }

    #[test]
    fn piece_lists_round_trip(pieces in pieces()) {
        let list = PieceList { pieces };
        let bytes = list.encode();
        prop_assert_eq!(&bytes, &list.clone().encode());
        prop_assert_eq!(PieceList::decode(&bytes).unwrap(), list);
    }

    #[test]
    fn counts_and_packs_are_those_of_the_entries(page in pages()) {
        let counts = page.counts();
        prop_assert_eq!(counts.entries(), page.entries().count() as u64);
        let files = page.entries().filter(|(_, entry)| entry.stat.kind == EntryKind::File);
        prop_assert_eq!(counts.files, files.count() as u64);
        let mut packs = BTreeSet::new();
        for (_, entry) in page.entries() {
            match &entry.content {
                Content::Inline(pieces) => packs.extend(pieces.iter().filter_map(|p| match p {
                    Piece::Chunk(chunk) => Some(chunk.pack.id),
                    Piece::Hole(_) => None,
                })),
                Content::Listed { lists, packs: listed } => {
                    packs.extend(lists.iter().map(|list| list.pack.id));
                    packs.extend(listed.iter().take(10));
                }
            }
        }
        prop_assert!(packs.iter().all(|pack| page.packs().contains(*pack)));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn altered_bytes_never_panic(
        mut bytes in encodings(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        decode_all(&bytes);
    }

    #[test]
    fn every_truncation_is_refused(bytes in encodings(), longer in any::<u8>()) {
        for length in 0..bytes.len() {
            let part = &bytes[..length];
            prop_assert!(Page::decode(part).is_err(), "page of {length}");
            prop_assert!(Node::decode(part).is_err(), "node of {length}");
            prop_assert!(PieceList::decode(part).is_err(), "list of {length}");
        }
        let long: Vec<u8> = bytes.iter().copied().chain([longer]).collect();
        prop_assert!(Page::decode(&long).is_err());
        prop_assert!(Node::decode(&long).is_err());
        prop_assert!(PieceList::decode(&long).is_err());
    }

    #[test]
    fn order_violations_are_refused(page in pages(), node in nodes(), at in any::<Index>()) {
        if page.groups.len() > 1 {
            let mut wrong = page.clone();
            let at = at.index(page.groups.len() - 1);
            wrong.groups.swap(at, at + 1);
            prop_assert!(Page::decode(&wrong.encode()).is_err());
            wrong.groups[at] = wrong.groups[at + 1].clone();
            prop_assert!(Page::decode(&wrong.encode()).is_err());
        }
        for group in 0..page.groups.len() {
            let mut wrong = page.clone();
            let repeated = wrong.groups[group].entries[0].clone();
            wrong.groups[group].entries.push(repeated);
            prop_assert!(Page::decode(&wrong.encode()).is_err());
            wrong.groups[group].entries.clear();
            prop_assert!(Page::decode(&wrong.encode()).is_err());
        }
        if node.rows.len() > 1 {
            let mut wrong = node.clone();
            let at = at.index(node.rows.len() - 1);
            wrong.rows.swap(at, at + 1);
            prop_assert!(Node::decode(&wrong.encode()).is_err());
        }
    }

    #[test]
    fn a_subtree_is_one_stretch(mut keys in vec((paths(), names()), 1..40), top in paths()) {
        keys.sort_by(|left, right| {
            let key = |(folder, name): &(TreePath, Vec<u8>)| EntryKey {
                folder: folder.clone(),
                name: name.clone(),
            };
            key(left).cmp(&key(right))
        });
        let inside: Vec<usize> = (0..keys.len()).filter(|i| keys[*i].0.is_within(&top)).collect();
        prop_assert!(inside.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        if let Some(first) = inside.first() {
            prop_assert!(keys[..*first].iter().all(|(folder, _)| *folder < top));
        }
    }
}

fn sample_entry(name: &[u8]) -> Entry {
    let stat = Stat {
        kind: EntryKind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 0,
        allocated_bytes: 0,
        mtime: FileTime::default(),
        ctime: FileTime::default(),
        inode: 0,
        device: 0,
        links: 1,
        device_number: 0,
    };
    Entry {
        name: name.to_vec(),
        stat,
        details: Details::default(),
        content: Content::default(),
        is_torn: false,
    }
}

/// One folder with one entry, every field written by hand: `tweak` writes the entry.
fn page_with(tweak: impl FnOnce(&mut Out<'_>) -> Encoded) -> Vec<u8> {
    cbor::encode_with(|out| {
        out.map(3)?.u32(0)?.array(0)?;
        out.u32(1)?.array(1)?.array(3)?.u32(0)?.bytes(b"folder")?.array(1)?;
        tweak(out)?;
        out.u32(77)?.str("a field of the future")?;
        Ok(())
    })
}

#[test]
fn unknown_fields_are_skipped() {
    let bytes = page_with(|out| {
        out.map(5)?.u32(0)?.bytes(b"name")?.u32(1)?.u8(0)?;
        out.u32(2)?.u32(0o644)?.u32(10)?.u64(1)?;
        out.u32(1000)?.map(1)?.str("nested")?.array(2)?.u8(1)?.bytes(b"x")?;
        Ok(())
    });
    let page = Page::decode(&bytes).unwrap();
    let folder = TreePath::parse(b"folder").unwrap();
    assert_eq!(page.groups, [Group { folder, entries: vec![sample_entry(b"name")] }]);
}

#[test]
fn what_cannot_be_is_refused() {
    let entry = |name: &'static [u8], kind: u8, nanoseconds: u32| {
        page_with(move |out| {
            out.map(3)?.u32(0)?.bytes(name)?.u32(1)?.u8(kind)?;
            out.u32(6)?.array(2)?.i64(0)?.u32(nanoseconds)?;
            Ok(())
        })
    };
    assert!(Page::decode(&entry(b"fine", 6, 999_999_999)).is_ok());
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
        assert!(Page::decode(&entry(name, 0, 0)).is_err(), "{name:?}");
    }
    assert!(Page::decode(&entry(b"kind", 7, 0)).is_err());
    assert!(Page::decode(&entry(b"time", 0, 1_000_000_000)).is_err());
    let unnamed = page_with(|out| {
        out.map(1)?.u32(1)?.u8(0)?;
        Ok(())
    });
    assert!(Page::decode(&unnamed).is_err());
    let no_such_pack = page_with(|out| {
        out.map(2)?.u32(0)?.bytes(b"n")?.u32(16)?.array(1)?;
        out.array(4)?.bytes(&[0; 32])?.u32(0)?.u32(0)?.u32(1)?;
        Ok(())
    });
    assert!(Page::decode(&no_such_pack).is_err());
    let too_deep = Node { level: LEVELS_MAX + 1, rows: Vec::new() };
    assert!(Node::decode(&too_deep.encode()).is_err());
}

#[test]
fn hostile_counts_allocate_nothing() {
    for what in [0x9b, 0xbb, 0x5b] {
        // an array, map or byte string of 2^62 items
        let huge = [what, 0x40, 0, 0, 0, 0, 0, 0, 0];
        decode_all(&huge);
        let nested = [&[0xa1, 0x00][..], &huge].concat();
        decode_all(&nested);
        assert!(Page::decode(&nested).is_err());
    }
}

const KEY: [u8; 32] = [7; 32];

/// Items of a folder with made-up weights.
fn items(label: &str, count: usize) -> Vec<(Vec<u8>, u64)> {
    (0..count).map(|i| (format!("{label}-{i}").into_bytes(), 90 + (i as u64 * 37) % 400)).collect()
}

/// After which items a page ends.
fn cuts(kind: PageKind, items: &[(Vec<u8>, u64)]) -> Vec<usize> {
    let mut boundary = Boundary::new(&KEY, kind);
    let folder = TreePath::root();
    (0..items.len()).filter(|i| boundary.ends_after(&folder, &items[*i].0, items[*i].1)).collect()
}

#[test]
fn the_same_stretch_is_cut_the_same_whatever_comes_before() {
    let stretch = items("same", 6000);
    let alone: BTreeSet<usize> = cuts(PageKind::Page, &stretch).into_iter().collect();
    for before in [1, 7, 100, 333, 2000] {
        let all = [items("before", before), stretch.clone()].concat();
        let shifted: BTreeSet<usize> = cuts(PageKind::Page, &all)
            .into_iter()
            .filter_map(|at| at.checked_sub(before))
            .collect();
        let first = alone.intersection(&shifted).next().copied().unwrap();
        assert!(first < 3000, "cuts meet early, not at {first}");
        assert!(alone.range(first..).eq(shifted.range(first..)));
    }
}

#[test]
fn pages_keep_their_bounds() {
    for kind in [PageKind::Page, PageKind::Node(1), PageKind::Node(2)] {
        let items = items("item", 60_000);
        let ends = cuts(kind, &items);
        let (mut start, mut weights) = (0, Vec::new());
        for end in &ends {
            weights.push(items[start..=*end].iter().map(|(_, weight)| weight).sum::<u64>());
            start = end + 1;
        }
        assert!(weights.iter().all(|w| (16 << 10..(256 << 10) + 500).contains(w)));
        let average = weights.iter().sum::<u64>() / weights.len() as u64;
        assert!((64 << 10..96 << 10).contains(&average), "{kind:?}: {average}");
    }
    assert_ne!(
        cuts(PageKind::Page, &items("item", 9000)),
        cuts(PageKind::Node(1), &items("item", 9000)),
        "levels are cut at different names"
    );
}

#[test]
fn a_restart_begins_a_page() {
    let (folder, items) = (TreePath::root(), items("item", 3000));
    let mut boundary = Boundary::new(&KEY, PageKind::Page);
    items[..50].iter().for_each(|(name, weight)| {
        boundary.ends_after(&folder, name, *weight);
    });
    boundary.restart();
    let after: Vec<usize> = (0..items.len())
        .filter(|i| boundary.ends_after(&folder, &items[*i].0, items[*i].1))
        .collect();
    assert_eq!(after, cuts(PageKind::Page, &items));
    assert!(boundary.ends_after(&folder, b"one huge item", 256 << 10));
}

proptest! {
    #[test]
    fn the_weight_of_an_entry_follows_its_size(entry in entries()) {
        let mut page = Page::default();
        page.push(&TreePath::root(), entry.clone());
        let stored = page.encode().len() as u64;
        prop_assert!(entry_weight(&entry) >= 80);
        prop_assert!(stored <= 3 * entry_weight(&entry), "{stored} bytes");
    }
}
