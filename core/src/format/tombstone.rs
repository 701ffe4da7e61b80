//! A tombstone: a snapshot that was forgotten.
//!
//! Object `meta/tombstones/<session>`, a record (type tombstone). The commit itself stays where it
//! is: its name is never free again, so that no late writer can make it anew.

use super::{cbor, commit::ObjectHash};
use crate::{error::Result, id::SessionId, runtime::Timestamp};

/// What a tombstone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The snapshot.
    pub session: SessionId,
    /// BLAKE3 of its commit, as later commits name it.
    pub commit: ObjectHash,
    /// When it was forgotten, by the clock of who did it.
    pub time: Timestamp,
    /// Where, for people.
    pub host: String,
}

impl Tombstone {
    /// The record as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(4)?;
            out.u32(0)?.bytes(self.session.as_bytes())?;
            out.u32(1)?.bytes(&self.commit)?;
            out.u32(2)?.i64(self.time.0)?;
            out.u32(3)?.str(&self.host)?;
            Ok(())
        })
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut tombstone = Self {
            session: SessionId([0; 16]),
            commit: [0; 32],
            time: Timestamp(0),
            host: String::new(),
        };
        cbor::decode_with(bytes, "tombstone", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => tombstone.session = SessionId(cbor::fixed(input)?),
                    1 => tombstone.commit = cbor::fixed(input)?,
                    2 => tombstone.time = Timestamp(input.i64()?),
                    3 => tombstone.host = input.str()?.to_owned(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(tombstone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_truncation() {
        let tombstone = Tombstone {
            session: SessionId([1; 16]),
            commit: [2; 32],
            time: Timestamp(3),
            host: "h".to_owned(),
        };
        let bytes = tombstone.encode();
        assert_eq!(Tombstone::decode(&bytes).unwrap(), tombstone);
        for length in 0..bytes.len() {
            assert!(Tombstone::decode(&bytes[..length]).is_err());
        }
    }
}
