//! Up to as many damaged shards a group as it has parity heal byte for byte; more are refused.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const NAME: &str = "packs/00/0";

fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn parity_of(data: &[u8]) -> Vec<u8> {
    let geometry = Geometry::of(data.len() as u64).unwrap();
    let object = encode(NAME, geometry, &[data]).unwrap();
    assert_eq!(object.len(), geometry.parity_object_bytes());
    object
}

fn parse(object: &[u8]) -> Option<Parity> {
    Parity::parse(NAME, Bytes::copy_from_slice(object))
}

/// Flips a bit in each of these shards.
fn flip(bytes: &mut [u8], geometry: &Geometry, shards: &[usize], draw: usize) {
    for shard in shards {
        let range = geometry.data_range(*shard);
        bytes[range.start + draw % range.len()] ^= 1 << (draw % 8);
    }
}

#[test]
fn sizes_stay_in_proportion() {
    for (data_bytes, shard_bytes, data, parity) in [
        (0, 64, 0, 0),
        (1, 64, 1, 2),
        (4096, 4096, 1, 2),
        (4097, 4096, 2, 2),
        (256 << 10, 4096, 64, 2),
        (1 << 20, 16 << 10, 64, 2),
        (4 << 20, 64 << 10, 64, 2),
        (16 << 20, 64 << 10, 256, 8),
        ((16 << 20) + 1, 64 << 10, 257, 10),
        (64 << 20, 64 << 10, 1024, 32),
    ] {
        let geometry = Geometry::of(data_bytes).unwrap();
        assert_eq!(geometry.shard_bytes(), shard_bytes, "{data_bytes}");
        assert_eq!((geometry.data_shards(), geometry.parity_shards()), (data, parity));
        if data_bytes >= 1 << 20 {
            let share = geometry.parity_object_bytes() as f64 / data_bytes as f64;
            assert!(share < 0.045, "{data_bytes}: {share}");
        }
    }
    assert_eq!(Geometry::of(DATA_BYTES_MAX + 1), None);
    let share = Geometry::of(16 << 20).unwrap().parity_object_bytes() as f64 / (16 << 20) as f64;
    assert!((0.031..0.032).contains(&share), "{share}");
}

#[test]
fn headers_that_ask_for_too_much_are_refused() {
    for (data_bytes, shard_bytes) in
        [(1, 0), (1, 63), (1, 96), (u64::MAX, 65536), (1 << 20, 64), (1, 1 << 17), (65, 64)]
    {
        assert_eq!(Geometry::new(data_bytes, shard_bytes), None, "{data_bytes}, {shard_bytes}");
    }
}

#[test]
fn how_the_object_is_cut_into_pieces_does_not_matter() {
    let data = content(300_000, 1);
    let geometry = Geometry::of(300_000).unwrap();
    let whole = parity_of(&data);
    for size in [1, 1000, 4096, 8192, 100_000] {
        let parts: Vec<&[u8]> = data.chunks(size).collect();
        assert_eq!(encode(NAME, geometry, &parts).unwrap(), whole, "pieces of {size}");
    }
    assert!(encode(NAME, geometry, &[&data[1..]]).is_err());
    assert!(encode(NAME, geometry, &[&data[..], b"x"]).is_err());
}

#[test]
fn a_full_group_heals_eight_shards_and_refuses_nine() {
    let data = content(16 << 20, 2);
    let parity = parse(&parity_of(&data)).unwrap();
    let lost = [0, 1, 17, 99, 100, 101, 200, 255];
    let mut found = data.clone();
    flip(&mut found, parity.geometry(), &lost, 12345);
    assert_eq!(parity.heal(&found).unwrap(), Outcome::Healed { data, shards: 8 });
    flip(&mut found, parity.geometry(), &[50], 1);
    assert_eq!(parity.heal(&found).unwrap(), Outcome::Hopeless { damaged: 9 });
}

