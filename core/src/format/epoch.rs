//! A key epoch that is in force: the object `meta/keys/epochs/<n>`, sealed in that epoch.
//!
//! Made by create-if-absent, so that of two rotations at once one decides which master key the
//! epoch has. Nothing else is sealed in an epoch before its record exists. Knows nothing of slots.

use super::cbor;
use crate::{
    error::{Error, ErrorKind, Result},
    runtime::Timestamp,
};

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: u32,
    /// Since when it is in force, by the clock of who rotated the keys.
    pub since: Timestamp,
}

impl EpochRecord {
    /// The record as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(2)?;
            out.u32(0)?.u32(self.epoch)?;
            out.u32(1)?.i64(self.since.0)?;
            Ok(())
        })
    }

    /// Decodes what [`Self::encode`] wrote for `epoch`; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(epoch: u32, bytes: &[u8]) -> Result<Self> {
        let (mut said, mut since) = (None, Timestamp::default());
        cbor::decode_with(bytes, "key epoch", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => said = Some(input.u32()?),
                    1 => since = Timestamp(input.i64()?),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        match said == Some(epoch) {
            true => Ok(Self { epoch, since }),
            false => Err(Error::new(ErrorKind::Damaged, "is the record of another key epoch")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_truncation_and_another_epoch() {
        let record = EpochRecord { epoch: 7, since: Timestamp(-3) };
        let bytes = record.encode();
        assert_eq!(EpochRecord::decode(7, &bytes).unwrap(), record);
        assert!(EpochRecord::decode(8, &bytes).is_err());
        for length in 0..bytes.len() {
            assert!(EpochRecord::decode(7, &bytes[..length]).is_err());
        }
    }
}
