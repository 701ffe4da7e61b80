//! What a key slot says to those who have opened the repository: when it was made, and what
//! people call it. Sealed under the repository's keys, so that a storage learns no names.

use crate::{
    error::{Error, ErrorKind, Result},
    format::cbor,
    runtime::Timestamp,
};

/// The longest label, in bytes.
pub const SLOT_LABEL_BYTES_MAX: usize = 256;

/// What a key slot says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotNote {
    /// When the slot was made, by its maker's clock.
    pub created: Timestamp,
    /// What people call it: whose it is, or where. At most 256 bytes.
    pub label: String,
}

impl SlotNote {
    /// Refuses labels that are too long.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        if self.label.len() > SLOT_LABEL_BYTES_MAX {
            let message = format!("a label over {SLOT_LABEL_BYTES_MAX} bytes");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        cbor::encode_with(|out| {
            out.map(2)?;
            out.u32(0)?.i64(self.created.0)?;
            out.u32(1)?.str(&self.label)?;
            Ok(())
        })
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut note = Self::default();
        cbor::decode_with(bytes, "key slot's note", |input| {
            cbor::each_field(input, |number, input| {
                match number {
                    0 => note.created = Timestamp(input.i64()?),
                    1 => note.label = input.str()?.to_owned(),
                    _ => return Ok(false),
                }
                Ok(true)
            })
        })?;
        note.check().map_err(|error| Error::new(ErrorKind::Damaged, error.to_string()))?;
        Ok(note)
    }
}
