//! Compression of segments: zstd where it pays, as it is where it does not.
//!
//! Contexts and buffers are reused. Knows nothing of segments' headers or ciphers; the plain
//! length always comes from outside, so that a hostile payload can never unfold to more.

use std::{fmt, str::FromStr};

use zstd_safe::{CCtx, CParameter, DCtx};

use crate::{
    crypto::TAG_BYTES,
    error::{Error, ErrorKind, Result},
};

/// Inputs above this size are sampled before the full level is spent on them.
const SAMPLED_BYTES_MIN: usize = 64 << 10;
/// The sample: this many pieces of this size, spread evenly over the input.
const SAMPLE_PIECES: usize = 4;
const SAMPLE_PIECE_BYTES: usize = 4 << 10;
/// The level that a sample is compressed with.
const SAMPLE_LEVEL: i32 = -1;
/// Compressing must save one part in this many, or the plaintext is stored as it is.
const SAVING_PARTS: usize = 32;

/// How the content of a segment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Algorithm {
    /// As it is.
    Stored = 0,
    /// One zstd frame (RFC 8878), without dictionary.
    Zstd = 1,
    /// No content: zeros that round a pack's size up.
    Padding = 255,
}

impl Algorithm {
    /// The number that stands for it in directories and keys.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The algorithm with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Stored),
            1 => Some(Self::Zstd),
            255 => Some(Self::Padding),
            _ => None,
        }
    }
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Level {
    Off,
    Fast,
    Zstd(u8),
}

impl Compression {
    /// Never compress.
    pub const OFF: Self = Self(Level::Off);
    /// zstd's level -1: for fast storage and little time.
    pub const FAST: Self = Self(Level::Fast);

    /// zstd level 1 (quick) to 19 (small).
    ///
    /// # Errors
    /// `Invalid` for any other level.
    pub fn level(level: u8) -> Result<Self> {
        if (1..=19).contains(&level) {
            return Ok(Self(Level::Zstd(level)));
        }
        Err(Error::new(ErrorKind::Invalid, format!("compression level {level} is not 1 to 19")))
    }

    /// The number that stands for it in settings: 0 off, -1 fast, else the level.
    pub const fn code(self) -> i8 {
        match self.0 {
            Level::Off => 0,
            Level::Fast => -1,
            Level::Zstd(level) => level as i8,
        }
    }

    /// The setting with this number.
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::OFF),
            -1 => Some(Self::FAST),
            level => Self::level(u8::try_from(level).ok()?).ok(),
        }
    }
}

impl Default for Compression {
    /// zstd level 3.
    fn default() -> Self {
        Self(Level::Zstd(3))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Level::Off => f.write_str("off"),
            Level::Fast => f.write_str("fast"),
            Level::Zstd(level) => write!(f, "{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::OFF),
            "fast" => Ok(Self::FAST),
            digits => {
                digits.parse().ok().and_then(|level| Self::level(level).ok()).ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    Error::new(ErrorKind::Invalid, format!("unknown compression {shown:?}"))
                        .hint("use \"off\", \"fast\", or a level from 1 to 19")
                })
            }
        }
    }
}

/// Compresses one input after the other; one for each worker.
pub struct Compressor {
    compression: Compression,
    context: CCtx<'static>,
    sampler: CCtx<'static>,
    sample: Vec<u8>,
    sample_output: Vec<u8>,
}

impl Compressor {
    /// A compressor of this strength.
    ///
    /// # Errors
    /// `Io` if there is not enough memory for it.
    pub fn new(compression: Compression) -> Result<Self> {
        let level = match compression.0 {
            Level::Off => 1,
            Level::Fast => -1,
            Level::Zstd(level) => i32::from(level),
        };
        Ok(Self {
            compression,
            context: context(level)?,
            sampler: context(SAMPLE_LEVEL)?,
            sample: Vec::new(),
            sample_output: Vec::new(),
        })
    }

