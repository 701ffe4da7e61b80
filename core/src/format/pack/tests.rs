//! Packs and directories: what is sealed comes back, and no hostile directory is believed.

use proptest::prelude::*;

use super::*;
use crate::{
    error::ErrorKind,
    format::testing::{Counting, chunks, content, keys, pack_id},
};

/// A pack of these segments, each a list of chunk lengths, stored as they are.
fn sealed_pack(id: PackId, segments: &[&[u32]]) -> SealedPack {
    let sealer = PackSealer::new(&keys(), id, &Counting);
    let mut directory = Directory::default();
    let mut parts = Vec::new();
    for (number, lengths) in segments.iter().enumerate() {
        let plain_len = lengths.iter().sum();
        let chunks = chunks(lengths);
        let mut payload = content(plain_len as usize);
        sealer
            .seal_segment(number as u32, &chunks, Algorithm::Stored, plain_len, &mut payload)
            .unwrap();
        let stored_len = payload.len() as u32;
        let algorithm = Algorithm::Stored;
        directory.segments.push(SegmentRow { algorithm, plain_len, stored_len, chunks });
        parts.push(Bytes::from(payload));
    }
    sealer.finish(&directory, parts).unwrap()
}

fn opened(head: PackHead) -> (PackOpener, Directory) {
    match head {
        PackHead::Opened { opener, directory } => (opener, directory),
        PackHead::NeedsMore { bytes } => panic!("needs {bytes} bytes"),
    }
}

/// The payloads of all segments, the padding last.
fn open_all(id: PackId, pack: &[u8]) -> Vec<Vec<u8>> {
    let (opener, directory) = opened(PackOpener::from_head(&keys(), id, pack).unwrap());
    assert_eq!(directory.pack_bytes(), pack.len() as u64);
    let offsets = directory.segment_offsets();
    let payload = |(number, (row, offset)): (usize, (&SegmentRow, u64))| {
        let mut sealed = pack[offset as usize..][..row.stored_len as usize].to_vec();
        opener.open_segment(number as u32, row, &mut sealed).unwrap();
        sealed
    };
    directory.segments.iter().zip(offsets).enumerate().map(payload).collect()
}

#[test]
fn a_pack_comes_back_and_its_size_is_a_padme_length() {
    for segments in [&[][..], &[&[5, 7][..], &[300]], &[&[100_000], &[1], &[2, 3, 4]]] {
        let pack = sealed_pack(pack_id(1), segments);
        let whole = pack.parts.concat();
        assert_eq!(pack.size, whole.len() as u64);
        assert_eq!(padme(pack.size), pack.size);
        assert_eq!(pack.blake3, *blake3::hash(&whole).as_bytes());
        let payloads = open_all(pack_id(1), &whole);
        assert_eq!(payloads.len(), segments.len() + 1);
        for (payload, lengths) in payloads.iter().zip(segments) {
            assert_eq!(*payload, content(lengths.iter().sum::<u32>() as usize));
        }
        let (_, directory) = opened(PackOpener::from_head(&keys(), pack_id(1), &whole).unwrap());
        assert_eq!(directory, pack.directory);
        assert_eq!(directory.segments_offset(), pack.parts[0].len() as u64);
    }
}

#[test]
fn the_head_asks_for_exactly_what_it_needs() {
    let pack = sealed_pack(pack_id(0), &[&[10; 500]]);
    let whole = pack.parts.concat();
    let head_bytes = pack.parts[0].len();
    for length in 0..head_bytes {
        let bytes = match PackOpener::from_head(&keys(), pack_id(0), &whole[..length]).unwrap() {
            PackHead::NeedsMore { bytes } => bytes as usize,
            PackHead::Opened { .. } => panic!("opened with {length} bytes"),
        };
        assert_eq!(bytes, if length < PREFIX_BYTES { PREFIX_BYTES } else { head_bytes });
    }
    opened(PackOpener::from_head(&keys(), pack_id(0), &whole[..head_bytes]).unwrap());
}

#[test]
fn epoch_and_salt_open_a_segment_without_the_head() {
    let sealer = PackSealer::new(&keys(), pack_id(9), &Counting);
    let chunks = chunks(&[9]);
    let mut payload = b"some text".to_vec();
    sealer.seal_segment(0, &chunks, Algorithm::Stored, 9, &mut payload).unwrap();
    let row = SegmentRow { algorithm: Algorithm::Stored, plain_len: 9, stored_len: 25, chunks };
    let open = |id, salt: &[u8; 32], row: &SegmentRow| {
        let mut sealed = payload.clone();
        let opener = PackOpener::new(&keys(), id, sealer.epoch(), salt).unwrap();
        opener.open_segment(0, row, &mut sealed).map(|()| sealed)
    };
    assert_eq!(open(pack_id(9), sealer.salt(), &row).unwrap(), b"some text");
    assert!(open(pack_id(8), sealer.salt(), &row).is_err());
    assert!(open(pack_id(9), &[0; 32], &row).is_err());
    let other_chunk = SegmentRow { chunks: testing_chunk(1), ..row.clone() };
    assert!(open(pack_id(9), sealer.salt(), &other_chunk).is_err());
    let zstd = SegmentRow { algorithm: Algorithm::Zstd, ..row };
    assert!(open(pack_id(9), sealer.salt(), &zstd).is_err());
    assert!(PackOpener::new(&keys(), pack_id(9), 77, sealer.salt()).is_err());
}

