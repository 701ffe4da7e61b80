//! Records: content comes back, sizes fall into classes, broken insides are refused.

use proptest::prelude::*;

use super::*;
use crate::{
    error::ErrorKind,
    format::testing::{Counting, content, keys, keys_of},
    id::RepositoryId,
};

const NAME: &str = "snapshots/x";

fn sealed(content: &[u8]) -> Vec<u8> {
    seal(&keys(), ObjectType::Commit, NAME, content, &Counting).unwrap()
}

/// A record whose plaintext is `plain`, whatever that means.
fn raw(plain: &[u8]) -> Vec<u8> {
    let mut sealer = StreamSealer::new(&keys(), ObjectType::Commit, NAME, &Counting).unwrap();
    let mut out = Vec::new();
    sealer.push(plain, &mut out).unwrap();
    sealer.finish(&mut out).unwrap();
    out
}

#[test]
fn sizes_are_padme_lengths_or_the_next_a_stream_has() {
    for length in (0..3000).chain((60_000..70_000).step_by(13)).chain([131_072, 1 << 20]) {
        let layout = padded_layout(length);
        let unpadded = StreamLayout::of_plain((LENGTH_BYTES + length) as u64).sealed_bytes();
        assert!(layout.plain_bytes() as usize >= LENGTH_BYTES + length);
        let beyond = layout.sealed_bytes() - padme(unpadded);
        assert!(beyond <= TAG_BYTES as u64, "{length}");
    }
    let sizes: std::collections::BTreeSet<usize> =
        (0..4000).map(|length| sealed(&content(length)).len()).collect();
    assert!(sizes.len() < 100, "{} sizes", sizes.len());
}

#[test]
fn broken_insides_are_refused() {
    let with_length = |length: u64, rest: &[u8]| raw(&[&length.to_le_bytes(), rest].concat());
    for bad in [
        raw(&[]),
        raw(&[0; 7]),
        with_length(1, &[]),
        with_length(u64::MAX, b"abc"),
        with_length(u64::MAX - 7, b"abc"),
        with_length(1 << 40, b"abc"),
        with_length(2, b"abc"),
        with_length(2, b"ab\0\0\x01"),
    ] {
        let error = open(&keys(), ObjectType::Commit, NAME, &bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert_eq!(error.object(), Some(NAME));
    }
    let good = with_length(2, b"ab\0\0\0");
    assert_eq!(open(&keys(), ObjectType::Commit, NAME, &good).unwrap(), b"ab");
}

#[test]
fn old_epochs_open_and_new_objects_take_the_newest() {
    let repository = RepositoryId([1; 16]);
    let seal_with = |epochs: &[u32]| {
        let ring = keys_of(repository, epochs);
        seal(&ring, ObjectType::Session, NAME, b"content", &Counting).unwrap()
    };
    let open_with = |epochs: &[u32], sealed: &[u8]| {
        open(&keys_of(repository, epochs), ObjectType::Session, NAME, sealed)
    };
    let (old, new) = (seal_with(&[0]), seal_with(&[0, 5]));
    assert_eq!(open_with(&[0, 5], &old).unwrap(), b"content");
    assert_eq!(open_with(&[5], &new).unwrap(), b"content");
    let error = open_with(&[0], &new).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    assert!(error.to_string().contains("key epoch 5"), "{error}");
}

#[test]
fn a_reference_list_is_sealed_under_another_key() {
    let salt = [3; 32];
    let of = |object_type| seal_with_salt(&keys(), object_type, NAME, b"", &salt).unwrap();
    let list = of(ObjectType::ReferenceList);
    assert_eq!(open(&keys(), ObjectType::ReferenceList, NAME, &list).unwrap(), b"");
    let ring = keys();
    let repository = ring.repository();
    let derive = |parent: &[u8; 32]| {
        let info: [&[u8]; 7] = [
            b"strongroom/1 object",
            repository.as_bytes(),
            &[1, ObjectType::ReferenceList.code(), 1, 0],
            &0u32.to_le_bytes(),
            &(NAME.len() as u16).to_le_bytes(),
            NAME.as_bytes(),
            &salt,
        ];
        *crate::crypto::expand::<76>(parent, &info)
    };
    let commitment = &list[48..80];
    assert_eq!(derive(ring.current().index_key())[44..], *commitment);
    assert_ne!(derive(ring.current().object_key())[44..], *commitment);
}

proptest! {
    #[test]
    fn any_content_comes_back(content in proptest::collection::vec(any::<u8>(), 0..70_000)) {
        let opened = open(&keys(), ObjectType::Commit, NAME, &sealed(&content)).unwrap();
        prop_assert!(opened == content);
    }
}
