//! Compression: content comes back, is never blown up, and no payload unfolds beyond its length.

use proptest::prelude::*;

use super::*;

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"random").finalize_xof().fill(&mut bytes);
    bytes
}

fn text(length: usize) -> Vec<u8> {
    let words = (0u32..).flat_map(|number| format!("line {} of many\n", number % 977).into_bytes());
    words.take(length).collect()
}

fn strengths() -> Vec<Compression> {
    let levels = [1, 3, 9].map(|level| Compression::level(level).unwrap());
    [Compression::OFF, Compression::FAST].into_iter().chain(levels).collect()
}

#[test]
fn content_of_every_kind_and_length_comes_back() {
    let mut decompressor = Decompressor::new().unwrap();
    let (mut payload, mut plain) = (Vec::new(), Vec::new());
    for compression in strengths() {
        let mut compressor = Compressor::new(compression).unwrap();
        for length in [0, 1, 100, 65_536, 65_537, 300_000] {
            for content in [random(length), text(length), vec![0; length]] {
                let algorithm = compressor.compress(&content, &mut payload);
                assert!(payload.len() <= content.len());
                assert!(payload.capacity() >= payload.len() + TAG_BYTES, "no room for the tag");
                decompressor.decompress(algorithm, &payload, length, &mut plain).unwrap();
                assert!(plain == content);
                let borrowed = decompressor.plain(algorithm, &payload, length).unwrap();
                assert!(borrowed == content);
            }
        }
    }
}

#[test]
fn what_does_not_pay_is_stored() {
    let mut compressor = Compressor::new(Compression::default()).unwrap();
    let mut payload = Vec::new();
    for length in [0, 10, 5_000, 1 << 20] {
        assert_eq!(compressor.compress(&random(length), &mut payload), Algorithm::Stored);
    }
    for length in [1_000, 65_536, 65_537, 1 << 20] {
        assert_eq!(compressor.compress(&text(length), &mut payload), Algorithm::Zstd);
        assert!(payload.len() < length / 4);
    }
    let mut off = Compressor::new(Compression::OFF).unwrap();
    assert_eq!(off.compress(&text(100_000), &mut payload), Algorithm::Stored);
}

#[test]
fn a_sample_looks_at_more_than_one_place() {
    // A photograph between two texts, as in a segment of small files.
    let content = [text(400_000), random(200_000), text(400_000)].concat();
    let mut compressor = Compressor::new(Compression::default()).unwrap();
    assert_eq!(compressor.compress(&content, &mut Vec::new()), Algorithm::Zstd);
}

#[test]
fn a_wrong_length_is_damage_and_allocates_no_more() {
    let mut compressor = Compressor::new(Compression::default()).unwrap();
    let mut decompressor = Decompressor::new().unwrap();
    let bomb_bytes = 16 << 20;
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    assert_eq!(compressor.compress(&vec![0; bomb_bytes], &mut payload), Algorithm::Zstd);
    for plain_bytes in [0, 1, 1000, bomb_bytes - 1, bomb_bytes + 1] {
        let error =
            decompressor.decompress(Algorithm::Zstd, &payload, plain_bytes, &mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{plain_bytes}");
        assert!(out.capacity() <= bomb_bytes + 1);
        if plain_bytes <= 1000 {
            assert!(out.capacity() <= 1024, "{} bytes for a bomb", out.capacity());
        }
    }
    let two_frames = [&payload[..], &payload].concat();
    let twice = decompressor.decompress(Algorithm::Zstd, &two_frames, bomb_bytes, &mut out);
    assert_eq!(twice.unwrap_err().kind(), ErrorKind::Damaged);
    for algorithm in [Algorithm::Stored, Algorithm::Padding] {
        assert!(decompressor.plain(algorithm, b"abc", 2).is_err());
        assert_eq!(decompressor.plain(algorithm, b"abc", 3).unwrap(), b"abc");
    }
}

#[test]
fn strengths_have_text_and_code() {
    for compression in strengths() {
        assert_eq!(compression.to_string().parse::<Compression>().unwrap(), compression);
        assert_eq!(Compression::from_code(compression.code()), Some(compression));
    }
    for bad in ["", "0", "20", "-1", "Off", "3.5", "999"] {
        assert_eq!(bad.parse::<Compression>().unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(Compression::from_code(20), None);
    assert_eq!(Compression::from_code(-2), None);
    for algorithm in [Algorithm::Stored, Algorithm::Zstd, Algorithm::Padding] {
        assert_eq!(Algorithm::from_code(algorithm.code()), Some(algorithm));
    }
    assert_eq!(Algorithm::from_code(2), None);
}

proptest! {
    #[test]
    fn any_payload_is_content_or_refused(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        plain_bytes in 0usize..5000,
    ) {
        let mut decompressor = Decompressor::new().unwrap();
        let magic = [&[0x28, 0xb5, 0x2f, 0xfd][..], &payload].concat();
        for payload in [&payload, &magic] {
            if let Ok(plain) = decompressor.plain(Algorithm::Zstd, payload, plain_bytes) {
                prop_assert_eq!(plain.len(), plain_bytes);
            }
        }
    }
}
