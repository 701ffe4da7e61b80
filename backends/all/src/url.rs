//! What a target URL says: its scheme, and for a folder its path.
//!
//! Knows the schemes by name only ([`SCHEMES`] is the list); what the rest of a URL means is its
//! backend's business.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

/// Every scheme: the backend behind it, the feature that builds it in, and whether it is.
#[rustfmt::skip]
pub(crate) const SCHEMES: &[Scheme] = &[
    Scheme::new("file",     Backend::Local,       "local",    cfg!(feature = "local")),
    Scheme::new("s3",       Backend::S3,          "s3",       cfg!(feature = "s3")),
    Scheme::new("az",       Backend::Azure,       "azure",    cfg!(feature = "azure")),
    Scheme::new("smb",      Backend::Smb,         "smb",      cfg!(feature = "smb")),
    Scheme::new("gs",       Backend::ObjectStore, "gs",       cfg!(feature = "gs")),
    Scheme::new("sftp",     Backend::Opendal,     "sftp",     cfg!(feature = "sftp")),
    Scheme::new("webdav",   Backend::Opendal,     "webdav",   cfg!(feature = "webdav")),
    Scheme::new("webdavs",  Backend::Opendal,     "webdav",   cfg!(feature = "webdav")),
    Scheme::new("ftp",      Backend::Opendal,     "ftp",      cfg!(feature = "ftp")),
    Scheme::new("ftps",     Backend::Opendal,     "ftp",      cfg!(feature = "ftp")),
    Scheme::new("b2",       Backend::Opendal,     "b2",       cfg!(feature = "b2")),
    Scheme::new("swift",    Backend::Opendal,     "swift",    cfg!(feature = "swift")),
    Scheme::new("azfile",   Backend::Opendal,     "azfile",   cfg!(feature = "azfile")),
    Scheme::new("gdrive",   Backend::Opendal,     "gdrive",   cfg!(feature = "gdrive")),
    Scheme::new("dropbox",  Backend::Opendal,     "dropbox",  cfg!(feature = "dropbox")),
    Scheme::new("onedrive", Backend::Opendal,     "onedrive", cfg!(feature = "onedrive")),
    // for every other service of OpenDAL that was compiled in: `opendal+memory://`
    Scheme::new(ANY_OPENDAL, Backend::Opendal,    "opendal",  cfg!(feature = "opendal")),
];

/// What the scheme of any other OpenDAL service begins with.
const ANY_OPENDAL: &str = "opendal+";

/// The crate behind a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Local,
    S3,
    Azure,
    Smb,
    ObjectStore,
    Opendal,
}

/// A row of [`SCHEMES`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    name: &'static str,
    pub(crate) backend: Backend,
    feature: &'static str,
    is_built: bool,
}

impl Scheme {
    const fn new(
        name: &'static str,
        backend: Backend,
        feature: &'static str,
        is_built: bool,
    ) -> Self {
        Self { name, backend, feature, is_built }
    }

    fn find(scheme: &str) -> Option<&'static Self> {
        let family = if scheme.starts_with(ANY_OPENDAL) { ANY_OPENDAL } else { scheme };
        SCHEMES.iter().find(|known| known.name == family)
    }

    fn expect_built(&self, scheme: &str) -> TargetResult<()> {
        if self.is_built {
            return Ok(());
        }
        let feature = self.feature;
        let why = format!("{scheme}:// is unsupported here: feature \"{feature}\" is not built in");
        Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why)
            .hint("use a program that was built with this feature"))
    }
}

/// A place for a repository, as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetUrl {
    /// A folder: a bare path, or `file://`.
    Local(PathBuf),
    /// Anything else, as the user wrote it: there is no secret in it.
    Remote(RemoteUrl),
}

/// A URL that a backend will understand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteUrl {
    scheme: String,
    text: String,
}

impl RemoteUrl {
    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn backend(&self) -> Option<Backend> {
        Scheme::find(&self.scheme).map(|scheme| scheme.backend)
    }
}

impl TargetUrl {
    /// Understands `text`, which is a URL if it begins with a scheme and `://`, else a path.
    ///
    /// # Errors
    /// `Unsupported` for a scheme whose backend is not compiled in; `Invalid` for an unknown one,
    /// a malformed URL, or one with a secret in it. No error repeats a secret.
    pub fn parse(text: impl AsRef<OsStr>) -> TargetResult<Self> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(invalid("the target is empty").hint("give a folder or a URL"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            refuse_half_url(text)?;
            return Ok(Self::Local(text.into()));
        };
        refuse_secrets(&scheme, rest)?;
        let Some(known) = Scheme::find(&scheme) else {
            return Err(invalid(format!("unknown scheme \"{scheme}\""))
                .hint("a folder is a bare path; one with \"://\" in its name begins with ./"));
        };
        known.expect_built(&scheme)?;
        if known.backend == Backend::Local {
            return parse_file(rest).map(Self::Local);
        }
        let rest = std::str::from_utf8(rest).map_err(|_| invalid("the URL is not UTF-8"))?;
        let text = format!("{scheme}://{rest}");
        Ok(Self::Remote(RemoteUrl { scheme, text }))
    }

