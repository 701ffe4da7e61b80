//! The recovery key and its text form: 13 groups of four symbols and a check symbol.
//!
//! Symbols are Crockford's base 32 (no I, L, O, U; read without regard to case, with I and L as 1
//! and O as 0). The check symbol of a group finds every single mistyped symbol, every swap of two
//! neighbours and every swap of groups, so that a person is told which group to look at.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

use crate::{
    crypto::{KEY_BYTES, Secret},
    error::{Error, ErrorKind, Result},
    runtime::Randomness,
};

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 13;
const GROUP_DATA_SYMBOLS: usize = 4;
const GROUP_SYMBOLS: usize = GROUP_DATA_SYMBOLS + 1;
const TEXT_SYMBOLS: usize = GROUPS * GROUP_SYMBOLS;
/// 13 groups hold 260 bits; the four beyond the key are a checksum over all of it.
const SPARE_BITS: u32 = 4;

/// A 32-byte key that is printed once and opens a slot without a password; wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryKey(Secret);

impl RecoveryKey {
    /// A fresh key.
    pub fn generate(randomness: &dyn Randomness) -> Self {
        let mut key = Secret::default();
        randomness.fill(key.as_mut_slice());
        Self(key)
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.0
    }

    /// The text form: groups of five symbols joined by `-`. A secret: print it only where the
    /// user asked for it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bits = BitQueue::default();
        let mut source = self.0.iter().copied();
        let mut text = Zeroizing::new(String::with_capacity(TEXT_SYMBOLS + GROUPS));
        for group in 0..GROUPS {
            if group > 0 {
                text.push('-');
            }
            let mut values = [0; GROUP_DATA_SYMBOLS];
            for value in &mut values {
                if bits.count < 5 {
                    match source.next() {
                        Some(byte) => bits.push(byte, 8),
                        None => bits.push(spare_checksum(&self.0), SPARE_BITS),
                    }
                }
                *value = bits.pop(5);
            }
            for value in values.into_iter().chain([check_symbol(group, values)]) {
                text.push(char::from(SYMBOLS[usize::from(value)]));
            }
        }
        text
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(..)")
    }
}

impl FromStr for RecoveryKey {
    type Err = Error;

    /// Reads the text form; case, blanks and dashes do not matter. Errors say which group or
    /// position is wrong, never what stands there.
    fn from_str(text: &str) -> Result<Self> {
        let values = symbols(text)?;
        let mut key = Secret::default();
        let mut bits = BitQueue::default();
        let mut filled = 0;
        for (group, symbols) in values.as_chunks::<GROUP_SYMBOLS>().0.iter().enumerate() {
            let [a, b, c, d, check] = *symbols;
            if check_symbol(group, [a, b, c, d]) != check {
                let message = format!("group {} of {GROUPS} is mistyped", group + 1);
                return Err(invalid(message));
            }
            for value in [a, b, c, d] {
                bits.push(value, 5);
                if bits.count >= 8 && filled < KEY_BYTES {
                    key[filled] = bits.pop(8);
                    filled += 1;
                }
            }
        }
        if bits.pop(SPARE_BITS) != spare_checksum(&key) {
            return Err(invalid("its checksum does not match: several groups are mistyped"));
        }
        Ok(Self(key))
    }
}

/// The values of the symbols in `text`, which are as many as a key has.
fn symbols(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut values = Zeroizing::new(Vec::with_capacity(TEXT_SYMBOLS));
    for symbol in text.chars().filter(|symbol| !symbol.is_whitespace() && *symbol != '-') {
        let position = values.len() + 1;
        let value = value_of(symbol)
            .ok_or_else(|| invalid(format!("symbol {position} is none of a recovery key's")))?;
        if values.len() == TEXT_SYMBOLS {
            return Err(invalid(format!("it is longer than {TEXT_SYMBOLS} symbols")));
        }
        values.push(value);
    }
    if values.len() < TEXT_SYMBOLS {
        return Err(invalid(format!("it has {} of {TEXT_SYMBOLS} symbols", values.len())));
    }
    Ok(values)
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, why.to_string())
        .on("recovery key")
        .hint("a recovery key has 13 groups of 5 letters and digits, as printed at init")
}

fn value_of(symbol: char) -> Option<u8> {
    let upper = match symbol.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let index = SYMBOLS.iter().position(|candidate| char::from(*candidate) == upper)?;
    u8::try_from(index).ok()
}

/// The check symbol: a weighted sum in GF(32) of the data symbols (weights 1, 2, 3, 4), plus the
/// group's number plus 1.
fn check_symbol(group: usize, values: [u8; GROUP_DATA_SYMBOLS]) -> u8 {
    let weighted = values.iter().zip(1..).map(|(value, weight)| multiply(*value, weight));
    weighted.fold(group as u8 + 1, |sum, product| sum ^ product)
}

/// Multiplication in GF(32), reduced by x^5 + x^2 + 1.
fn multiply(left: u8, right: u8) -> u8 {
    (0..5).rev().fold(0, |sum: u8, bit| {
        let doubled = sum << 1;
        let reduced = if doubled & 0x20 == 0 { doubled } else { doubled ^ 0x25 };
        if right >> bit & 1 == 1 { reduced ^ left } else { reduced }
    })
}

/// The upper four bits of the first byte of the key's BLAKE3.
fn spare_checksum(key: &[u8; KEY_BYTES]) -> u8 {
    blake3::hash(key).as_bytes()[0] >> (8 - SPARE_BITS)
}

/// Bits in, bits out, the most significant first.
#[derive(Default)]
struct BitQueue {
    bits: u32,
    count: u32,
}

impl BitQueue {
    fn push(&mut self, value: u8, count: u32) {
        self.bits = self.bits << count | u32::from(value);
        self.count += count;
    }

    fn pop(&mut self, count: u32) -> u8 {
        self.count -= count;
        let value = self.bits >> self.count;
        self.bits &= (1 << self.count) - 1;
        value as u8
    }
}

#[cfg(test)]
mod tests;