#[test]
fn every_bit_of_the_parity_object_may_flip() {
    let data = content(100, 3);
    let whole = parity_of(&data);
    let mut found = data.clone();
    found[50] ^= 1;
    for bit in 0..whole.len() * 8 {
        let mut object = whole.clone();
        object[bit / 8] ^= 1 << (bit % 8);
        let parity = parse(&object).unwrap();
        assert!(!parity.is_whole(), "bit {bit}");
        assert_eq!(parity.heal(&data).unwrap(), Outcome::Intact, "bit {bit}");
        let healed = Outcome::Healed { data: data.clone(), shards: 1 };
        assert_eq!(parity.heal(&found).unwrap(), healed, "bit {bit}");
    }
    assert!(parse(&whole).unwrap().is_whole());
    assert!(Parity::parse("packs/00/1", Bytes::from(whole)).is_none(), "another object's");
}

#[test]
fn a_truncated_parity_object_gives_what_is_left() {
    let data = content(100, 4);
    let whole = parity_of(&data);
    for length in 0..whole.len() {
        let Some(parity) = parse(&whole[..length]) else { continue };
        assert!(!parity.is_whole());
        match parity.heal(b"").unwrap() {
            Outcome::Healed { data: healed, .. } => assert_eq!(healed, data, "{length} bytes"),
            outcome => assert_eq!(outcome, Outcome::Hopeless { damaged: 1 }, "{length} bytes"),
        }
    }
    let longer = [&whole[..], b"x"].concat();
    assert!(!parse(&longer).unwrap().is_whole());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn as_many_shards_as_there_is_parity_heal_and_one_more_does_not(
        length in 1usize..1_400_000,
        seed in any::<u64>(),
        draw in any::<usize>(),
        choice in any::<u64>(),
    ) {
        let data = content(length, seed);
        let parity = parse(&parity_of(&data)).unwrap();
        prop_assert_eq!(parity.heal(&data).unwrap(), Outcome::Intact);
        let shards = parity.geometry().data_shards();
        let room = parity.geometry().parity_shards();
        let mut order: Vec<usize> = (0..shards).collect();
        order.sort_by_key(|shard| sum(&(*shard as u64 ^ choice).to_le_bytes()));
        let most = room.min(shards);
        let mut found = data.clone();
        flip(&mut found, parity.geometry(), &order[..most], draw);
        let healed = Outcome::Healed { data, shards: most };
        prop_assert_eq!(parity.heal(&found).unwrap(), healed);
        if let Some(one_more) = order.get(room) {
            flip(&mut found, parity.geometry(), &[*one_more], draw);
            let hopeless = Outcome::Hopeless { damaged: room + 1 };
            prop_assert_eq!(parity.heal(&found).unwrap(), hopeless);
        }
    }

    #[test]
    fn truncated_and_extended_objects_heal_while_there_is_parity(
        length in 1usize..400_000,
        cut in 0usize..9_000,
        more in 0usize..9_000,
    ) {
        let data = content(length, 9);
        let parity = parse(&parity_of(&data)).unwrap();
        let longer = [&data[..], &content(more, 10)].concat();
        let expected = match more {
            0 => Outcome::Intact,
            _ => Outcome::Healed { data: data.clone(), shards: 0 },
        };
        prop_assert_eq!(parity.heal(&longer).unwrap(), expected);
        let kept = length.saturating_sub(cut);
        let lost = parity.geometry().data_shards() - kept / parity.geometry().shard_bytes();
        let outcome = parity.heal(&data[..kept]).unwrap();
        match (kept < length, lost <= parity.geometry().parity_shards()) {
            (false, _) => prop_assert_eq!(outcome, Outcome::Intact),
            (true, true) => prop_assert_eq!(outcome, Outcome::Healed { data, shards: lost }),
            (true, false) => prop_assert_eq!(outcome, Outcome::Hopeless { damaged: lost }),
        }
    }

    #[test]
    fn junk_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(parse(&bytes).is_none());
    }
}
