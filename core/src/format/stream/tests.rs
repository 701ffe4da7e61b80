//! Streams: every length comes back, however it is pushed; whatever is not whole is refused.

use proptest::prelude::*;

use super::*;
use crate::format::testing::{Counting, content, keys};

const NAME: &str = "streams/x";

fn seal(plain: &[u8], piece_bytes: usize) -> Vec<u8> {
    let mut sealer =
        StreamSealer::new(&keys(), ObjectType::Stream, NAME, &Counting).expect("a sealer");
    let mut sealed = Vec::new();
    for piece in plain.chunks(piece_bytes.max(1)) {
        sealer.push(piece, &mut sealed).unwrap();
    }
    sealer.finish(&mut sealed).unwrap();
    sealed
}

fn open(sealed: &[u8], piece_bytes: usize) -> Result<Vec<u8>> {
    let mut opener = StreamOpener::new(&keys(), ObjectType::Stream, NAME, sealed)?;
    let mut plain = Vec::new();
    for piece in sealed[HEADER_BYTES..].chunks(piece_bytes.max(1)) {
        opener.push(piece, &mut plain)?;
    }
    opener.finish(&mut plain)?;
    Ok(plain)
}

#[test]
fn every_length_around_a_frame_comes_back() {
    for length in [0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 300_000] {
        let plain = content(length);
        let sealed = seal(&plain, 10_007);
        let layout = StreamLayout::of_plain(length as u64);
        assert_eq!(layout.sealed_bytes(), sealed.len() as u64, "{length}");
        assert_eq!(StreamLayout::of_sealed(sealed.len() as u64), Some(layout), "{length}");
        assert!(open(&sealed, 9_973).unwrap() == plain, "{length}");
    }
}

#[test]
fn frames_open_in_any_order() {
    let plain = content(200_000);
    let sealed = seal(&plain, 1 << 20);
    let opener = StreamOpener::new(&keys(), ObjectType::Stream, NAME, &sealed).unwrap();
    let frames = StreamLayout::of_sealed(sealed.len() as u64).unwrap().frames();
    assert_eq!(frames, 4);
    for index in (0..frames).rev() {
        let start = StreamLayout::frame_offset(index) as usize;
        let end = sealed.len().min(start + FRAME_SEALED_BYTES);
        let mut frame = sealed[start..end].to_vec();
        let opened = opener.open_frame(index, &mut frame, index + 1 == frames).unwrap();
        let plain_start = index as usize * FRAME_PLAIN_BYTES;
        assert!(*opened == plain[plain_start..plain_start + opened.len()], "{index}");
        let mut moved = sealed[start..end].to_vec();
        assert!(opener.open_frame(index ^ 1, &mut moved, index + 1 == frames).is_err());
    }
}

#[test]
fn a_frame_of_the_wrong_length_is_refused_whatever_its_bytes() {
    let sealed = seal(&content(70_000), 1 << 20);
    let opener = StreamOpener::new(&keys(), ObjectType::Stream, NAME, &sealed).unwrap();
    for length in [0, 15, 16, FRAME_SEALED_BYTES - 1, FRAME_SEALED_BYTES, FRAME_SEALED_BYTES + 1] {
        for is_last in [false, true] {
            let error = opener.open_frame(1, &mut vec![0; length], is_last).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
        }
    }
    assert!(opener.open_frame(FRAMES_MAX, &mut [0; 20], true).is_err());
}

#[test]
fn nothing_follows_a_failed_frame() {
    let mut sealed = seal(&content(200_000), 1 << 20);
    sealed[HEADER_BYTES + FRAME_SEALED_BYTES + 5] ^= 1;
    let mut opener = StreamOpener::new(&keys(), ObjectType::Stream, NAME, &sealed).unwrap();
    let mut plain = Vec::new();
    assert!(opener.push(&sealed[HEADER_BYTES..], &mut plain).is_err());
    assert_eq!(plain.len(), FRAME_PLAIN_BYTES, "only the authenticated frame came out");
    assert!(opener.push(&[], &mut plain).is_err());
    assert!(opener.finish(&mut plain).is_err());
    assert_eq!(plain.len(), FRAME_PLAIN_BYTES);
}

#[test]
fn sizes_inside_a_header_or_a_tag_are_no_streams() {
    for sealed_bytes in [0, 95, 96, 111, 96 + 65_552, 96 + 65_552 + 15] {
        assert_eq!(StreamLayout::of_sealed(sealed_bytes), None, "{sealed_bytes}");
    }
    assert_eq!(StreamLayout::of_sealed(112).unwrap().plain_bytes(), 0);
    assert!(StreamLayout::of_sealed(u64::MAX).is_some_and(|layout| layout.frames() > 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_content_in_any_pieces_comes_back(
        plain in proptest::collection::vec(any::<u8>(), 0..200_000),
        pushed in 1usize..100_000,
        pulled in 1usize..100_000,
    ) {
        prop_assert!(open(&seal(&plain, pushed), pulled).unwrap() == plain);
    }
}