    /// The place of a single object: the target that it lies in, and its name there, which is
    /// the last part of the path. Settings of the URL stay with the target.
    ///
    /// # Errors
    /// `Invalid` if there is no last part.
    pub fn split_name(&self) -> TargetResult<(Self, String)> {
        let none =
            || invalid("the URL names no object").hint("write the object's name behind a slash");
        match self {
            Self::Local(path) => {
                let name = path.file_name().and_then(OsStr::to_str).ok_or_else(none)?;
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                Ok((Self::Local(folder.to_owned()), name.to_owned()))
            }
            Self::Remote(url) => {
                let (place, settings) = match url.text.split_once('?') {
                    Some((place, settings)) => (place, format!("?{settings}")),
                    None => (url.text.as_str(), String::new()),
                };
                let authority = url.scheme.len() + "://".len();
                let (folder, name) = place[authority..].rsplit_once('/').ok_or_else(none)?;
                if name.is_empty() {
                    return Err(none());
                }
                let text = format!("{}://{folder}{settings}", url.scheme);
                Ok((Self::Remote(RemoteUrl { scheme: url.scheme.clone(), text }), name.to_owned()))
            }
        }
    }
}

/// The scheme in lower case, and what follows `://`.
fn split_scheme(text: &OsStr) -> Option<(String, &[u8])> {
    let text = text.as_bytes();
    let end = text.windows(3).position(|window| window == b"://")?;
    let scheme = std::str::from_utf8(&text[..end]).ok()?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), &text[end + 3..]))
}

/// `s3:bucket` was meant as a URL and would become a folder of that name.
fn refuse_half_url(text: &OsStr) -> TargetResult<()> {
    let Some(text) = text.to_str() else { return Ok(()) };
    let Some((scheme, _)) = text.split_once(':') else { return Ok(()) };
    if Scheme::find(scheme).is_some() {
        let hint = format!("write {scheme}://... for a URL, or ./{scheme}:... for a folder");
        return Err(
            invalid(format!("half a URL: \"//\" is missing after \"{scheme}:\"")).hint(hint)
        );
    }
    Ok(())
}

fn refuse_secrets(scheme: &str, rest: &[u8]) -> TargetResult<()> {
    const HINT: &str = "secrets never stand in a URL, where other users and logs see them: use the \
                        environment, a file or a command";
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    if has_password(authority, after) {
        return Err(invalid(format!("the {scheme} URL has a password in it")).hint(HINT));
    }
    let query = after.split(|byte| *byte == b'?').skip(1);
    for parameter in query.flat_map(|query| query.split(|byte| b"&;".contains(byte))) {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if is_secret(&name) {
            let name = name.escape_default();
            return Err(invalid(format!("the {scheme} URL has a secret in it: {name}")).hint(HINT));
        }
    }
    Ok(())
}

/// Whether a colon stands before an '@', which may come late: a password may hold what ends the
/// authority. A port is no password, and neither is an IPv6 address.
fn has_password(authority: &[u8], after: &[u8]) -> bool {
    if let Some(end) = authority.iter().rposition(|byte| *byte == b'@') {
        return authority[..end].contains(&b':');
    }
    let colon = authority.iter().position(|byte| *byte == b':');
    let is_port = |at: usize| authority[at + 1..].iter().all(u8::is_ascii_digit);
    !authority.starts_with(b"[")
        && after.contains(&b'@')
        && colon.is_some_and(|colon| !is_port(colon))
}

fn is_secret(parameter: &str) -> bool {
    ["password", "passphrase", "secret", "token"].iter().any(|word| parameter.contains(word))
        || ["key", "sas", "sig", "credential"].iter().any(|word| parameter.ends_with(word))
}

/// The path of `file://[localhost]/path`.
fn parse_file(rest: &[u8]) -> TargetResult<PathBuf> {
    let path = rest.strip_prefix(b"localhost").unwrap_or(rest);
    if !path.starts_with(b"/") {
        return Err(invalid("a file URL names no other host and no relative path").hint(
            "write file:///absolute/path, or a bare path; for another host, smb:// or sftp://",
        ));
    }
    if path.iter().any(|byte| b"?#".contains(byte)) {
        return Err(invalid("a file URL has no '?' and no '#'").hint("write %3F or %23 in names"));
    }
    decode_percent(path).map(PathBuf::from)
}

fn decode_percent(text: &[u8]) -> TargetResult<OsString> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let byte = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte != 0 => decoded.push(byte),
            _ => {
                return Err(invalid("'%' is not followed by the two hex digits of a byte")
                    .hint("write %25 for a '%' itself, or give a bare path"));
            }
        }
        rest = &after[2..];
    }
    Ok(OsString::from_vec(decoded))
}

