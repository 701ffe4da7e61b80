//! A label: what people say of a snapshot after it was made.
//!
//! Object `meta/labels/<session>/<n>`, a record (type label), numbered from 0; the one with the
//! highest number counts, as a whole. A commit never changes.

use super::cbor;
use crate::{error::Result, id::SessionId};

/// What a label says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The snapshot.
    pub session: SessionId,
    /// Its tags, instead of those of the commit.
    pub tags: Vec<String>,
    /// Held snapshots are not forgotten.
    pub is_held: bool,
}

impl Label {
    /// The record as bytes, before sealing.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(3)?;
            out.u32(0)?.bytes(self.session.as_bytes())?;
            out.u32(1)?.array(self.tags.len() as u64)?;
            for tag in &self.tags {
                out.str(tag)?;
            }
            out.u32(2)?.bool(self.is_held)?;
            Ok(())
        })
    }

    /// Decodes what [`Self::encode`] wrote; unknown fields are skipped.
    ///
    /// # Errors
    /// `Damaged` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut label = Self { session: SessionId([0; 16]), tags: Vec::new(), is_held: false };
        cbor::decode_with(bytes, "label", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => label.session = SessionId(cbor::fixed(input)?),
                    1 => {
                        let count = cbor::array_len(input)?;
                        let tags = (0..count).map(|_| Ok(input.str()?.to_owned()));
                        label.tags = tags.collect::<cbor::Decoded<_>>()?;
                    }
                    2 => label.is_held = input.bool()?,
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        Ok(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_truncation() {
        let tags = vec!["a".to_owned(), "ü".to_owned()];
        let label = Label { session: SessionId([1; 16]), tags, is_held: true };
        let bytes = label.encode();
        assert_eq!(Label::decode(&bytes).unwrap(), label);
        for length in 0..bytes.len() {
            assert!(Label::decode(&bytes[..length]).is_err());
        }
    }
}
