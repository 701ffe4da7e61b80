//! Key slots: the right secret opens them, a wrong one and damage are told apart.

use super::*;
use crate::format::testing::{Counting, REPOSITORY};

const CHEAP: KdfCost = KdfCost { memory_kib: 8, passes: 1, lanes: 1 };
const PASSWORD: SlotSecret<'_> = SlotSecret::Password(b"correct horse");

fn masters(epochs: &[u32]) -> Vec<(u32, MasterKey)> {
    epochs.iter().map(|epoch| (*epoch, MasterKey::from_bytes([*epoch as u8; 32]))).collect()
}

fn plain(masters: &[(u32, MasterKey)]) -> Vec<(u32, [u8; 32])> {
    masters.iter().map(|(epoch, master)| (*epoch, *master.as_bytes())).collect()
}

fn sealed(secret: &SlotSecret<'_>, epochs: &[u32]) -> Vec<u8> {
    seal(REPOSITORY, secret, &CHEAP, &masters(epochs), &Counting).unwrap()
}

fn open_kind(secret: &SlotSecret<'_>, slot: &[u8]) -> ErrorKind {
    open(REPOSITORY, secret, slot).unwrap_err().kind()
}

/// `slot` with its checksum made right again, as an attacker would.
fn with_checksum(mut slot: Vec<u8>) -> Vec<u8> {
    let body = slot.len() - CHECKSUM_BYTES;
    let sum = checksum(&slot[..body]);
    slot[body..].copy_from_slice(&sum);
    slot
}

#[test]
fn one_or_many_keys_come_back_in_order() {
    let many: Vec<u32> = (0..SLOT_KEYS_MAX as u32).collect();
    for epochs in [&[0][..], &[7, 3, u32::MAX], &many] {
        let slot = sealed(&PASSWORD, epochs);
        let opened = open(REPOSITORY, &PASSWORD, &slot).unwrap();
        let mut sorted = epochs.to_vec();
        sorted.sort_unstable();
        assert_eq!(plain(&opened), plain(&masters(&sorted)));
        let info = inspect(&slot).unwrap();
        assert_eq!((info.keys, info.cost), (epochs.len(), Some(CHEAP)));
        assert_eq!((info.kind, info.repository), (SlotKind::Password, REPOSITORY));
    }
}

#[test]
fn a_recovery_key_opens_its_slot_without_hashing() {
    let key = RecoveryKey::generate(&Counting);
    let other = RecoveryKey::generate(&Counting);
    let slot = sealed(&SlotSecret::Recovery(&key), &[1, 2]);
    let opened = open(REPOSITORY, &SlotSecret::Recovery(&key), &slot).unwrap();
    assert_eq!(plain(&opened), plain(&masters(&[1, 2])));
    assert_eq!(inspect(&slot).unwrap().cost, None);
    assert_eq!(open_kind(&SlotSecret::Recovery(&other), &slot), ErrorKind::WrongKey);
    assert_eq!(open_kind(&PASSWORD, &slot), ErrorKind::WrongKey);
    let password_slot = sealed(&PASSWORD, &[1]);
    assert_eq!(open_kind(&SlotSecret::Recovery(&key), &password_slot), ErrorKind::WrongKey);
}

#[test]
fn a_wrong_password_is_not_damage() {
    let slot = sealed(&PASSWORD, &[0]);
    for wrong in [&b""[..], b"correct hors", b"correct horse ", b"Correct horse"] {
        let error = open(REPOSITORY, &SlotSecret::Password(wrong), &slot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert_eq!(error.to_string(), "wrong password");
    }
}

#[test]
fn a_slot_of_another_repository_is_refused() {
    let slot = sealed(&PASSWORD, &[0]);
    let error = open(RepositoryId([9; 16]), &PASSWORD, &slot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged);
    // Nor does it open after its repository id was rewritten.
    let mut moved = slot;
    moved[20..36].fill(9);
    let error = open(RepositoryId([9; 16]), &PASSWORD, &with_checksum(moved)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongKey);
}

#[test]
fn newer_versions_and_kinds_are_named_as_such() {
    let slot = sealed(&PASSWORD, &[0]);
    for (index, value) in [(4, 2), (5, 4)] {
        let mut newer = slot.clone();
        newer[index] = value;
        let error = inspect(&with_checksum(newer)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("newer than this program"), "{error}");
    }
}

#[test]
fn hostile_heads_are_refused_before_any_hashing() {
    let slot = sealed(&PASSWORD, &[0]);
    let set = |start: usize, bytes: &[u8]| {
        let mut changed = slot.clone();
        changed[start..start + bytes.len()].copy_from_slice(bytes);
        with_checksum(changed)
    };
    for bad in [
        set(8, &u32::MAX.to_le_bytes()),
        set(8, &[0; 4]),
        set(12, &u32::MAX.to_le_bytes()),
        set(12, &[0; 4]),
        set(16, &u32::MAX.to_le_bytes()),
        set(8, &[0, 0, 64, 0, 17, 0, 0, 0]),
        set(6, &[2]),
        set(6, &[1]),
        set(7, &[1]),
        set(0, b"SRKX"),
        with_checksum(slot[..slot.len() - 1].to_vec()),
        with_checksum([&slot[..], &[0; 7]].concat()),
        with_checksum(vec![0; 16]),
        with_checksum(b"SRKS\x01\x01".iter().copied().chain([0; 40]).collect()),
        vec![],
        vec![0; 15],
    ] {
        assert_eq!(open_kind(&PASSWORD, &bad), ErrorKind::Damaged);
    }
}

#[test]
fn an_attacker_who_repairs_the_checksum_gains_nothing() {
    let slot = sealed(&PASSWORD, &[0, 1]);
    let costs = 8..20;
    for byte in (0..slot.len() - CHECKSUM_BYTES).filter(|byte| !costs.contains(byte)) {
        for bit in 0..8 {
            let mut changed = slot.clone();
            changed[byte] ^= 1 << bit;
            assert!(open(REPOSITORY, &PASSWORD, &with_checksum(changed)).is_err(), "{byte}.{bit}");
        }
    }
}

#[test]
fn bad_key_sets_and_costs_are_not_sealed() {
    let too_many: Vec<u32> = (0..=SLOT_KEYS_MAX as u32).collect();
    for epochs in [&[][..], &[1, 1], &too_many] {
        let result = seal(REPOSITORY, &PASSWORD, &CHEAP, &masters(epochs), &Counting);
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let free = KdfCost { memory_kib: 1, passes: 0, lanes: 1 };
    assert!(seal(REPOSITORY, &PASSWORD, &free, &masters(&[0]), &Counting).is_err());
}
