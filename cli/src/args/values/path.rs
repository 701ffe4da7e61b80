//! Paths inside of snapshots.

use std::os::unix::ffi::OsStrExt;

use clap::builder::{OsStringValueParser, TypedValueParser};
use strongroom_core::entry::TreePath;

/// A path in a snapshot; leading, trailing and doubled slashes do not matter, any bytes may
/// stand in names.
pub fn parse_bytes(bytes: &[u8]) -> Result<TreePath, String> {
    let names = bytes.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    let joined: Vec<&[u8]> = names.collect();
    TreePath::parse(&joined.join(&b'/'))
        .ok_or_else(|| "expected a path without .. in it".to_owned())
}

/// For clap: a path that need not be UTF-8.
pub fn parser() -> impl TypedValueParser<Value = TreePath> {
    OsStringValueParser::new().try_map(|text| parse_bytes(text.as_bytes()))
}

/// For clap: as [`parser`], but something other than the root.
pub fn entry_parser() -> impl TypedValueParser<Value = TreePath> {
    OsStringValueParser::new().try_map(|text| match parse_bytes(text.as_bytes())? {
        path if path.is_root() => Err("expected a name".to_owned()),
        path => Ok(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_do_not_matter() {
        for text in ["usr/share", "/usr/share", "//usr//./share/"] {
            assert_eq!(parse_bytes(text.as_bytes()).unwrap().as_bytes(), b"usr/share", "{text}");
        }
        for text in ["", "/", ".", "./"] {
            assert!(parse_bytes(text.as_bytes()).unwrap().is_root(), "{text}");
        }
        assert_eq!(parse_bytes(b"/a\xff").unwrap().as_bytes(), b"a\xff");
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        for text in ["..", "/a/../b", "a/.."] {
            assert!(parse_bytes(text.as_bytes()).is_err(), "{text}");
        }
    }
}
