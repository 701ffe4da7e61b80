//! The parts of a target URL: `scheme://[user@]host[:port]/path?name=value&...`.
//!
//! Every error names the setting that is wrong. Nothing here is secret: URLs with secrets are
//! refused before they come here.

use std::{collections::BTreeMap, fmt, str::FromStr};

use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};
use url::Url;

/// A target URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// In lower case.
    pub scheme: String,
    /// The part before `@`, decoded.
    pub user: Option<String>,
    /// Host, bucket or container, decoded; may be empty.
    pub host: String,
    /// If the URL says so.
    pub port: Option<u16>,
    /// Decoded segments of the path, without empty ones; none is `.` or `..`.
    pub path: Vec<String>,
    /// What stands behind `?`.
    pub settings: Settings,
}

impl Location {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// `Invalid` if it is no URL, has a fragment, names a setting twice, or its path has
    /// segments (`..`, encoded slashes or control characters) that mean different things on
    /// different storages.
    pub fn parse(text: &str) -> TargetResult<Self> {
        let url = Url::parse(text).map_err(|error| invalid("not a URL").because(error))?;
        if url.fragment().is_some() {
            return Err(invalid("a target URL has no '#'").hint("write %23 for a '#' in a name"));
        }
        if url.password().is_some() {
            return Err(invalid("the URL has a password in it")
                .hint("secrets never stand in a URL: use the environment, a file or a command"));
        }
        let user = Some(url.username()).filter(|user| !user.is_empty());
        Ok(Self {
            scheme: url.scheme().to_owned(),
            user: user.map(|user| decode(user, "user")).transpose()?,
            host: decode(url.host_str().unwrap_or_default(), "host")?,
            port: url.port(),
            path: path_of(text, &url)?,
            settings: Settings::of(&url)?,
        })
    }

    /// The path as text, segments joined by `/`; empty at the root.
    pub fn path_text(&self) -> String {
        self.path.join("/")
    }
}

/// The segments of the path. `url` has resolved dots already, so these are looked for in `text`.
fn path_of(text: &str, url: &Url) -> TargetResult<Vec<String>> {
    let raw = text.split(['?', '#']).next().unwrap_or(text);
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if raw.split('/').skip(3).any(is_dots) {
        return Err(invalid("the path of the URL has a segment \".\" or \"..\""));
    }
    let segments = url.path().split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| {
            let name = decode(segment, "path")?;
            if name.contains(['/', '\\']) || name.chars().any(char::is_control) {
                let why = format!("the path of the URL has a bad segment: {name:?}");
                return Err(invalid(why).hint("leave out slashes, backslashes, control characters"));
            }
            Ok(name)
        })
        .collect()
}

/// The settings behind `?`: each is taken once, what is left over was not meant for us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    fn of(url: &Url) -> TargetResult<Self> {
        let mut settings = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if settings.insert(name.to_string(), value.to_string()).is_some() {
                return Err(invalid(format!("the URL sets {name} twice")));
            }
        }
        Ok(Self(settings))
    }

    /// Takes a text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a value of any kind that is written as text.
    ///
    /// # Errors
    /// `Invalid`, naming the setting, the value and `expected`.
    pub fn value<T: FromStr>(&mut self, name: &str, expected: &str) -> TargetResult<Option<T>> {
        self.value_with(name, expected, |text| text.parse().ok())
    }

    /// Takes a value that `read` understands.
    ///
    /// # Errors
    /// `Invalid`, naming the setting, the value and `expected`.
    pub fn value_with<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> TargetResult<Option<T>> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        match read(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format!("{name}={text:?} in the URL is not {expected}"))),
        }
    }

    /// Takes a switch: `true`, `false`, or the name alone for true.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn switch(&mut self, name: &str) -> TargetResult<Option<bool>> {
        self.value_with(name, "true or false", |text| match text {
            "" | "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        })
    }

    /// Takes a setting that may differ by the first segment of the key: `name=VALUE` for all
    /// objects, `name.SEGMENT=VALUE` for those below one folder.
    ///
    /// Gives the folder (`None` for all) and the value.
    pub fn by_folder(&mut self, name: &str) -> Vec<(Option<String>, String)> {
        let start = format!("{name}.");
        let is_meant = |key: &String| key == name || key.starts_with(&start);
        let names: Vec<String> = self.0.keys().filter(|key| is_meant(key)).cloned().collect();
        names
            .into_iter()
            .filter_map(|key| {
                let value = self.0.remove(&key)?;
                Some((key.strip_prefix(&start).map(str::to_owned), value))
            })
            .collect()
    }

    /// Refuses what nobody took.
    ///
    /// # Errors
    /// `Invalid`, naming the first setting that is left and the `known` ones.
    pub fn finish(self, known: &[&str]) -> TargetResult<()> {
        let Some(name) = self.0.into_keys().next() else { return Ok(()) };
        let hint = match known {
            [] => "this storage takes no settings".to_owned(),
            known => format!("known are {}", known.join(", ")),
        };
        Err(invalid(format!("unknown setting in the URL: {name:?}")).hint(hint))
    }
}

fn decode(text: &str, what: &str) -> TargetResult<String> {
    percent_decode(text).ok_or_else(|| invalid(format!("the {what} in the URL is not UTF-8")))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let byte = (*first == b'%')
            .then(|| std::str::from_utf8(after.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(decoded).ok()
}

/// The error for a URL or setting that makes no sense.
pub fn invalid(why: impl fmt::Display) -> TargetError {
    TargetError::new(TargetErrorKind::Invalid, Operation::Open, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_found_and_decoded() {
        let url = "smb://DOMAIN%3Buser@host:4450/share/a%20b//c/?signing=true&x";
        let mut location = Location::parse(url).unwrap();
        assert_eq!(location.scheme, "smb");
        assert_eq!(location.user.as_deref(), Some("DOMAIN;user"));
        assert_eq!((location.host.as_str(), location.port), ("host", Some(4450)));
        assert_eq!(location.path, ["share", "a b", "c"]);
        assert_eq!(location.path_text(), "share/a b/c");
        assert_eq!(location.settings.switch("signing").unwrap(), Some(true));
        assert_eq!(location.settings.switch("x").unwrap(), Some(true));
        location.settings.finish(&[]).unwrap();
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for bad in [
            "no url",
            "s3://b/../x",
            "s3://b/a/%2E%2e/x",
            "s3://b/./x",
            "s3://b/a%2Fb",
            "s3://b/a%0Ab",
            "s3://b/%ff",
            "s3://b/x#y",
            "s3://b?a=1&a=2",
            "s3://u:p@b",
        ] {
            let error = Location::parse(bad).unwrap_err();
            assert_eq!(error.kind(), TargetErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn settings_are_typed_and_none_is_left_over() {
        let url = "s3://b/p?size=12&class=A&class.packs=B&bad=maybe&left=1";
        let mut settings = Location::parse(url).unwrap().settings;
        assert_eq!(settings.value::<u32>("size", "a number").unwrap(), Some(12));
        assert_eq!(settings.value::<u32>("absent", "a number").unwrap(), None);
        let classes = settings.by_folder("class");
        assert_eq!(classes, [(None, "A".into()), (Some("packs".into()), "B".into())]);
        let error = settings.switch("bad").unwrap_err();
        assert!(error.to_string().contains("bad=\"maybe\""), "{error}");
        let error = settings.finish(&["size", "class"]).unwrap_err();
        assert!(error.to_string().contains("\"left\""), "{error}");
        assert!(error.hint_text().unwrap().contains("size, class"));
    }
}