fn invalid(why: impl Into<String>) -> TargetError {
    TargetError::new(TargetErrorKind::Invalid, Operation::Open, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: impl AsRef<OsStr>) -> PathBuf {
        match TargetUrl::parse(text).unwrap() {
            TargetUrl::Local(path) => path,
            TargetUrl::Remote(url) => panic!("{}", url.as_str()),
        }
    }

    #[test]
    fn paths_are_folders_as_they_stand() {
        for path in
            ["/srv/backup", "relative", "./a b", "..", "a:b", "C:/x", "%41", "./s3:x", "/x://y"]
        {
            assert_eq!(local(path), PathBuf::from(path));
        }
        let bytes = OsStr::from_bytes(b"/caf\xe9");
        assert_eq!(local(bytes), PathBuf::from(bytes));
    }

    #[test]
    fn file_urls_are_decoded() {
        for (url, path) in [
            ("file:///srv/backup", "/srv/backup"),
            ("FILE:///a%20b%2Fc%25", "/a b/c%"),
            ("file://localhost/x", "/x"),
            ("file:///a:b@c", "/a:b@c"),
        ] {
            assert_eq!(local(url), PathBuf::from(path), "{url}");
        }
        assert_eq!(local("file:///caf%E9"), PathBuf::from(OsStr::from_bytes(b"/caf\xe9")));
    }

    #[test]
    fn what_makes_no_sense_is_invalid_and_says_what_to_do() {
        for bad in [
            "",
            "file://host/x",
            "file://relative",
            "file://",
            "file://localhostx/a",
            "file:///a%2",
            "file:///a%zz",
            "file:///a%+1",
            "file:///a%00b",
            "file:///a?b",
            "file:///a#b",
            "file:/x",
            "s3:bucket",
            "gopher://x",
            "http://x/y",
        ] {
            let error = TargetUrl::parse(bad).unwrap_err();
            assert_eq!(error.kind(), TargetErrorKind::Invalid, "{bad}");
            assert!(error.hint_text().is_some(), "{bad}");
        }
        let error = TargetUrl::parse("gopher://x").unwrap_err();
        assert_eq!(error.to_string(), "open: unknown scheme \"gopher\"");
    }

    #[test]
    fn every_scheme_has_its_backend() {
        for (url, backend) in [
            ("s3://bucket/prefix?region=eu-central-1&path-style=true", Backend::S3),
            ("az://container", Backend::Azure),
            ("smb://user@host:445/share/path", Backend::Smb),
            ("smb://host:445/share/a@b", Backend::Smb),
            ("smb://[fe80::1]:445/share/a@b", Backend::Smb),
            ("SFTP://user@host/path", Backend::Opendal),
            ("gs://bucket", Backend::ObjectStore),
            ("opendal+dropbox://x", Backend::Opendal),
        ] {
            let scheme = split_scheme(OsStr::new(url)).unwrap().0;
            let row = Scheme::find(&scheme).unwrap();
            assert_eq!(row.backend, backend, "{url}");
            match TargetUrl::parse(url) {
                Ok(TargetUrl::Remote(url)) => {
                    assert!(row.is_built);
                    assert_eq!((url.scheme(), url.backend()), (scheme.as_str(), Some(backend)));
                    assert!(url.as_str().starts_with(&format!("{scheme}://")));
                }
                Ok(TargetUrl::Local(path)) => panic!("{url}: {}", path.display()),
                Err(error) => assert!(!row.is_built, "{error}"),
            }
        }
    }

    #[test]
    fn backends_that_are_not_built_in_are_named() {
        let missing = Scheme::new("s3", Backend::S3, "s3", false);
        let error = missing.expect_built("s3").unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unsupported);
        assert!(error.to_string().contains("feature \"s3\" is not built in"), "{error}");
    }

    #[test]
    fn a_single_object_has_a_target_and_a_name() {
        let split = |text: &str| TargetUrl::parse(text).unwrap().split_name();
        let local = |text: &str| split(text).unwrap();
        assert_eq!(local("/srv/x"), (TargetUrl::Local("/srv".into()), "x".into()));
        assert_eq!(local("x"), (TargetUrl::Local(".".into()), "x".into()));
        assert!(split("/").is_err());
        if cfg!(feature = "s3") {
            let (target, name) = split("s3://bucket/a/b?region=x").unwrap();
            assert_eq!(name, "b");
            assert_eq!(target, TargetUrl::parse("s3://bucket/a?region=x").unwrap());
            assert!(split("s3://bucket").is_err());
            assert!(split("s3://bucket/?region=x").is_err());
        }
    }

    #[test]
    fn secrets_in_urls_are_refused_and_not_repeated() {
        for url in [
            "smb://user:hunter2@host/share",
            "sftp://user:hunter2/x@host/path",
            "sftp://user:hun@ter2@host/path",
            "gopher://user:hunter2@host",
            "file://user:hunter2@host/x",
            "s3://bucket/x?secret-access-key=hunter2",
            "az://container?region=x&ACCOUNT_KEY=hunter2",
            "az://container?sig=hunter2",
        ] {
            let error = TargetUrl::parse(url).unwrap_err();
            assert_eq!(error.kind(), TargetErrorKind::Invalid, "{url}");
            assert!(error.hint_text().unwrap().contains("secrets"), "{url}");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2") && !text.contains("ter2"), "{text}");
        }
    }
}
