//! What is known to be lost: parts of packs, and the chunks that lay there.
//!
//! Object `meta/damage/<16 random bytes, hex>`, a record (type damage). Several add up; none says
//! that something can be read again. Knows nothing of how the loss was found out.

use std::collections::{BTreeMap, BTreeSet};

use super::cbor;
use crate::{
    error::Result,
    id::{ChunkId, PackId, SessionId},
};

/// What is lost of one pack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LostPart {
    /// Segments that cannot be read; `None` if nothing of the pack can be.
    pub segments: Option<BTreeSet<u32>>,
    /// Chunks that are known to have been there; there may have been more.
    pub chunks: BTreeSet<ChunkId>,
}

impl LostPart {
    /// Both together.
    fn add(&mut self, other: &Self) {
        self.chunks.extend(&other.chunks);
        match (&mut self.segments, &other.segments) {
            (Some(own), Some(other)) => own.extend(other),
            (own, _) => *own = None,
        }
    }

    fn holds(&self, other: &Self) -> bool {
        let segments = match (&self.segments, &other.segments) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => other.is_subset(own),
        };
        segments && other.chunks.is_subset(&self.chunks)
    }
}

/// What is lost, by pack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    packs: BTreeMap<PackId, LostPart>,
}

impl Damage {
    /// True if nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Adds what is lost of `pack`.
    pub fn add(&mut self, pack: PackId, part: &LostPart) {
        self.packs.entry(pack).or_insert_with(|| part.clone()).add(part);
    }

    /// Adds all that `other` says.
    pub fn union(&mut self, other: &Self) {
        other.packs.iter().for_each(|(pack, part)| self.add(*pack, part));
    }

    /// Notes chunks that lay in a pack that is named already.
    pub fn add_chunks(&mut self, pack: PackId, chunks: impl IntoIterator<Item = ChunkId>) {
        if let Some(part) = self.packs.get_mut(&pack) {
            part.chunks.extend(chunks);
        }
    }

    /// The packs, and what is lost of each.
    pub fn parts(&self) -> impl Iterator<Item = (PackId, &LostPart)> {
        self.packs.iter().map(|(pack, part)| (*pack, part))
    }

    /// What is lost of `pack`.
    pub fn of(&self, pack: PackId) -> Option<&LostPart> {
        self.packs.get(&pack)
    }

    /// True if this segment of the pack is lost.
    pub fn covers(&self, pack: PackId, segment: u32) -> bool {
        let segments = self.packs.get(&pack).map(|part| &part.segments);
        segments
            .is_some_and(|segments| segments.as_ref().is_none_or(|lost| lost.contains(&segment)))
    }

    /// What this says and `known` does not.
    pub fn beyond(&self, known: &Self) -> Self {
        let is_new = |(pack, part): &(PackId, &LostPart)| {
            !known.packs.get(pack).is_some_and(|known| known.holds(part))
        };
        let packs = self.parts().filter(is_new).map(|(pack, part)| (pack, part.clone())).collect();
        Self { packs }
    }

    /// The record as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(1)?;
            out.u32(0)?.array(self.packs.len() as u64)?;
            for (pack, part) in &self.packs {
                out.array(4)?.bytes(pack.session.as_bytes())?.u32(pack.counter)?;
                // no segments: all of it
                let segments = part.segments.iter().flatten();
                out.array(part.segments.as_ref().map_or(0, BTreeSet::len) as u64)?;
                for segment in segments {
                    out.u32(*segment)?;
                }
                out.array(part.chunks.len() as u64)?;
                for chunk in &part.chunks {
                    out.bytes(chunk.as_bytes())?;
                }
            }
            Ok(())
        })
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut damage = Self::default();
        cbor::decode_with(bytes, "damage", |input| {
            cbor::each_field(input, |number, input| {
                if number != 0 {
                    return Ok(false);
                }
                for _ in 0..cbor::array_len(input)? {
                    cbor::array_of(input, 4)?;
                    let session = SessionId(cbor::fixed(input)?);
                    let pack = PackId { session, counter: input.u32()? };
                    let count = cbor::array_len(input)?;
                    let segments = (0..count).map(|_| input.u32()).collect::<cbor::Decoded<_>>()?;
                    let segments = Some(segments).filter(|_| count > 0);
                    let count = cbor::array_len(input)?;
                    let chunks = (0..count).map(|_| cbor::fixed(input).map(ChunkId));
                    let chunks = chunks.collect::<cbor::Decoded<_>>()?;
                    damage.add(pack, &LostPart { segments, chunks });
                }
                Ok(true)
            })
        })?;
        Ok(damage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(session: u8, counter: u32) -> PackId {
        PackId { session: SessionId([session; 16]), counter }
    }

    fn part(segments: Option<&[u32]>, chunks: &[u8]) -> LostPart {
        LostPart {
            segments: segments.map(|segments| segments.iter().copied().collect()),
            chunks: chunks.iter().map(|chunk| ChunkId([*chunk; 32])).collect(),
        }
    }

    #[test]
    fn round_trip_and_truncation() {
        let mut damage = Damage::default();
        damage.add(pack(1, 7), &part(Some(&[0, 5]), &[1, 2]));
        damage.add(pack(2, 0), &part(None, &[]));
        let bytes = damage.encode();
        assert_eq!(Damage::decode(&bytes).unwrap(), damage);
        for length in 0..bytes.len() {
            assert!(Damage::decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn what_is_lost_adds_up() {
        let mut damage = Damage::default();
        damage.add(pack(1, 0), &part(Some(&[3]), &[1]));
        assert!(damage.covers(pack(1, 0), 3) && !damage.covers(pack(1, 0), 4));
        assert!(!damage.covers(pack(1, 1), 3));
        let known = damage.clone();
        damage.add(pack(1, 0), &part(Some(&[3]), &[]));
        assert!(damage.beyond(&known).is_empty());
        damage.add(pack(1, 0), &part(None, &[2]));
        assert!(damage.covers(pack(1, 0), 4));
        assert_eq!(damage.beyond(&known), damage);
        assert!(known.beyond(&damage).is_empty());
        damage.add_chunks(pack(1, 0), [ChunkId([9; 32])]);
        damage.add_chunks(pack(5, 0), [ChunkId([9; 32])]);
        assert_eq!(damage.of(pack(1, 0)), Some(&part(None, &[1, 2, 9])));
        assert_eq!(damage.of(pack(5, 0)), None);
    }
}
