//! A collector head: one step of the cycle by which a repository gets rid of what nobody needs.
//!
//! Object `meta/collector/<n>`, a record (type collector head), numbered from 1. Each is created
//! where nothing was, so that of two collectors one makes the step. Knows nothing of how a cycle
//! is run.

use super::cbor::{self, Decoded, Encoded, Out};
use crate::{error::Result, id::SessionId, packset::PackSet, runtime::Timestamp};

/// Where a cycle stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CyclePhase {
    /// No cycle is under way.
    #[default]
    Idle,
    /// The packs are to go: no writer that reads this refers to them any more. Writers that
    /// began earlier are waited for.
    Condemned,
    /// Nobody refers to the packs: they are being deleted.
    Dead,
}

impl CyclePhase {
    const fn code(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::Condemned => 1,
            Self::Dead => 2,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Idle, Self::Condemned, Self::Dead].into_iter().find(|phase| phase.code() == code)
    }
}

/// What a head says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollectorHead {
    /// Its number.
    pub number: u64,
    /// Where the cycle stands.
    pub phase: CyclePhase,
    /// The packs that are condemned or dead in this cycle; none when idle.
    pub packs: PackSet,
    /// Packs of earlier cycles that index segments may still name: they are stored no more.
    pub gone: PackSet,
    /// Snapshots, and the base, that were live when the cycle began: a listing without them, and
    /// without their tombstones, lies.
    pub catalogue: Vec<SessionId>,
    /// The maintenance session whose index segments stand for all sessions that are older than
    /// `base_generation`.
    pub base: Option<SessionId>,
    /// Index segments of a session count only if its commit has seen a head of this number or a
    /// later one, or if it is the base.
    pub base_generation: u64,
    /// When it was written, by the collector's clock; for people.
    pub time: Timestamp,
    /// Where the collector runs; for people.
    pub host: String,
}

impl CollectorHead {
    /// The head as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| self.encode_fields(out))
    }

    fn encode_fields(&self, out: &mut Out<'_>) -> Encoded {
        out.map(8 + u64::from(self.base.is_some()))?;
        out.u32(0)?.u64(self.number)?;
        out.u32(1)?.u8(self.phase.code())?;
        out.u32(2)?;
        self.packs.encode(out)?;
        out.u32(3)?;
        self.gone.encode(out)?;
        out.u32(4)?.array(self.catalogue.len() as u64)?;
        for session in &self.catalogue {
            out.bytes(session.as_bytes())?;
        }
        if let Some(base) = &self.base {
            out.u32(5)?.bytes(base.as_bytes())?;
        }
        out.u32(6)?.u64(self.base_generation)?;
        out.u32(7)?.i64(self.time.0)?;
        out.u32(8)?.str(&self.host)?;
        Ok(())
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut head = Self::default();
        cbor::decode_with(bytes, "collector head", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => head.number = input.u64()?,
                    1 => {
                        head.phase = CyclePhase::from_code(input.u8()?)
                            .ok_or_else(|| cbor::wrong("unknown phase"))?;
                    }
                    2 => head.packs = PackSet::decode(input)?,
                    3 => head.gone = PackSet::decode(input)?,
                    4 => {
                        let count = cbor::array_len(input)?;
                        head.catalogue = (0..count)
                            .map(|_| Ok(SessionId(cbor::fixed(input)?)))
                            .collect::<Decoded<_>>()?;
                    }
                    5 => head.base = Some(SessionId(cbor::fixed(input)?)),
                    6 => head.base_generation = input.u64()?,
                    7 => head.time = Timestamp(input.i64()?),
                    8 => head.host = input.str()?.to_owned(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::PackId;

    #[test]
    fn round_trip_and_truncation() {
        let pack = |n| PackId { session: SessionId([n; 16]), counter: n.into() };
        let head = CollectorHead {
            number: 7,
            phase: CyclePhase::Condemned,
            packs: [pack(1), pack(2)].into_iter().collect(),
            gone: [pack(3)].into_iter().collect(),
            catalogue: vec![SessionId([4; 16])],
            base: Some(SessionId([5; 16])),
            base_generation: 3,
            time: Timestamp(-6),
            host: "h".to_owned(),
        };
        let bytes = head.encode();
        assert_eq!(CollectorHead::decode(&bytes).unwrap(), head);
        for length in 0..bytes.len() {
            assert!(CollectorHead::decode(&bytes[..length]).is_err(), "{length}");
        }
        let idle = CollectorHead { base: None, phase: CyclePhase::Idle, ..head };
        assert_eq!(CollectorHead::decode(&idle.encode()).unwrap(), idle);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CollectorHead::decode(&bytes);
        }
    }
}
