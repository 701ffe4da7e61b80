//! The identifiers of the format: fixed-size byte strings that print as lowercase hex.
//!
//! Knows nothing of how an id is derived or where it is stored.

use std::{fmt, str::FromStr};

/// Text that is not the hex form of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lowercase hex digits, found {found:?}")]
pub struct ParseIdError {
    expected: usize,
    found: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $bytes;

            /// The id from exactly [`Self::LEN`] bytes, or `None` for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $bytes];
                read_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }
    };
}

id!(
    /// Which repository: drawn at `init`, bound into every key.
    RepositoryId,
    16
);
id!(
    /// One run of a writer; also the id of the snapshot that it commits. Drawn at random, never
    /// reused.
    SessionId,
    16
);
id!(
    /// Which machine and user writes: drawn once and kept in the client's state folder.
    ClientId,
    16
);
id!(
    /// Which key slot: drawn at random, never reused.
    SlotId,
    16
);
id!(
    /// Keyed BLAKE3 of a chunk's plaintext.
    ChunkId,
    32
);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex(text: &str, out: &mut [u8]) -> Result<(), ParseIdError> {
    let error = || ParseIdError { expected: out.len() * 2, found: text.chars().take(80).collect() };
    let digits = text.as_bytes();
    if digits.len() != out.len() * 2 {
        return Err(error());
    }
    let mut bytes = [0u8; 64];
    for (slot, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        match (hex_digit(pair[0]), hex_digit(pair[1])) {
            (Some(high), Some(low)) => *slot = high << 4 | low,
            _ => return Err(error()),
        }
    }
    let length = out.len();
    out.copy_from_slice(&bytes[..length]);
    Ok(())
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Which pack: the session that wrote it and its number within that session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId {
    /// The session that wrote the pack.
    pub session: SessionId,
    /// The number of the pack within its session, from 0.
    pub counter: u32,
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip_and_refusals() {
        let id = ChunkId(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        for bad in ["", "0g", &"A".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert!(bad.parse::<ChunkId>().is_err(), "{bad}");
        }
    }
}
