//! An index segment: the directories of packs, so that writers find out which chunks are stored.
//!
//! Object `meta/index/<session>/<n>`, a record (type index segment). Counts only if the commit
//! of its session exists. Rebuildable from the packs themselves.

use super::{cbor, commit::ObjectHash, pack::Directory};
use crate::{
    entry::PackRef,
    error::Result,
    id::{PackId, SessionId},
};

/// One pack of an index segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedPack {
    /// The pack and its salt: with the directory, enough to open any segment by one ranged read.
    pub pack: PackRef,
    /// Size of the object.
    pub size_bytes: u64,
    /// BLAKE3 of the object; `None` for a pack adopted from an interrupted run, which was not
    /// read back as a whole.
    pub hash: Option<ObjectHash>,
    /// What is in it.
    pub directory: Directory,
}

/// The segment as bytes, before sealing: an array of
/// `[session, counter, epoch, salt, size, hash or empty, directory]`.
pub fn encode(packs: &[IndexedPack]) -> Vec<u8> {
    cbor::encode_with(|out| {
        out.array(packs.len() as u64)?;
        for row in packs {
            let id = row.pack.id;
            out.array(7)?.bytes(id.session.as_bytes())?.u32(id.counter)?;
            out.u32(row.pack.epoch)?.bytes(&row.pack.salt)?;
            out.u64(row.size_bytes)?;
            out.bytes(row.hash.as_ref().map_or(&[], |hash| hash.as_slice()))?;
            out.bytes(&row.directory.encode())?;
        }
        Ok(())
    })
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// `Damaged` for anything else.
pub fn decode(bytes: &[u8]) -> Result<Vec<IndexedPack>> {
    let mut rows = Vec::new();
    cbor::decode_with(bytes, "index segment", |input| {
        for _ in 0..cbor::array_len(input)? {
            cbor::array_of(input, 7)?;
            let session = SessionId(cbor::fixed(input)?);
            let id = PackId { session, counter: input.u32()? };
            let pack = PackRef { id, epoch: input.u32()?, salt: cbor::fixed(input)? };
            let size_bytes = input.u64()?;
            let hash = match input.bytes()? {
                [] => None,
                hash => Some(hash.try_into().map_err(|_| cbor::wrong("hash length"))?),
            };
            let directory = Directory::decode(input.bytes()?)
                .map_err(|_| cbor::wrong("malformed directory"))?;
            rows.push(IndexedPack { pack, size_bytes, hash, directory });
        }
        Ok(())
    })?;
    Ok(rows)
}
