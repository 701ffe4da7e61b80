//! What the tests of all formats share: keys, random bytes that never repeat, content.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    crypto::{KeyRing, MasterKey},
    id::{ChunkId, PackId, RepositoryId, SessionId},
    runtime::Randomness,
};

pub(super) const REPOSITORY: RepositoryId = RepositoryId(*b"repository no. 1");

/// The keys of `REPOSITORY`, with one epoch.
pub(super) fn keys() -> KeyRing {
    keys_of(REPOSITORY, &[0])
}

/// The keys of a repository with these epochs.
pub(super) fn keys_of(repository: RepositoryId, epochs: &[u32]) -> KeyRing {
    let master = |epoch: &u32| (*epoch, MasterKey::from_bytes([*epoch as u8 + 1; 32]));
    KeyRing::new(repository, epochs.iter().map(master).collect()).unwrap()
}

pub(super) fn pack_id(counter: u32) -> PackId {
    PackId { session: SessionId([0x5e; 16]), counter }
}

/// A number that no other call in this process gets, stretched.
#[derive(Debug)]
pub(super) struct Counting;

impl Randomness for Counting {
    fn fill(&self, out: &mut [u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(out);
    }
}

/// `length` bytes that repeat late and look like no tag or key.
pub(super) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 % 251) as u8).collect()
}

/// Chunks of these lengths, with made-up ids.
pub(super) fn chunks(lengths: &[u32]) -> Vec<(ChunkId, u32)> {
    let id = |number: usize| ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    lengths.iter().enumerate().map(|(number, length)| (id(number), *length)).collect()
}
