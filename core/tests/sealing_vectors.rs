//! The vectors of the independent reference (`integration-tests/reference/sealing.py vectors`):
//! the engine writes the same bytes and opens them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use serde_json::Value;
use strongroom_core::{
    chunker::{ChunkParams, Chunker},
    compress::{Algorithm, Decompressor},
    crypto::{KdfCost, KeyRing, MasterKey, padme},
    format::{
        object::ObjectType,
        pack::{Directory, PackHead, PackOpener, PackSealer, SegmentRow, pack_object_name},
        record,
        slot::{self, KeyFile, RecoveryKey, SlotNote, SlotSecret},
        stream::{StreamOpener, StreamSealer},
    },
    id::{ChunkId, PackId, RepositoryId, SessionId},
    runtime::{Randomness, Timestamp},
};

/// The same byte for ever: the vectors' random source.
#[derive(Debug)]
struct Stuck(u8);

impl Randomness for Stuck {
    fn fill(&self, out: &mut [u8]) {
        out.fill(self.0);
    }
}

const RANDOM: Stuck = Stuck(9);

fn vectors() -> Value {
    let vectors: Value = serde_json::from_str(include_str!("sealing-vectors.json")).unwrap();
    assert_eq!(vectors["random_byte"], RANDOM.0);
    vectors
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn repository(vectors: &Value) -> RepositoryId {
    RepositoryId(array(&vectors["repository"]))
}

fn keys(vectors: &Value) -> KeyRing {
    let master = MasterKey::from_bytes(array(&vectors["master"]));
    KeyRing::new(repository(vectors), vec![(number(&vectors["epoch"]) as u32, master)]).unwrap()
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251) as u8).collect()
}

#[test]
fn keys_agree() {
    let vectors = vectors();
    let ring = keys(&vectors);
    let id = ChunkId(array(&vectors["chunk_id_of_abc"]));
    assert_eq!(ring.chunk_keys().chunk_id(b"abc"), id);
    assert_eq!(*ring.chunk_keys().chunker_key(), array(&vectors["chunker_key"]));
    for pair in list(&vectors["padme"]) {
        assert_eq!(padme(pair[0].as_u64().unwrap()), pair[1].as_u64().unwrap());
    }
}

#[test]
fn streams_agree() {
    let vectors = vectors();
    let ring = keys(&vectors);
    for vector in list(&vectors["streams"]) {
        let name = vector["name"].as_str().unwrap();
        let plain = content(number(&vector["length"]));
        let mut sealer = StreamSealer::new(&ring, ObjectType::Stream, name, &RANDOM).unwrap();
        let mut sealed = Vec::new();
        sealer.push(&plain, &mut sealed).unwrap();
        sealer.finish(&mut sealed).unwrap();
        assert_eq!(sealed[..96], bytes(&vector["header"]), "{name}");
        assert_eq!(*blake3::hash(&sealed).as_bytes(), array(&vector["blake3"]), "{name}");
        if !vector["sealed"].is_null() {
            assert_eq!(sealed, bytes(&vector["sealed"]), "{name}");
        }
        let mut opener = StreamOpener::new(&ring, ObjectType::Stream, name, &sealed).unwrap();
        let mut opened = Vec::new();
        opener.push(&sealed[96..], &mut opened).unwrap();
        opener.finish(&mut opened).unwrap();
        assert!(opened == plain, "{name}");
    }
}

#[test]
fn records_agree() {
    let vectors = vectors();
    let ring = keys(&vectors);
    for vector in list(&vectors["records"]) {
        let name = vector["name"].as_str().unwrap();
        let object_type = match number(&vector["type"]) {
            4 => ObjectType::Commit,
            9 => ObjectType::ReferenceList,
            other => panic!("type {other}"),
        };
        let (content, expected) = (bytes(&vector["content"]), bytes(&vector["sealed"]));
        let sealed = record::seal(&ring, object_type, name, &content, &RANDOM).unwrap();
        assert_eq!(sealed, expected, "{name}");
        assert_eq!(record::open(&ring, object_type, name, &expected).unwrap(), content);
    }
    let big = &vectors["big_record"];
    let (name, plain) = (big["name"].as_str().unwrap(), content(number(&big["length"])));
    let sealed = record::seal(&ring, ObjectType::Commit, name, &plain, &RANDOM).unwrap();
    assert_eq!(sealed.len(), number(&big["size"]));
    assert_eq!(*blake3::hash(&sealed).as_bytes(), array(&big["blake3"]));
}

/// One segment of the vectors: its row without the stored length, and its payload.
fn segment(vector: &Value) -> (SegmentRow, Vec<u8>) {
    let chunk = |pair: &Value| (ChunkId(array(&pair[0])), number(&pair[1]) as u32);
    let chunks: Vec<(ChunkId, u32)> = list(&vector["chunks"]).iter().map(chunk).collect();
    let payload = bytes(&vector["payload"]);
    let row = SegmentRow {
        algorithm: Algorithm::from_code(number(&vector["algorithm"]) as u8).unwrap(),
        plain_len: chunks.iter().map(|(_, length)| length).sum(),
        stored_len: payload.len() as u32 + 16,
        chunks,
    };
    (row, payload)
}

