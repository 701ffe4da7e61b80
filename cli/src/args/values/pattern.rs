//! Patterns in gitignore syntax, compared with paths in snapshots.
//!
//! A leading slash ties a pattern to the root of the snapshot; every other one matches at any
//! depth, as in `backup --exclude`.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use strongroom_core::entry::{EntryKind, TreePath};

/// Compiled patterns; the last one that matches decides.
#[derive(Debug)]
pub struct Patterns(Gitignore);

impl Patterns {
    /// Compiles `patterns`.
    ///
    /// # Errors
    /// What is wrong with the first wrong one.
    pub fn new(patterns: &[String], ignores_case: bool) -> Result<Self, String> {
        let mut builder = GitignoreBuilder::new("/");
        builder.allow_unclosed_class(false);
        builder.case_insensitive(ignores_case).map_err(|error| error.to_string())?;
        for pattern in patterns {
            let line = line(pattern)?;
            builder.add_line(None, &line).map_err(|error| match error {
                ignore::Error::Glob { err, .. } => err,
                other => other.to_string(),
            })?;
        }
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the entry itself matches.
    pub fn matches(&self, path: &TreePath, kind: EntryKind) -> bool {
        self.0.matched(native(path), kind == EntryKind::Dir).is_ignore()
    }

    /// True if the entry or a folder above it matches.
    pub fn matches_within(&self, path: &TreePath, kind: EntryKind) -> bool {
        !path.is_root()
            && self.0.matched_path_or_any_parents(native(path), kind == EntryKind::Dir).is_ignore()
    }
}

fn native(path: &TreePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

/// The line of a gitignore file that means what `pattern` means on a command line: nothing is a
/// comment, and an inner slash does not tie the pattern to the root.
fn line(pattern: &str) -> Result<String, String> {
    let (negation, rest) = match pattern.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", pattern),
    };
    if rest.contains('\0') {
        return Err("no path holds a NUL".to_owned());
    }
    if rest.trim_matches(|symbol: char| symbol == '/' || symbol.is_whitespace()).is_empty() {
        return Err("it names nothing".to_owned());
    }
    let is_inner = rest.trim_end_matches('/').contains('/') && !rest.starts_with('/');
    let prefix = match rest.as_bytes()[0] {
        _ if is_inner => "**/",
        b'#' if negation.is_empty() => "\\",
        _ => "",
    };
    Ok(format!("{negation}{prefix}{rest}"))
}

/// For clap: a pattern that compiles.
pub fn parse(text: &str) -> Result<String, String> {
    Patterns::new(&[text.to_owned()], false).map(|_| text.to_owned())
}

/// For clap: a pattern that compiles and says what is wanted, not what is not.
pub fn parse_wanted(text: &str) -> Result<String, String> {
    if text.starts_with('!') {
        return Err("a leading ! has no meaning here; write \\! for the sign itself".to_owned());
    }
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: &str, path: &[u8], kind: EntryKind) -> bool {
        let patterns = Patterns::new(&[pattern.to_owned()], false).unwrap();
        patterns.matches(&TreePath::parse(path).unwrap(), kind)
    }

    #[test]
    fn names_paths_and_ends_of_paths() {
        let cases: [(&str, &[u8], bool); 10] = [
            ("*.txt", b"usr/a.txt", true),
            ("*.txt", b"usr/a.txt.gz", false),
            ("/usr/*.txt", b"usr/a.txt", true),
            ("/usr/*.txt", b"srv/usr/a.txt", false),
            ("usr/*.txt", b"srv/usr/a.txt", true),
            ("/usr/**/x", b"usr/a/b/x", true),
            ("a?", b"a\xff", true),
            ("#x", b"d/#x", true),
            ("\\!x", b"d/!x", true),
            ("d/", b"a/d", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matched(pattern, path, EntryKind::File), expected, "{pattern}");
        }
        assert!(matched("d/", b"a/d", EntryKind::Dir));
    }

    #[test]
    fn what_is_below_a_match_is_within() {
        let patterns = Patterns::new(&["/etc".to_owned()], false).unwrap();
        let below = TreePath::parse(b"etc/ssh/config").unwrap();
        assert!(!patterns.matches(&below, EntryKind::File));
        assert!(patterns.matches_within(&below, EntryKind::File));
        assert!(!patterns.matches_within(&TreePath::root(), EntryKind::Dir));
    }

    #[test]
    fn case_can_be_ignored() {
        let patterns = Patterns::new(&["readme*".to_owned()], true).unwrap();
        assert!(patterns.matches(&TreePath::parse(b"a/README.md").unwrap(), EntryKind::File));
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for wrong in ["", " ", "/", "!", "[a", "a\0", "{a"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(parse("!keep").is_ok());
        assert!(parse_wanted("!keep").is_err());
    }
}
