//! What must be refused: every flipped bit, truncation, extension, exchange and wrong key, counted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use strongroom_core::{
    compress::Algorithm,
    crypto::{KdfCost, KeyRing, MasterKey},
    error::{Error, ErrorKind, Result},
    format::{
        object::{HEADER_BYTES, ObjectType},
        pack::{Directory, PackHead, PackOpener, PackSealer, SegmentRow},
        record,
        slot::{self, SlotSecret},
        stream::{FRAME_SEALED_BYTES, StreamLayout, StreamOpener, StreamSealer},
    },
    id::{ChunkId, PackId, RepositoryId, SessionId},
    runtime::Randomness,
};

const REPOSITORY: RepositoryId = RepositoryId([0x77; 16]);
const STREAM: &str = "streams/x";
const RECORD: &str = "snapshots/x";
const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };

/// Never the same bytes twice in one process.
#[derive(Debug)]
struct Counting;

impl Randomness for Counting {
    fn fill(&self, out: &mut [u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(out);
    }
}

fn keys_of(repository: RepositoryId) -> KeyRing {
    KeyRing::new(repository, vec![(0, MasterKey::from_bytes([5; 32]))]).unwrap()
}

fn keys() -> KeyRing {
    keys_of(REPOSITORY)
}

fn pack_id(counter: u32) -> PackId {
    PackId { session: SessionId([0x5e; 16]), counter }
}

fn seal_stream(length: usize) -> Vec<u8> {
    let mut sealer = StreamSealer::new(&keys(), ObjectType::Stream, STREAM, &Counting).unwrap();
    let mut sealed = Vec::new();
    sealer.push(&vec![b'q'; length], &mut sealed).unwrap();
    sealer.finish(&mut sealed).unwrap();
    sealed
}

fn open_stream_as(
    keys: &KeyRing,
    object_type: ObjectType,
    name: &str,
    sealed: &[u8],
) -> Result<Vec<u8>> {
    let mut opener = StreamOpener::new(keys, object_type, name, sealed)?;
    let mut plain = Vec::new();
    opener.push(&sealed[HEADER_BYTES..], &mut plain)?;
    opener.finish(&mut plain)?;
    Ok(plain)
}

fn open_stream(sealed: &[u8]) -> Result<Vec<u8>> {
    open_stream_as(&keys(), ObjectType::Stream, STREAM, sealed)
}

/// Three segments of one or two chunks, in the given order.
fn seal_pack(id: PackId, contents: [&[u8]; 3]) -> Vec<u8> {
    let ring = keys();
    let sealer = PackSealer::new(&ring, id, &Counting);
    let mut directory = Directory::default();
    let mut segments = Vec::new();
    for (number, content) in contents.into_iter().enumerate() {
        let (left, right) = content.split_at(content.len() / 2);
        let chunk = |part: &[u8]| (ring.chunk_keys().chunk_id(part), part.len() as u32);
        let chunks = vec![chunk(left), chunk(right)];
        let (algorithm, plain_len) = (Algorithm::Stored, content.len() as u32);
        let mut payload = content.to_vec();
        sealer.seal_segment(number as u32, &chunks, algorithm, plain_len, &mut payload).unwrap();
        let stored_len = payload.len() as u32;
        directory.segments.push(SegmentRow { algorithm, plain_len, stored_len, chunks });
        segments.push(Bytes::from(payload));
    }
    sealer.finish(&directory, segments).unwrap().parts.concat()
}

/// Opens all of a pack, as verification does.
fn open_pack(keys: &KeyRing, id: PackId, pack: &[u8]) -> Result<Vec<Vec<u8>>> {
    let truncated = || Error::new(ErrorKind::Damaged, "truncated");
    let PackHead::Opened { opener, directory } = PackOpener::from_head(keys, id, pack)? else {
        return Err(truncated());
    };
    if directory.pack_bytes() != pack.len() as u64 {
        return Err(truncated());
    }
    let open = |(number, (row, offset)): (usize, (&SegmentRow, u64))| {
        let mut sealed = pack[offset as usize..][..row.stored_len as usize].to_vec();
        opener.open_segment(number as u32, row, &mut sealed)?;
        Ok(sealed)
    };
    directory.segments.iter().zip(directory.segment_offsets()).enumerate().map(open).collect()
}

/// Counts refusals; one acceptance fails the test.
#[derive(Default)]
struct Tally {
    cases: usize,
}

impl Tally {
    fn refused<T>(&mut self, what: &str, result: Result<T>) -> ErrorKind {
        self.cases += 1;
        match result {
            Ok(_) => panic!("accepted: {what}, case {}", self.cases),
            Err(error) => error.kind(),
        }
    }

