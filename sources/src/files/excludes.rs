//! What to leave out, by patterns in gitignore syntax.
//!
//! Only compares paths; opens nothing but the files that hold patterns.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use strongroom_core::{
    entry::display_name,
    error::{Error, ErrorKind, Result},
};

use super::invalid;

/// The compiled patterns.
#[derive(Debug)]
pub(super) struct Excludes(Gitignore);

impl Excludes {
    /// Compiles the patterns in `files`, then `patterns`; the last one that matches decides.
    pub(super) fn new(files: &[PathBuf], patterns: &[String]) -> Result<Self> {
        let mut builder = GitignoreBuilder::new("/");
        builder.allow_unclosed_class(false);
        for file in files {
            add_file(&mut builder, file)?;
        }
        for pattern in patterns {
            // In a list of arguments nothing is a comment.
            let literal = pattern.starts_with('#').then(|| format!("\\{pattern}"));
            add(&mut builder, literal.as_deref().unwrap_or(pattern), "exclude pattern")?;
        }
        let matcher = builder
            .build()
            .map_err(|error| invalid("the exclude patterns cannot be used").because(error))?;
        Ok(Self(matcher))
    }

    /// True if there is nothing to compare with.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the entry at `path` (absolute, without the leading slash) is to be left out.
    pub(super) fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        self.0.matched(Path::new(OsStr::from_bytes(path)), is_folder).is_ignore()
    }
}

fn add_file(builder: &mut GitignoreBuilder, file: &Path) -> Result<()> {
    let shown = display_name(file.as_os_str().as_bytes());
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::NotFound => ErrorKind::Invalid,
            _ => ErrorKind::Io,
        };
        Error::new(kind, "cannot be read as exclude patterns").on(&shown).because(error)
    };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    // Editors of other systems mark the encoding at the start.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    for (index, line) in text.lines().enumerate() {
        if !line.trim().is_empty() && !line.starts_with('#') {
            add(builder, line, &format!("{shown}:{}", index + 1))?;
        }
    }
    Ok(())
}

/// Adds one pattern; `place` names where it stands.
fn add(builder: &mut GitignoreBuilder, pattern: &str, place: &str) -> Result<()> {
    let refused = |why: &str| invalid(format!("invalid pattern `{pattern}`: {why}")).on(place);
    if pattern.contains('\0') {
        return Err(refused("no path holds a NUL"));
    }
    let (negation, rest) = match pattern.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", pattern),
    };
    if rest.trim_matches(|symbol: char| symbol == '/' || symbol.is_whitespace()).is_empty() {
        return Err(refused("it names nothing"));
    }
    // In a file of git, an inner slash ties a pattern to the folder of that file. Here there is
    // no such folder, and only a leading slash ties it to one: the root of the file system.
    let has_inner_slash = rest.trim_end().trim_end_matches('/').contains('/');
    let prefix = if has_inner_slash && !rest.starts_with('/') { "**/" } else { "" };
    match builder.add_line(None, &format!("{negation}{prefix}{rest}")) {
        Ok(_) => Ok(()),
        Err(ignore::Error::Glob { err, .. }) => Err(refused(&err)),
        Err(error) => Err(refused(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str]) -> Excludes {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        Excludes::new(&[], &patterns).unwrap()
    }

    /// Patterns, a path (a trailing slash says that it is a folder), and whether it is left out.
    const TABLE: &[(&[&str], &str, bool)] = &[
        (&[], "a", false),
        (&["*.o"], "main.o", true),
        (&["*.o"], "home/u/src/main.o", true),
        (&["*.o"], "home/u/src/main.o.c", false),
        (&["*.o"], "dir.o/", true),
        (&["cache"], "home/cache", true),
        (&["cache"], "home/cache/", true),
        (&["cache"], "home/mycache/", false),
        (&["cache/"], "home/cache/", true),
        (&["cache/"], "home/cache", false),
        (&["/home/u/tmp"], "home/u/tmp/", true),
        (&["/home/u/tmp"], "srv/home/u/tmp/", false),
        (&["/home/u/tmp/"], "home/u/tmp", false),
        (&["/home/*/tmp"], "home/u/tmp/", true),
        (&["/home/*/tmp"], "home/u/v/tmp/", false),
        (&["/home/**/tmp"], "home/u/v/tmp/", true),
        (&["/tmp/**"], "tmp/", false),
        (&["/tmp/**"], "tmp/a", true),
        (&[".cache/mozilla"], "home/u/.cache/mozilla/", true),
        (&[".cache/mozilla"], ".cache/mozilla", true),
        (&[".cache/mozilla"], "home/u/.cache/chrome/", false),
        (&["**/target/debug"], "p/target/debug/", true),
        (&["a?c"], "abc", true),
        (&["a?c"], "a/c", false),
        (&["file[0-9]"], "file7", true),
        (&["file[0-9]"], "filex", false),
        (&["*.log", "!keep.log"], "keep.log", false),
        (&["*.log", "!keep.log"], "drop.log", true),
        (&["!keep.log", "*.log"], "keep.log", true),
        (&["*.log", "!logs/keep.log"], "x/logs/keep.log", false),
        (&["#data"], "#data", true),
        (&["\\#data"], "#data", true),
        (&["\\!data"], "!data", true),
        (&["name with spaces"], "x/name with spaces", true),
        (&["-rf"], "-rf", true),
    ];

    #[test]
    fn patterns_match_as_documented() {
        for (patterns, path, expected) in TABLE {
            let is_folder = path.ends_with('/');
            let path = path.trim_end_matches('/');
            let excluded = excludes(patterns).matches(path.as_bytes(), is_folder);
            assert_eq!(excluded, *expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_can_be_matched() {
        assert!(excludes(&["*.tmp"]).matches(b"x/\xff\xfe.tmp", false));
        assert!(excludes(&["/x/*"]).matches(b"x/\xff\n", false));
    }

    #[test]
    fn invalid_patterns_are_refused_by_name() {
        for pattern in ["[z-a]", "[abc", "{a,b", "x\\", "", "/", "!", "!/", "   ", "a\0b"] {
            let error = Excludes::new(&[], &[pattern.to_owned()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{pattern}");
            assert!(error.to_string().contains(&format!("`{pattern}`")), "{error}");
        }
    }

    #[test]
    fn files_of_patterns_come_before_arguments_and_errors_name_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("excludes");
        std::fs::write(&file, "\u{feff}# comment\n\n*.log\r\n!a.log\n").unwrap();
        let both = Excludes::new(std::slice::from_ref(&file), &["!b.log".to_owned()]).unwrap();
        assert!(both.matches(b"x.log", false));
        assert!(!both.matches(b"a.log", false));
        assert!(!both.matches(b"b.log", false));

        std::fs::write(&file, "*.log\n\n[z-a]\n").unwrap();
        let error = Excludes::new(std::slice::from_ref(&file), &[]).unwrap_err().to_string();
        assert!(error.contains(&format!("{}:3: ", file.display())), "{error}");
        assert!(error.contains("`[z-a]`"), "{error}");
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(Excludes::new(&[file], &[]).unwrap_err().kind(), ErrorKind::Invalid);
        let missing = Excludes::new(&[folder.path().join("none")], &[]).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Invalid);
    }
}
