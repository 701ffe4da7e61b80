//! Where the content of rewritten packs went.
//!
//! Part of the commit of a maintenance session. References never change: a chunk whose pack was
//! rewritten is looked for, by its id, in the packs that took its place.

use std::collections::BTreeMap;

use minicbor::Decoder;

use super::cbor::{self, Decoded, Encoded, Out};
use crate::{
    id::{PackId, SessionId},
    packset::PackSet,
};

/// For each rewritten pack those that hold what was live of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    packs: BTreeMap<PackId, PackSet>,
}

impl Forwarding {
    /// True if no pack was rewritten.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// How many packs were rewritten.
    pub fn len(&self) -> usize {
        self.packs.len()
    }

    /// The content of `from` went to `to` (too).
    pub fn insert(&mut self, from: PackId, to: &PackSet) {
        self.packs.entry(from).or_default().union(to);
    }

    /// Later rows replace earlier ones.
    pub fn override_with(&mut self, later: &Self) {
        self.packs.extend(later.packs.iter().map(|(from, to)| (*from, to.clone())));
    }

    /// The packs that took the place of `pack`; `None` if it was not rewritten.
    pub fn of(&self, pack: PackId) -> Option<&PackSet> {
        self.packs.get(&pack)
    }

    /// The packs that were rewritten.
    pub fn rewritten(&self) -> impl Iterator<Item = PackId> {
        self.packs.keys().copied()
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = (PackId, &PackSet)> {
        self.packs.iter().map(|(from, to)| (*from, to))
    }

    /// The packs that hold what `references` refer to. Rows lead to packs that are stored, never
    /// to rewritten ones.
    pub fn resolve(&self, references: &PackSet) -> PackSet {
        if self.packs.is_empty() {
            return references.clone();
        }
        let mut stored = references.clone();
        for (from, to) in &self.packs {
            if references.contains(*from) {
                stored.remove(*from);
                stored.union(to);
            }
        }
        stored
    }

    /// Encodes as an array of `[session, counter, packs]`.
    pub(super) fn encode(&self, out: &mut Out<'_>) -> Encoded {
        out.array(self.packs.len() as u64)?;
        for (from, to) in &self.packs {
            out.array(3)?.bytes(from.session.as_bytes())?.u32(from.counter)?;
            to.encode(out)?;
        }
        Ok(())
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Decoded<Self> {
        let mut packs = BTreeMap::new();
        for _ in 0..cbor::array_len(input)? {
            cbor::array_of(input, 3)?;
            let session = SessionId(cbor::fixed(input)?);
            let from = PackId { session, counter: input.u32()? };
            if packs.insert(from, PackSet::decode(input)?).is_some() {
                return Err(cbor::wrong("a pack rewritten twice"));
            }
        }
        Ok(Self { packs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(session: u8, counter: u32) -> PackId {
        PackId { session: SessionId([session; 16]), counter }
    }

    fn set(packs: &[PackId]) -> PackSet {
        packs.iter().copied().collect()
    }

    #[test]
    fn references_lead_to_what_took_their_place() {
        let mut forwarding = Forwarding::default();
        forwarding.insert(pack(1, 0), &set(&[pack(9, 0)]));
        forwarding.insert(pack(1, 0), &set(&[pack(9, 1)]));
        forwarding.insert(pack(1, 1), &PackSet::default());
        let references = set(&[pack(1, 0), pack(1, 1), pack(2, 0)]);
        let stored = set(&[pack(9, 0), pack(9, 1), pack(2, 0)]);
        assert_eq!(forwarding.resolve(&references), stored);
        assert_eq!(forwarding.resolve(&set(&[pack(2, 0)])), set(&[pack(2, 0)]));
    }

    #[test]
    fn round_trip() {
        let mut forwarding = Forwarding::default();
        forwarding.insert(pack(1, 7), &set(&[pack(9, 0), pack(9, 1)]));
        forwarding.insert(pack(2, 0), &PackSet::default());
        let bytes = cbor::encode_with(|out| forwarding.encode(out));
        let decoded = cbor::decode_with(&bytes, "forwarding", Forwarding::decode).unwrap();
        assert_eq!(decoded, forwarding);
    }
}