    /// Fills `out`, whose content is dropped and whose memory is reused, with `plain` in the
    /// form that the returned algorithm names, and leaves room for an authentication tag.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Algorithm {
        out.clear();
        if self.compression != Compression::OFF && self.is_worth_trying(plain) {
            out.reserve(zstd_safe::compress_bound(plain.len()) + TAG_BYTES);
            let is_done = self.context.compress2(out, plain).is_ok();
            if is_done && pays(plain.len(), out.len()) {
                return Algorithm::Zstd;
            }
            out.clear();
        }
        out.reserve(plain.len() + TAG_BYTES);
        out.extend_from_slice(plain);
        Algorithm::Stored
    }

    /// A cheap guess: small inputs are simply tried, of large ones a sample is.
    fn is_worth_trying(&mut self, plain: &[u8]) -> bool {
        if plain.len() <= SAMPLED_BYTES_MIN {
            return true;
        }
        self.sample.clear();
        let stride = plain.len() / SAMPLE_PIECES;
        for piece in 0..SAMPLE_PIECES {
            let start = piece * stride + (stride - SAMPLE_PIECE_BYTES) / 2;
            self.sample.extend_from_slice(&plain[start..start + SAMPLE_PIECE_BYTES]);
        }
        self.sample_output.clear();
        self.sample_output.reserve(zstd_safe::compress_bound(self.sample.len()));
        self.sampler
            .compress2(&mut self.sample_output, &self.sample)
            .is_ok_and(|length| pays(self.sample.len(), length))
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compressor({})", self.compression)
    }
}

fn pays(plain_bytes: usize, compressed_bytes: usize) -> bool {
    compressed_bytes < plain_bytes - plain_bytes / SAVING_PARTS
}

fn context(level: i32) -> Result<CCtx<'static>> {
    let mut context = CCtx::try_create().ok_or_else(out_of_memory)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(|code| {
        Error::internal(format!("zstd level {level}: {}", zstd_safe::get_error_name(code)))
    })?;
    Ok(context)
}

fn out_of_memory() -> Error {
    Error::new(ErrorKind::Io, "not enough memory for a compression context")
}

/// Brings content back; one for each worker.
pub struct Decompressor {
    context: DCtx<'static>,
    buffer: Vec<u8>,
}

impl Decompressor {
    /// A decompressor.
    ///
    /// # Errors
    /// `Io` if there is not enough memory for it.
    pub fn new() -> Result<Self> {
        let context = DCtx::try_create().ok_or_else(out_of_memory)?;
        Ok(Self { context, buffer: Vec::new() })
    }

    /// The plaintext of `payload`, which must be exactly `plain_bytes` long: stored content is
    /// the payload itself, compressed content is unfolded into a buffer that is used again by
    /// the next call. Nothing is allocated beyond `plain_bytes`, which the caller has bounded.
    ///
    /// # Errors
    /// `Damaged` if the payload is no such content.
    pub fn plain<'a>(
        &'a mut self,
        algorithm: Algorithm,
        payload: &'a [u8],
        plain_bytes: usize,
    ) -> Result<&'a [u8]> {
        match algorithm {
            Algorithm::Zstd => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let result = self.unfold(payload, plain_bytes, &mut buffer);
                self.buffer = buffer;
                result.map(|()| self.buffer.as_slice())
            }
            Algorithm::Stored | Algorithm::Padding if payload.len() == plain_bytes => Ok(payload),
            Algorithm::Stored | Algorithm::Padding => Err(wrong_length(payload.len(), plain_bytes)),
        }
    }

    /// Like [`Self::plain`], into `out`, whose content is dropped and whose memory is reused.
    ///
    /// # Errors
    /// `Damaged` if the payload is no such content; `out` is worthless then.
    pub fn decompress(
        &mut self,
        algorithm: Algorithm,
        payload: &[u8],
        plain_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        if algorithm == Algorithm::Zstd {
            return self.unfold(payload, plain_bytes, out);
        }
        out.clear();
        out.extend_from_slice(self.plain(algorithm, payload, plain_bytes)?);
        Ok(())
    }

    fn unfold(&mut self, payload: &[u8], plain_bytes: usize, out: &mut Vec<u8>) -> Result<()> {
        if out.capacity() < plain_bytes {
            out.clear();
            out.reserve_exact(plain_bytes);
        }
        // A slice, not the vector: zstd would fill a vector up to its capacity.
        out.resize(plain_bytes, 0);
        let length = self.context.decompress(out.as_mut_slice(), payload).map_err(|code| {
            let why = zstd_safe::get_error_name(code);
            Error::new(ErrorKind::Damaged, format!("compressed content does not unfold: {why}"))
        })?;
        if length != plain_bytes {
            return Err(wrong_length(length, plain_bytes));
        }
        Ok(())
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

fn wrong_length(found: usize, expected: usize) -> Error {
    Error::new(ErrorKind::Damaged, format!("content of {found} bytes instead of {expected}"))
}

#[cfg(test)]
mod tests;