    /// Damage is named as damage.
    fn damaged<T>(&mut self, what: &str, result: Result<T>) {
        assert_eq!(self.refused(what, result), ErrorKind::Damaged, "{what}");
    }

    fn every_bit<T>(&mut self, what: &str, bytes: &[u8], open: impl Fn(&[u8]) -> Result<T>) {
        assert!(open(bytes).is_ok(), "{what}");
        let mut changed = bytes.to_vec();
        for bit in 0..bytes.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            self.damaged(what, open(&changed));
            changed[bit / 8] ^= 1 << (bit % 8);
        }
    }

    fn every_truncation<T>(&mut self, what: &str, bytes: &[u8], open: impl Fn(&[u8]) -> Result<T>) {
        for length in 0..bytes.len() {
            self.damaged(what, open(&bytes[..length]));
        }
    }
}

fn streams(tally: &mut Tally) {
    tally.every_bit("stream bit", &seal_stream(500), open_stream);
    let big = seal_stream(200_000);
    let edges = (0..5).flat_map(|frame| {
        let edge = StreamLayout::frame_offset(frame) as i64;
        [-17, -16, -1, 0, 1, 15, 16, 17].map(|beyond| (edge + beyond) as usize)
    });
    for length in (0..400).chain(edges).filter(|length| *length < big.len()) {
        tally.damaged("stream truncated", open_stream(&big[..length]));
    }
    let (header, body) = big.split_at(HEADER_BYTES);
    let frames: Vec<&[u8]> = body.chunks(FRAME_SEALED_BYTES).collect();
    for order in 0..256usize {
        let picked = [order >> 6, order >> 4 & 3, order >> 2 & 3, order & 3];
        if picked != [0, 1, 2, 3] {
            let moved = picked.map(|frame| frames[frame]).concat();
            tally.damaged("frames exchanged", open_stream(&[header, &moved].concat()));
        }
    }
    for count in 0..4 {
        let fewer = [header, &frames[..count].concat()].concat();
        tally.damaged("frames dropped at the end", open_stream(&fewer));
        let without =
            [header, &[&frames[..count], &frames[count + 1..]].concat().concat()].concat();
        tally.damaged("a frame dropped", open_stream(&without));
    }
    for length in [1, 15, 16, 17, FRAME_SEALED_BYTES] {
        let extended = [&big[..], &vec![0; length]].concat();
        tally.damaged("stream extended", open_stream(&extended));
    }
}

fn bindings(tally: &mut Tally) {
    let sealed = seal_stream(500);
    let stream = ObjectType::Stream;
    tally.damaged("other name", open_stream_as(&keys(), stream, "streams/y", &sealed));
    tally.damaged("no name", open_stream_as(&keys(), stream, "", &sealed));
    let others = [
        ObjectType::Pack,
        ObjectType::IndexSegment,
        ObjectType::Commit,
        ObjectType::CollectorHead,
        ObjectType::Session,
        ObjectType::Parity,
        ObjectType::Tombstone,
        ObjectType::ReferenceList,
        ObjectType::Settings,
    ];
    for other in others {
        tally.damaged("other type", open_stream_as(&keys(), other, STREAM, &sealed));
        let mut retyped = sealed.clone();
        retyped[5] = other.code();
        tally.damaged("retyped", open_stream_as(&keys(), other, STREAM, &retyped));
    }
    let foreign = keys_of(RepositoryId([0; 16]));
    tally.damaged("other repository", open_stream_as(&foreign, stream, STREAM, &sealed));
    let other_master = vec![(0, MasterKey::from_bytes([6; 32]))];
    let other_keys = KeyRing::new(REPOSITORY, other_master).unwrap();
    tally.damaged("other master key", open_stream_as(&other_keys, stream, STREAM, &sealed));
    let later = KeyRing::new(REPOSITORY, vec![(1, MasterKey::from_bytes([5; 32]))]).unwrap();
    tally.damaged("other epoch", open_stream_as(&later, stream, STREAM, &sealed));
    let twin = seal_stream(500);
    let spliced = [&sealed[..HEADER_BYTES], &twin[HEADER_BYTES..]].concat();
    tally.damaged("body of another stream", open_stream(&spliced));
}

