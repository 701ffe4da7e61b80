//! Small conventions over `minicbor`: maps with ascending field numbers, unknown fields skipped,
//! every length definite.

use std::convert::Infallible;

use minicbor::{Decoder, Encoder, decode};

use crate::error::{Error, ErrorKind};

/// Where encoders write.
pub(crate) type Out<'a> = Encoder<&'a mut Vec<u8>>;

/// What encoding into memory gives: it cannot fail.
pub(crate) type Encoded = Result<(), minicbor::encode::Error<Infallible>>;

/// What decoding gives.
pub(crate) type Decoded<T> = Result<T, decode::Error>;

/// Encodes with `write` into a new buffer.
pub(crate) fn encode_with(write: impl FnOnce(&mut Out<'_>) -> Encoded) -> Vec<u8> {
    let mut bytes = Vec::new();
    let result = write(&mut Encoder::new(&mut bytes));
    debug_assert!(result.is_ok(), "writing to memory does not fail");
    bytes
}

/// Decodes all of `bytes` with `read`; `what` names the thing in errors.
pub(crate) fn decode_with<'b, T>(
    bytes: &'b [u8],
    what: &str,
    read: impl FnOnce(&mut Decoder<'b>) -> Decoded<T>,
) -> Result<T, Error> {
    let mut input = Decoder::new(bytes);
    let value = read(&mut input).map_err(|error| malformed(what).because(error.to_string()))?;
    if input.position() != bytes.len() {
        return Err(malformed(what).because("bytes after the end"));
    }
    Ok(value)
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("malformed {what}"))
}

/// The length of a definite array.
pub(crate) fn array_len(input: &mut Decoder<'_>) -> Decoded<usize> {
    let length = input.array()?.ok_or_else(|| wrong("an array without a length"))?;
    bounded(length, input)
}

/// Checks that an array has exactly `length` items.
pub(crate) fn array_of(input: &mut Decoder<'_>, length: usize) -> Decoded<()> {
    if array_len(input)? == length { Ok(()) } else { Err(wrong("an array of another length")) }
}

/// Calls `field` for every field of a map with ascending numbers; `field` returns false for a
/// number that it does not know, which is then skipped.
pub(crate) fn each_field<'b>(
    input: &mut Decoder<'b>,
    mut field: impl FnMut(u32, &mut Decoder<'b>) -> Decoded<bool>,
) -> Decoded<()> {
    let count = input.map()?.ok_or_else(|| wrong("a map without a length"))?;
    let mut last = None;
    for _ in 0..bounded(count, input)? {
        let number = input.u32()?;
        if last.is_some_and(|last| number <= last) {
            return Err(wrong("fields out of order"));
        }
        last = Some(number);
        if !field(number, input)? {
            input.skip()?;
        }
    }
    Ok(())
}

/// Exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(input: &mut Decoder<'_>) -> Decoded<[u8; N]> {
    input.bytes()?.try_into().map_err(|_| wrong("a byte string of another length"))
}

/// A decoding error with a reason.
pub(crate) fn wrong(why: &'static str) -> decode::Error {
    decode::Error::message(why)
}

/// Every item takes at least one byte: a count beyond what is left is a lie, refused before
/// anything is allocated for it.
fn bounded(count: u64, input: &Decoder<'_>) -> Decoded<usize> {
    let left = input.input().len() - input.position().min(input.input().len());
    match usize::try_from(count) {
        Ok(count) if count <= left => Ok(count),
        _ => Err(wrong("a count beyond the end")),
    }
}
