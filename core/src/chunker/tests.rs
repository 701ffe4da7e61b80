//! Chunking: chunks tile the content within bounds, edits move few of them, keys decide where.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const KEY: [u8; 32] = [7; 32];

fn small() -> ChunkParams {
    ChunkParams::content_defined(1024, 4096, 16_384).unwrap()
}

fn random(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

fn chunks<'a>(chunker: &Chunker, mut data: &'a [u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    while let Some(length) = chunker.cut(data, true) {
        let (chunk, rest) = data.split_at(length);
        chunks.push(chunk);
        data = rest;
    }
    assert!(data.is_empty());
    chunks
}

/// The rule of the format, written down as simply as it can be.
fn naive_cut(chunker: &Chunker, data: &[u8]) -> usize {
    let params = chunker.params();
    let end = data.len().min(params.max_bytes());
    let bits = params.average.ilog2();
    let is_cut = |position: &usize| {
        let window = &data[*position - 64..*position];
        let hash =
            window.iter().fold(0u64, |hash, byte| (hash << 1).wrapping_add(chunker.gear.of(*byte)));
        let zeros = if *position < params.average_bytes() { bits + 2 } else { bits - 2 };
        hash.leading_zeros() >= zeros
    };
    (params.min_bytes()..end).find(is_cut).unwrap_or(end)
}

#[test]
fn cuts_follow_the_written_rule() {
    for (min, average, max) in [(64, 256, 1024), (1000, 5000, 20_000), (20_000, 60_000, 200_000)] {
        let params = ChunkParams::content_defined(min, average, max).unwrap();
        let chunker = Chunker::new(&KEY, params);
        let mut data = &random(1, 1 << 20)[..];
        while let Some(length) = chunker.cut(data, true) {
            assert_eq!(length, naive_cut(&chunker, data));
            data = &data[length..];
        }
    }
}

#[test]
fn more_data_is_asked_for_until_the_cut_is_certain() {
    let chunker = Chunker::new(&KEY, small());
    let data = random(2, 16_384);
    assert_eq!(chunker.cut(&data[..16_383], false), None);
    let length = chunker.cut(&data, false).unwrap();
    assert_eq!(chunker.cut(&data, true), Some(length));
    assert_eq!(chunker.cut(&[], true), None);
    assert_eq!(chunker.cut(&[], false), None);
    assert_eq!(chunker.cut(&data[..1024], true), Some(1024));
    assert_eq!(chunker.cut(&data[..1], true), Some(1));
}

#[test]
fn an_insertion_changes_the_chunks_around_it_only() {
    let chunker = Chunker::new(&KEY, small());
    let before = random(3, 4 << 20);
    let mut after = before[..1 << 20].to_vec();
    after.extend_from_slice(b"inserted");
    after.extend_from_slice(&before[1 << 20..]);
    let known: HashSet<&[u8]> = chunks(&chunker, &before).into_iter().collect();
    let new = chunks(&chunker, &after).iter().filter(|chunk| !known.contains(*chunk)).count();
    assert!(new <= 6, "{new} new chunks of {}", known.len());
}

#[test]
fn another_key_cuts_elsewhere() {
    let data = random(4, 1 << 20);
    let ends = |key: &[u8; 32]| -> HashSet<usize> {
        let chunker = Chunker::new(key, small());
        let lengths = chunks(&chunker, &data).into_iter().map(<[u8]>::len);
        lengths
            .scan(0, |end, length| {
                *end += length;
                Some(*end)
            })
            .collect()
    };
    let shared = ends(&KEY).intersection(&ends(&[8; 32])).count();
    assert!(shared <= 5, "{shared} shared cuts");
}

#[test]
fn sizes_come_near_the_average_and_constant_content_is_bounded() {
    let chunker = Chunker::new(&KEY, small());
    let data = random(5, 8 << 20);
    let average = data.len() / chunks(&chunker, &data).len();
    assert!((4096 * 3 / 4..4096 * 3 / 2).contains(&average), "{average}");
    for byte in 0..=255 {
        let constant = vec![byte; 200_000];
        let lengths: HashSet<usize> =
            chunks(&chunker, &constant[..16_384 * 6]).iter().map(|chunk| chunk.len()).collect();
        assert!(lengths.iter().all(|length| [1024, 4096, 16_384].contains(length)), "{lengths:?}");
    }
}

#[test]
fn fixed_chunks_have_one_size() {
    let chunker = Chunker::new(&KEY, ChunkParams::fixed(4096).unwrap());
    let data = random(6, 10_000);
    let lengths: Vec<usize> = chunks(&chunker, &data).iter().map(|chunk| chunk.len()).collect();
    assert_eq!(lengths, [4096, 4096, 1808]);
    assert_eq!(chunker.cut(&data[..4095], false), None);
    assert_eq!(chunker.cut(&data[..4096], false), Some(4096));
}

#[test]
fn sizes_out_of_order_are_refused() {
    for (min, average, max) in [
        (63, 512, 1024),
        (1024, 512, 2048),
        (64, 4096, 2048),
        (64, 128, 1024),
        (64, 4096, (16 << 20) + 1),
        (0, 0, 0),
        (u32::MAX, u32::MAX, u32::MAX),
    ] {
        let error = ChunkParams::content_defined(min, average, max).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(ChunkParams::content_defined(64, 256, 256).is_ok());
    assert!(ChunkParams::content_defined(16 << 20, 16 << 20, 16 << 20).is_ok());
    assert!(ChunkParams::fixed(63).is_err() && ChunkParams::fixed((16 << 20) + 1).is_err());
    let defaults = ChunkParams::default();
    let (min, average, max) = (defaults.min, defaults.average, defaults.max);
    assert_eq!(ChunkParams::content_defined(min, average, max).unwrap(), defaults);
}

#[test]
fn nothing_prints_the_table() {
    let chunker = Chunker::new(&KEY, small());
    assert!(format!("{chunker:?}").len() < 120);
}

proptest! {
    #[test]
    fn chunks_tile_within_bounds_and_do_not_depend_on_the_buffer(
        seed: u8,
        length in 0usize..200_000,
        min in 64u32..3000,
        average in 256u32..6000,
        buffered in 0usize..30_000,
    ) {
        let average = average.max(min);
        let params = ChunkParams::content_defined(min, average, average * 4).unwrap();
        let chunker = Chunker::new(&KEY, params);
        let data = random(seed, length);
        let whole = chunks(&chunker, &data);
        let (last, others) = whole.split_last().map_or((0, &[][..]), |(l, o)| (l.len(), o));
        prop_assert!(others.iter().all(|chunk| chunk.len() >= params.min_bytes()));
        prop_assert!(whole.iter().all(|chunk| chunk.len() <= params.max_bytes()));
        prop_assert_eq!(others.iter().map(|chunk| chunk.len()).sum::<usize>() + last, length);

        let mut start = 0;
        for chunk in &whole {
            let end = length.min(start + params.max_bytes() + buffered);
            prop_assert_eq!(chunker.cut(&data[start..end], end == length), Some(chunk.len()));
            start += chunk.len();
        }
    }
}