fn testing_chunk(byte: u8) -> Vec<(ChunkId, u32)> {
    vec![(ChunkId([byte; 32]), 9)]
}

#[test]
fn rows_that_break_a_rule_are_not_sealed() {
    let sealer = PackSealer::new(&keys(), pack_id(3), &Counting);
    let refuse = |chunks: &[(ChunkId, u32)], algorithm, plain_len, stored: usize| {
        let mut payload = vec![0; stored];
        let error = sealer.seal_segment(0, chunks, algorithm, plain_len, &mut payload).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
    };
    refuse(&chunks(&[4]), Algorithm::Stored, 5, 5);
    refuse(&chunks(&[5]), Algorithm::Stored, 5, 4);
    refuse(&chunks(&[5]), Algorithm::Zstd, 5, 5);
    refuse(&chunks(&[5]), Algorithm::Padding, 5, 5);
    refuse(&[], Algorithm::Stored, 0, 0);
    refuse(&chunks(&[u32::MAX, 6]), Algorithm::Stored, 5, 5);
    refuse(&chunks(&[(16 << 20) + 1]), Algorithm::Zstd, (16 << 20) + 1, 9);
    let row = SegmentRow {
        algorithm: Algorithm::Stored,
        plain_len: 5,
        stored_len: 21,
        chunks: chunks(&[5]),
    };
    let directory = Directory { segments: vec![row] };
    assert!(sealer.finish(&directory, vec![]).is_err());
    assert!(sealer.finish(&directory, vec![Bytes::from_static(&[0; 20])]).is_err());
}

fn encoded(algorithm: u8, plain: u32, stored: u32, chunk_count: u32, lens: &[u32]) -> Vec<u8> {
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.push(algorithm);
    for number in [plain, stored, chunk_count] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for len in lens {
        bytes.extend_from_slice(&[7; 32]);
        bytes.extend_from_slice(&len.to_le_bytes());
    }
    bytes
}

#[test]
fn hostile_directories_are_refused() {
    assert!(Directory::decode(&encoded(0, 5, 21, 1, &[5])).is_ok());
    let hostile = [
        vec![],
        vec![0; 3],
        u32::MAX.to_le_bytes().to_vec(),
        vec![255; 100],
        encoded(2, 5, 21, 1, &[5]),
        encoded(0, 5, 20, 1, &[5]),
        encoded(0, 5, 21, 1, &[6]),
        encoded(0, 5, 21, u32::MAX, &[5]),
        encoded(0, 5, 21, 2, &[5]),
        encoded(0, 5, 21, 0, &[]),
        encoded(0, u32::MAX, 15, 1, &[u32::MAX]),
        encoded(0, (16 << 20) + 1, (16 << 20) + 17, 1, &[(16 << 20) + 1]),
        encoded(1, 5, 16, 1, &[5]),
        encoded(1, 5, 21, 1, &[5]),
        encoded(255, 5, 21, 1, &[5]),
        encoded(0, 1, 17, 2, &[u32::MAX, 2]),
        [encoded(0, 5, 21, 1, &[5]), vec![0]].concat(),
    ];
    for bytes in hostile {
        let error = Directory::decode(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{bytes:?}");
    }
}

#[test]
fn a_pack_or_directory_over_the_limit_is_refused() {
    let row = |plain_len: u32| SegmentRow {
        algorithm: Algorithm::Stored,
        plain_len,
        stored_len: plain_len + 16,
        chunks: testing_chunk(1).into_iter().map(|(id, _)| (id, plain_len)).collect(),
    };
    let directory = Directory { segments: vec![row(SEGMENT_PLAIN_BYTES_MAX); 16] };
    assert!(directory.check().unwrap_err().contains("256 MiB"));
    let mut wide = row(470_000);
    wide.chunks = vec![(ChunkId([1; 32]), 1); 470_000];
    assert!(Directory { segments: vec![wide] }.check().unwrap_err().contains("16 MiB"));
}

#[test]
fn a_sealed_directory_without_its_padding_is_refused() {
    let row = SegmentRow::padding(3);
    let whole = Directory { segments: vec![row.clone()] };
    let mut plain = whole.encode();
    plain.resize(whole.padded_bytes(), 0);
    assert_eq!(Directory::decode_padded(&plain).unwrap(), whole);
    let mut dirty = plain.clone();
    if let Some(last) = dirty.last_mut() {
        *last = 1;
    }
    plain.push(0);
    let mut empty = Directory::default().encode();
    empty.resize(Directory::default().padded_bytes(), 0);
    let twice = Directory { segments: vec![row.clone(), row] }.encode();
    for bad in [dirty, plain, empty, twice] {
        assert!(Directory::decode_padded(&bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_directory_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..400)
    ) {
        if let Ok((directory, used)) = Directory::decode_prefix(&bytes) {
            prop_assert_eq!(directory.encode(), &bytes[..used]);
        }
    }

    #[test]
    fn directories_come_back(
        segments in proptest::collection::vec(proptest::collection::vec(1u32..100, 1..20), 0..20)
    ) {
        let segments: Vec<&[u32]> = segments.iter().map(Vec::as_slice).collect();
        let pack = sealed_pack(pack_id(segments.len() as u32), &segments);
        let encoded = pack.directory.encode();
        prop_assert_eq!(encoded.len(), pack.directory.encoded_bytes());
        prop_assert_eq!(Directory::decode(&encoded).unwrap(), pack.directory);
    }
}
