//! Which snapshot, and which place in it, the user means.

use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};
use strongroom_core::{entry::TreePath, repository::Selector};

use super::path;
use crate::time;

/// Fewer digits are too easily mistaken.
const ID_DIGITS_MIN: usize = 4;
const ID_DIGITS_MAX: usize = 32;

/// A snapshot as the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotChoice {
    /// What was typed.
    pub text: String,
    /// What it means.
    pub selector: Selector,
}

/// A snapshot and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which snapshot.
    pub snapshot: SnapshotChoice,
    /// Where in it.
    pub path: TreePath,
}

/// `latest`, `latest~N`, `@TIME`, or the first digits of an id.
pub fn parse(text: &str) -> Result<SnapshotChoice, String> {
    Ok(SnapshotChoice { text: text.to_owned(), selector: parse_selector(text)? })
}

fn parse_selector(text: &str) -> Result<Selector, String> {
    if let Some(time) = text.strip_prefix('@') {
        return time::parse_limit(time).map(Selector::NotLaterThan);
    }
    if text == "latest" {
        return Ok(Selector::Latest(0));
    }
    if let Some(back) = text.strip_prefix("latest~") {
        let is_plain = back.bytes().all(|byte| byte.is_ascii_digit());
        return match back.parse() {
            Ok(back) if is_plain => Ok(Selector::Latest(back)),
            _ => Err("expected a number after latest~".to_owned()),
        };
    }
    let digits = text.to_ascii_lowercase();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && (ID_DIGITS_MIN..=ID_DIGITS_MAX).contains(&digits.len()) {
        return Ok(Selector::IdPrefix(digits));
    }
    Err(format!(
        "expected latest, latest~N, @TIME, or the first {ID_DIGITS_MIN} to {ID_DIGITS_MAX} digits \
         of a snapshot's id"
    ))
}

/// `SNAP` or `SNAP:PATH`. Times hold colons: behind a time, the path must begin with a slash.
pub fn parse_place_bytes(bytes: &[u8]) -> Result<Place, String> {
    let separator: &[u8] = if bytes.starts_with(b"@") { b":/" } else { b":" };
    let at = bytes.windows(separator.len()).position(|window| window == separator);
    let (selector, path) = match at {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b""[..]),
    };
    let selector = std::str::from_utf8(selector).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(Place { snapshot: parse(selector)?, path: path::parse_bytes(path)? })
}

/// For clap: a place whose path need not be UTF-8.
pub fn place_parser() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(|text| parse_place_bytes(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::runtime::Timestamp;

    #[test]
    fn all_forms_of_a_snapshot() {
        assert_eq!(parse_selector("latest"), Ok(Selector::Latest(0)));
        assert_eq!(parse_selector("latest~12"), Ok(Selector::Latest(12)));
        assert_eq!(parse_selector("DEADbeef"), Ok(Selector::IdPrefix("deadbeef".to_owned())));
        let half_past = Selector::NotLaterThan(Timestamp(1_768_487_400_000_000_000));
        assert_eq!(parse_selector("@2026-01-15T14:30:00Z"), Ok(half_past.clone()));
        assert_eq!(parse_selector("@2026-01-15T16:30:00+02:00"), Ok(half_past));
    }

    #[test]
    fn what_names_no_snapshot_is_refused() {
        let long = "a".repeat(33);
        for wrong in [
            "",
            "abc",
            "last",
            "latest~",
            "latest~x",
            "latest~-1",
            "latest~+1",
            "@",
            "@soon",
            "xyzw",
            &long,
        ] {
            assert!(parse_selector(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn places_split_at_the_right_colon() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"latest", b""),
            (b"latest:", b""),
            (b"latest:/etc", b"etc"),
            (b"latest:a:b", b"a:b"),
            (b"@2026-01-15T14:30:00Z:/etc/x:/y", b"etc/x:/y"),
            (b"abcd:/\xff", b"\xff"),
        ];
        for (text, path) in cases {
            let place = parse_place_bytes(text).unwrap();
            assert_eq!(place.path.as_bytes(), path, "{}", text.escape_ascii());
        }
        for wrong in [&b":/etc"[..], b"\xff:/etc", b"latest:../x", b"@2026-01-15T14:30:00Z:etc"] {
            assert!(parse_place_bytes(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }
}