fn packs(tally: &mut Tally) {
    let contents: [&[u8]; 3] = [b"hello", b"one and two", &[b'z'; 150]];
    let pack = seal_pack(pack_id(0), contents);
    let open = |bytes: &[u8]| open_pack(&keys(), pack_id(0), bytes);
    tally.every_bit("pack bit", &pack, open);
    tally.every_truncation("pack truncated", &pack, open);
    for length in [1, 15, 16, 17, 1000] {
        tally.damaged("pack extended", open(&[&pack[..], &vec![0; length]].concat()));
    }
    tally.damaged("other pack name", open_pack(&keys(), pack_id(1), &pack));
    let foreign = keys_of(RepositoryId([0; 16]));
    tally.damaged("pack of another repository", open_pack(&foreign, pack_id(0), &pack));
    let [first, second, third] = contents;
    let other = seal_pack(pack_id(1), [third, second, first]);
    let twin = seal_pack(pack_id(0), contents);
    for body in [&other, &twin] {
        let spliced = [&pack[..HEADER_BYTES], &body[HEADER_BYTES..]].concat();
        tally.damaged("body of another pack", open(&spliced));
    }
    tally.damaged("pack as stream", open_stream(&pack));
    segments(tally, &pack, &twin);
}

/// Segments in the wrong place, of another pack, or described by another row.
fn segments(tally: &mut Tally, pack: &[u8], twin: &[u8]) {
    let opened = PackOpener::from_head(&keys(), pack_id(0), pack).unwrap();
    let PackHead::Opened { opener, directory } = opened else { panic!("the pack is whole") };
    let offsets: Vec<u64> = directory.segment_offsets().collect();
    let sealed = |pack: &[u8], number: usize| {
        let length = directory.segments[number].stored_len as usize;
        pack[offsets[number] as usize..][..length].to_vec()
    };
    let rows = &directory.segments;
    for number in 0..rows.len() {
        for (other, row) in rows.iter().enumerate().filter(|(other, _)| *other != number) {
            let moved = opener.open_segment(number as u32, row, &mut sealed(pack, other));
            tally.damaged("segment at another number", moved);
            let renamed = opener.open_segment(number as u32, row, &mut sealed(pack, number));
            tally.damaged("segment under another row", renamed);
        }
        let foreign = opener.open_segment(number as u32, &rows[number], &mut sealed(twin, number));
        tally.damaged("segment of a twin pack", foreign);
        let mut row = rows[number].clone();
        row.chunks.push((ChunkId([0; 32]), 0));
        let widened = opener.open_segment(number as u32, &row, &mut sealed(pack, number));
        tally.damaged("segment with a chunk more", widened);
        row.chunks.clear();
        row.algorithm = Algorithm::Zstd;
        let refolded = opener.open_segment(number as u32, &row, &mut sealed(pack, number));
        tally.damaged("segment of another algorithm", refolded);
    }
}

fn slots(tally: &mut Tally) {
    let password = SlotSecret::Password(b"pw");
    let masters = [(0, MasterKey::from_bytes([5; 32]))];
    let sealed = slot::seal(REPOSITORY, &password, &CHEAP, &masters, &Counting).unwrap();
    let open = |bytes: &[u8]| slot::open(REPOSITORY, &password, bytes);
    tally.every_bit("slot bit", &sealed, open);
    tally.every_truncation("slot truncated", &sealed, open);
    for length in [1, 16, 36, 52] {
        tally.damaged("slot extended", open(&[&sealed[..], &vec![0; length]].concat()));
    }
    let elsewhere = slot::open(RepositoryId([0; 16]), &password, &sealed);
    tally.damaged("slot of another repository", elsewhere);
    for wrong in [&b""[..], b"pw2", b"p", b"PW"] {
        let opened = slot::open(REPOSITORY, &SlotSecret::Password(wrong), &sealed);
        assert_eq!(tally.refused("wrong password", opened), ErrorKind::WrongKey);
    }
}

fn records(tally: &mut Tally) {
    for object_type in [ObjectType::Commit, ObjectType::ReferenceList] {
        let sealed = record::seal(&keys(), object_type, RECORD, b"content", &Counting).unwrap();
        let open = |bytes: &[u8]| record::open(&keys(), object_type, RECORD, bytes);
        tally.every_bit("record bit", &sealed, open);
        tally.every_truncation("record truncated", &sealed, open);
        let renamed = record::open(&keys(), object_type, "snapshots/y", &sealed);
        tally.damaged("record renamed", renamed);
    }
}

/// Runs the cases of one kind.
type Group = fn(&mut Tally);

/// What was checked of each kind, and all of it; the first reference had 12,115 cases.
const GROUPS: [(Group, usize); 5] =
    [(streams, 5596), (bindings, 24), (packs, 5806), (slots, 1377), (records, 2306)];
const TOTAL: usize = 15_109;

#[test]
fn everything_that_was_touched_is_refused() {
    let mut total = 0;
    for (run, expected) in GROUPS {
        let mut tally = Tally::default();
        run(&mut tally);
        assert_eq!(tally.cases, expected);
        total += tally.cases;
    }
    assert_eq!(total, TOTAL);
}
