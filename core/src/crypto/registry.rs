//! A watch kept in debug builds over every (key, nonce) pair that the process seals with.
//!
//! Sealing two different messages under one pair breaks AES-GCM, so it panics. The same message
//! sealed again by another key object is let pass: a replayed simulation does that, and it gives
//! the same bytes. Memory is bounded: the oldest pairs are forgotten.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::aead::{NONCE_BYTES, TAG_BYTES};

const SHARDS: usize = 16;
/// Pairs a generation of one shard; two generations are kept: about 16 MB in all.
const GENERATION_PAIRS_MAX: usize = 8192;

type Pair = [u8; 16];

struct Seal {
    tag: [u8; TAG_BYTES],
    instance: u64,
}

struct Shard {
    young: BTreeMap<Pair, Seal>,
    old: BTreeMap<Pair, Seal>,
}

static REGISTRY: [Mutex<Shard>; SHARDS] =
    [const { Mutex::new(Shard { young: BTreeMap::new(), old: BTreeMap::new() }) }; SHARDS];

static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(0);

/// One key object: the hash of its key, and a number that tells it from others of the same key.
pub(super) struct Witness {
    key_hash: [u8; 32],
    instance: u64,
}

impl Witness {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            key_hash: blake3::derive_key("strongroom debug registry of keys and nonces", key),
            instance: NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Notes that a message with `tag` was sealed under this key and `nonce`.
    ///
    /// # Panics
    /// If this key object used the nonce before, or another one did for another message.
    pub(super) fn record(&self, nonce: &[u8; NONCE_BYTES], tag: [u8; TAG_BYTES]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.key_hash);
        let digest = hasher.update(nonce).finalize();
        let mut pair = Pair::default();
        pair.copy_from_slice(&digest.as_bytes()[..16]);
        let shard = &REGISTRY[usize::from(digest.as_bytes()[31]) % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = shard.young.get(&pair).or_else(|| shard.old.get(&pair));
        let is_repeat =
            earlier.is_some_and(|seal| seal.instance == self.instance || seal.tag != tag);
        if shard.young.len() >= GENERATION_PAIRS_MAX {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(pair, Seal { tag, instance: self.instance });
        drop(shard);
        assert!(!is_repeat, "a key and nonce were used to seal two messages");
    }
}
