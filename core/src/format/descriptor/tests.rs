//! The descriptor: newer, damaged and foreign repositories are told apart.

use super::*;
use crate::format::testing::{Counting, REPOSITORY, keys, keys_of};

fn settings() -> Settings {
    Settings {
        chunking: ChunkParams::content_defined(1 << 16, 1 << 18, 1 << 20).unwrap(),
        pack_target_bytes: 16 << 20,
        compression: Compression::level(7).unwrap(),
        created: Timestamp(-5),
        label: Some("büro".to_owned()),
        has_parity: true,
    }
}

fn sealed(settings: &Settings) -> Vec<u8> {
    seal(&keys(), settings, &Counting).unwrap()
}

/// A descriptor whose settings are `stored`, whatever they say.
fn with_stored(stored: &StoredSettings) -> Vec<u8> {
    let content = minicbor::to_vec(stored).unwrap();
    let mut object = encode_head(FORMAT_VERSION, READER_VERSION_MIN, REPOSITORY);
    let name = DESCRIPTOR_NAME;
    object.extend(record::seal(&keys(), ObjectType::Settings, name, &content, &Counting).unwrap());
    object
}

#[test]
fn settings_come_back() {
    let fixed = Settings { chunking: ChunkParams::fixed(4096).unwrap(), ..settings() };
    for settings in [settings(), fixed, Settings::new(Timestamp(1 << 60))] {
        let object = sealed(&settings);
        let head = decode_head(&object).unwrap();
        assert_eq!((head.format_version, head.repository), (1, REPOSITORY));
        assert_eq!(open_settings(&keys(), &object).unwrap(), settings);
    }
}

#[test]
fn a_newer_repository_is_named_as_such_without_keys() {
    let newer = encode_head(7, 2, REPOSITORY);
    let error = decode_head(&newer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("repository format 7 is newer than this program"));
    assert_eq!(decode_head(&encode_head(7, 1, REPOSITORY)).unwrap().format_version, 7);
}

#[test]
fn every_bit_and_every_truncation_is_noticed() {
    let object = sealed(&settings());
    for bit in 0..object.len() * 8 {
        let mut damaged = object.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = open_settings(&keys(), &damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "bit {bit}");
    }
    for length in 0..object.len() {
        let error = open_settings(&keys(), &object[..length]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{length} bytes");
    }
}

#[test]
fn a_rewritten_head_does_not_fit_the_settings() {
    let object = sealed(&settings());
    let sealed_part = &object[DESCRIPTOR_HEAD_BYTES..];
    let other_id = RepositoryId([1; 16]);
    for head in [encode_head(2, 1, REPOSITORY), encode_head(1, 0, REPOSITORY)] {
        let error = open_settings(&keys(), &[&head, sealed_part].concat()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
    let moved = [&encode_head(1, 1, other_id), sealed_part].concat();
    assert!(open_settings(&keys(), &moved).is_err());
    assert!(open_settings(&keys_of(other_id, &[0]), &moved).is_err());
}

#[test]
fn without_parity_the_settings_say_nothing_of_it() {
    let plain = Settings { has_parity: false, ..settings() };
    let map = minicbor::to_vec(StoredSettings::new(&plain)).unwrap();
    assert_eq!(map[0], 0xa0 | 10);
    assert_eq!(open_settings(&keys(), &sealed(&plain)).unwrap(), plain);
}

#[test]
fn unknown_keys_are_skipped_and_unknown_choices_named() {
    let stored = || StoredSettings::new(&settings());
    let mut map = minicbor::to_vec(stored()).unwrap();
    // One more entry in the map: key 99, a text.
    assert_eq!(map[0], 0xa0 | 11);
    map[0] += 1;
    map.extend_from_slice(&[0x18, 99, 0x61, b'x']);
    let mut object = encode_head(FORMAT_VERSION, READER_VERSION_MIN, REPOSITORY);
    let name = DESCRIPTOR_NAME;
    object.extend(record::seal(&keys(), ObjectType::Settings, name, &map, &Counting).unwrap());
    assert_eq!(open_settings(&keys(), &object).unwrap(), settings());
    for stored in
        [StoredSettings { chunker: 9, ..stored() }, StoredSettings { compression: 20, ..stored() }]
    {
        let error = open_settings(&keys(), &with_stored(&stored)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn settings_out_of_bounds_are_refused_both_ways() {
    let stored = || StoredSettings::new(&settings());
    for stored in [
        StoredSettings { chunk_min: 0, ..stored() },
        StoredSettings { chunk_max: u32::MAX, ..stored() },
        StoredSettings { pack_target_bytes: 0, ..stored() },
        StoredSettings { label: Some("x".repeat(1025)), ..stored() },
    ] {
        assert!(open_settings(&keys(), &with_stored(&stored)).is_err());
    }
    let huge = Settings { pack_target_bytes: u32::MAX, ..settings() };
    assert_eq!(seal(&keys(), &huge, &Counting).unwrap_err().kind(), ErrorKind::Invalid);
}
