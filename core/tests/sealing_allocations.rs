//! Hostile lengths cost no memory: no allocation is larger than what the input justifies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use strongroom_core::{
    compress::{Algorithm, Compression, Compressor, Decompressor},
    crypto::{KeyRing, MasterKey},
    format::{
        descriptor,
        object::ObjectType,
        pack::{Directory, PackHead, PackOpener},
        record, slot,
        slot::SlotSecret,
        stream::{StreamOpener, StreamSealer},
    },
    id::{PackId, RepositoryId, SessionId},
    runtime::Randomness,
};

/// The system's allocator, with a note of the largest request.
struct Watched;

static LARGEST_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST_BYTES.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// The largest allocation while `work` ran.
fn largest_bytes(work: impl FnOnce()) -> usize {
    LARGEST_BYTES.store(0, Ordering::Relaxed);
    work();
    LARGEST_BYTES.load(Ordering::Relaxed)
}

#[derive(Debug)]
struct Fixed;

impl Randomness for Fixed {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0x42);
    }
}

const REPOSITORY: RepositoryId = RepositoryId([0x77; 16]);
const PACK: PackId = PackId { session: SessionId([1; 16]), counter: 0 };

fn keys() -> KeyRing {
    KeyRing::new(REPOSITORY, vec![(0, MasterKey::from_bytes([5; 32]))]).unwrap()
}

fn directories() {
    for fill in [0x00, 0x01, 0x7f, 0xff] {
        for length in [4, 17, 100, 4096] {
            let mut bytes = vec![fill; length];
            let _ = Directory::decode(&bytes);
            bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(Directory::decode(&bytes).is_err());
            bytes[..4].copy_from_slice(&1u32.to_le_bytes());
            let _ = Directory::decode(&bytes);
        }
    }
}

/// A pack's true header with a directory said to be as long as a number can be.
fn heads() {
    let ring = keys();
    let sealer = strongroom_core::format::pack::PackSealer::new(&ring, PACK, &Fixed);
    let pack = sealer.finish(&Directory::default(), Vec::new()).unwrap();
    let mut head = pack.parts[0].to_vec();
    head[96..100].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(PackOpener::from_head(&ring, PACK, &head).is_err());
    head[96..100].copy_from_slice(&(1u32 << 24).to_le_bytes());
    let answer = PackOpener::from_head(&ring, PACK, &head).unwrap();
    assert!(matches!(answer, PackHead::NeedsMore { .. }));
}

fn records() {
    let mut sealer = StreamSealer::new(&keys(), ObjectType::Commit, "snapshots/x", &Fixed).unwrap();
    let mut sealed = Vec::new();
    sealer.push(&(1u64 << 40).to_le_bytes(), &mut sealed).unwrap();
    sealer.finish(&mut sealed).unwrap();
    assert!(record::open(&keys(), ObjectType::Commit, "snapshots/x", &sealed).is_err());
    assert!(StreamOpener::new(&keys(), ObjectType::Stream, "x", &[0xff; 200]).is_err());
    assert!(descriptor::decode_head(&[0xff; 200]).is_err());
}

/// A slot whose checksum is right and whose costs are beyond all bounds.
fn slots() {
    for costs in [[u32::MAX; 3], [4 << 20, 17, 1], [1 << 31, 1, 1], [4 << 20, 1, u32::MAX]] {
        let mut bytes = b"SRKS\x01\x01\x00\x00".to_vec();
        costs.iter().for_each(|cost| bytes.extend_from_slice(&cost.to_le_bytes()));
        bytes.extend_from_slice(REPOSITORY.as_bytes());
        bytes.resize(52 + 32 + 36 + 16, 0);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(&sum.as_bytes()[..16]);
        assert!(slot::open(REPOSITORY, &SlotSecret::Password(b"pw"), &bytes).is_err());
    }
}

#[test]
fn no_hostile_length_is_allocated_for() {
    let mut bomb = Vec::new();
    let mut compressor = Compressor::new(Compression::default()).unwrap();
    assert_eq!(compressor.compress(&vec![0; 16 << 20], &mut bomb), Algorithm::Zstd);
    let mut decompressor = Decompressor::new().unwrap();
    let unfold = || {
        let mut out = Vec::new();
        assert!(decompressor.decompress(Algorithm::Zstd, &bomb, 1000, &mut out).is_err());
    };
    for (what, largest) in [
        ("directories", largest_bytes(directories)),
        ("pack heads", largest_bytes(heads)),
        ("records", largest_bytes(records)),
        ("slots", largest_bytes(slots)),
        ("bombs", largest_bytes(unfold)),
    ] {
        assert!(largest < 64 << 10, "{what}: an allocation of {largest} bytes");
    }
}