#[test]
fn packs_agree() {
    let vectors = vectors();
    let (ring, pack) = (keys(&vectors), &vectors["pack"]);
    let session = SessionId(array(&vectors["session"]));
    let id = PackId { session, counter: number(&pack["counter"]) as u32 };
    assert_eq!(pack_object_name(id), pack["name"].as_str().unwrap());
    let segments: Vec<(SegmentRow, Vec<u8>)> =
        list(&pack["segments"]).iter().map(segment).collect();

    let sealer = PackSealer::new(&ring, id, &RANDOM);
    let mut directory = Directory::default();
    let mut parts = Vec::new();
    for (index, (row, payload)) in segments.iter().enumerate() {
        let mut sealed = payload.clone();
        let SegmentRow { algorithm, plain_len, ref chunks, .. } = *row;
        sealer.seal_segment(index as u32, chunks, algorithm, plain_len, &mut sealed).unwrap();
        directory.segments.push(row.clone());
        parts.push(Bytes::from(sealed));
    }
    let sealed = sealer.finish(&directory, parts).unwrap();
    let whole = sealed.parts.concat();
    assert_eq!(whole, bytes(&pack["sealed"]));

    let opened = PackOpener::from_head(&ring, id, &whole).unwrap();
    let PackHead::Opened { opener, directory } = opened else { panic!("the whole pack is there") };
    assert_eq!(directory, sealed.directory);
    let mut decompressor = Decompressor::new().unwrap();
    for (index, (row, offset)) in
        directory.segments.iter().zip(directory.segment_offsets()).enumerate()
    {
        let mut payload = whole[offset as usize..][..row.stored_len as usize].to_vec();
        opener.open_segment(index as u32, row, &mut payload).unwrap();
        let plain = decompressor.plain(row.algorithm, &payload, row.plain_len as usize).unwrap();
        let mut rest = plain;
        for (chunk, length) in &row.chunks {
            let (content, after) = rest.split_at(*length as usize);
            assert_eq!(ring.chunk_keys().chunk_id(content), *chunk);
            rest = after;
        }
    }
}

#[test]
fn key_slots_agree() {
    let vectors = vectors();
    let master = || MasterKey::from_bytes(array(&vectors["master"]));
    let vector = &vectors["password_slot"];
    let cost = KdfCost {
        memory_kib: number(&vector["memory_kib"]) as u32,
        passes: number(&vector["passes"]) as u32,
        lanes: number(&vector["lanes"]) as u32,
    };
    let password = SlotSecret::Password(vector["password"].as_str().unwrap().as_bytes());
    let masters = [(8, MasterKey::from_bytes([0; 32])), (3, master())];
    let sealed = slot::seal(repository(&vectors), &password, &cost, &masters, &RANDOM).unwrap();
    assert_eq!(sealed, bytes(&vector["sealed"]));
    let opened = slot::open(repository(&vectors), &password, &sealed).unwrap();
    assert_eq!(opened.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [3, 8]);
    assert_eq!(opened[0].1.as_bytes(), master().as_bytes());

    let vector = &vectors["recovery_slot"];
    let key = RecoveryKey::from_bytes(array(&vector["key"]));
    assert_eq!(*key.to_text(), vector["text"].as_str().unwrap());
    let secret = SlotSecret::Recovery(&key);
    let masters = [(3, master())];
    let sealed = slot::seal(repository(&vectors), &secret, &cost, &masters, &RANDOM).unwrap();
    assert_eq!(sealed, bytes(&vector["sealed"]));
    assert_eq!(slot::open(repository(&vectors), &secret, &sealed).unwrap().len(), 1);
}

#[test]
fn key_files_and_notes_of_slots_agree() {
    let vectors = vectors();
    let vector = &vectors["key_file_slot"];
    let (name, label) = (vector["name"].as_str().unwrap(), vector["label"].as_str().unwrap());
    let created = Timestamp(vector["created"].as_i64().unwrap());
    let note = SlotNote { created, label: label.to_owned() };
    let file = KeyFile::new(bytes(&vector["content"]).into()).unwrap();
    let secret = SlotSecret::KeyFile(&file);
    let (keys, cost) = (keys(&vectors), KdfCost::default());
    let sealed = slot::seal_noted(&keys, name, &secret, &cost, &note, &RANDOM).unwrap();
    assert_eq!(sealed, bytes(&vector["sealed"]));
    assert_eq!(slot::open(repository(&vectors), &secret, &sealed).unwrap().len(), 1);
    assert_eq!(slot::note(&keys, name, &sealed).unwrap(), Some(note));
}

#[test]
fn cuts_agree() {
    let vectors = vectors();
    let vector = &vectors["chunker"];
    let sizes: Vec<u32> = list(&vector["sizes"]).iter().map(|size| number(size) as u32).collect();
    let params = ChunkParams::content_defined(sizes[0], sizes[1], sizes[2]).unwrap();
    let chunker = Chunker::new(keys(&vectors).chunk_keys().chunker_key(), params);
    let mut content = vec![0; number(&vector["content_length"])];
    blake3::Hasher::new()
        .update(vector["content_seed"].as_str().unwrap().as_bytes())
        .finalize_xof()
        .fill(&mut content);
    let mut ends = Vec::new();
    let mut start = 0;
    while let Some(length) = chunker.cut(&content[start..], true) {
        start += length;
        ends.push(start);
    }
    let expected: Vec<usize> = list(&vector["ends"]).iter().map(number).collect();
    assert_eq!(ends, expected);
}
