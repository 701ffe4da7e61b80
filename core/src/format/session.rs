//! A session: says that a writer is at work, so that a collector waits for it or fences it.
//!
//! Object `meta/sessions/<session>`, written first of all, replaced now and then by one with a
//! higher beat, and removed some time after the commit. An interrupted run leaves it behind: that
//! is how the next run of the same client finds the packs that need not be sent again.

use super::cbor;
use crate::{
    error::Result,
    id::{ClientId, SessionId},
    runtime::Timestamp,
};

/// What a session object says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The session.
    pub session: SessionId,
    /// Who writes.
    pub client: ClientId,
    /// When it began, by the client's clock.
    pub started: Timestamp,
    /// Host name, for people.
    pub host: String,
    /// Counts up while the writer is at work, so that a collector sees that it is.
    pub beat: u64,
}

impl SessionRecord {
    /// The record as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(5)?;
            out.u32(0)?.bytes(self.session.as_bytes())?;
            out.u32(1)?.bytes(self.client.as_bytes())?;
            out.u32(2)?.i64(self.started.0)?;
            out.u32(3)?.str(&self.host)?;
            out.u32(4)?.u64(self.beat)?;
            Ok(())
        })
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut record = Self {
            session: SessionId([0; 16]),
            client: ClientId([0; 16]),
            started: Timestamp(0),
            host: String::new(),
            beat: 0,
        };
        cbor::decode_with(bytes, "session", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => record.session = SessionId(cbor::fixed(input)?),
                    1 => record.client = ClientId(cbor::fixed(input)?),
                    2 => record.started = Timestamp(input.i64()?),
                    3 => record.host = input.str()?.to_owned(),
                    4 => record.beat = input.u64()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_truncation() {
        let record = SessionRecord {
            session: SessionId([1; 16]),
            client: ClientId([2; 16]),
            started: Timestamp(3),
            host: "h".to_owned(),
            beat: 4,
        };
        let bytes = record.encode();
        assert_eq!(SessionRecord::decode(&bytes).unwrap(), record);
        for length in 0..bytes.len() {
            assert!(SessionRecord::decode(&bytes[..length]).is_err());
        }
    }
}
