//! What an SMB target needs to know, and how a URL, the environment and a file say it.
//!
//! Nothing is asked of a server here.

use std::{fmt, path::Path, time::Duration};

use strongroom_backend_support::{Environment, Location, Secret, invalid};
use strongroom_core::target::TargetResult;
use zeroize::Zeroizing;

/// The port of SMB over TCP.
const PORT: u16 = 445;
/// More links do not help any server, and each costs it a process.
const CONNECTIONS_MAX: usize = 16;
/// A credentials file is a few lines; what is longer is another file.
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;

const SETTINGS: [&str; 5] = ["domain", "signing", "encryption", "connections", "timeout"];

/// The longest time limit that makes sense, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 3600;

const PASSWORD: &str = "STRONGROOM_SMB_PASSWORD";
const USER: &str = "STRONGROOM_SMB_USER";
const DOMAIN: &str = "STRONGROOM_SMB_DOMAIN";
const CREDENTIALS_FILE: &str = "STRONGROOM_SMB_CREDENTIALS_FILE";

/// Where an SMB target lies and who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbConfig {
    /// Name or address of the server; IPv6 addresses in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Name of the share.
    pub share: String,
    /// Folder below the share, segment by segment; empty is the root of the share.
    pub path: Vec<String>,
    /// Who signs in; empty asks for a guest session, which is never signed.
    pub user: String,
    /// Domain or workgroup of the user; empty is the server's own.
    pub domain: String,
    /// The user's password; `None` only for guests.
    pub password: Option<Secret>,
    /// Whether every message must be signed.
    pub signing: Protection,
    /// Whether every message must be encrypted.
    pub encryption: Protection,
    /// How many connections are opened at most, for reading and for writing each.
    pub connections: usize,
    /// How long the server may take for the answer to one request, also if bytes trickle in.
    pub request_time_max: Duration,
}

/// How much a protection of the connection is insisted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// A connection without it is refused.
    Required,
    /// Used where the server asks for it.
    Optional,
}

impl SmbConfig {
    /// Reads `smb://[DOMAIN;][user@]host[:port]/share[/folder][?name=value&...]`; the rest comes
    /// from `environment`.
    ///
    /// # Errors
    /// `Invalid`, naming the part, setting or variable that is wrong or missing.
    pub fn from_url(url: &str, environment: &Environment<'_>) -> TargetResult<Self> {
        let mut location = Location::parse(url)?;
        if location.scheme != "smb" {
            return Err(invalid(format!("not an smb:// URL: {}://", location.scheme)));
        }
        if location.host.is_empty() {
            return Err(invalid("the URL names no server").hint(FORM));
        }
        if location.path.is_empty() {
            return Err(invalid("the URL names no share").hint(FORM));
        }
        let path = location.path.split_off(1);
        let share = location.path.remove(0);
        let settings = &mut location.settings;
        let said = Said::in_url(location.user.as_deref(), settings.text("domain"))?;
        let signing = protection(settings.text("signing"), "signing", Protection::Required)?;
        let encryption =
            protection(settings.text("encryption"), "encryption", Protection::Optional)?;
        let expected = format!("a number from 1 to {CONNECTIONS_MAX}");
        let connections = settings.value_with("connections", &expected, |text| {
            text.parse().ok().filter(|count| (1..=CONNECTIONS_MAX).contains(count))
        })?;
        let expected = format!("a number of seconds from 1 to {TIMEOUT_SECONDS_MAX}");
        let timeout = settings.value_with("timeout", &expected, |text| {
            text.parse().ok().filter(|seconds| (1..=TIMEOUT_SECONDS_MAX).contains(seconds))
        })?;
        location.settings.finish(&SETTINGS)?;
        let Identity { user, domain, password } = Identity::complete(said, environment)?;
        if user.is_empty() && signing == Protection::Required {
            return Err(invalid("no user is named, and a guest's session cannot be signed")
                .hint(format!("write smb://USER@HOST/..., or set {USER}")));
        }
        Ok(Self {
            host: location.host,
            port: location.port.unwrap_or(PORT),
            share,
            path,
            user,
            domain,
            password,
            signing,
            encryption,
            connections: connections.unwrap_or(Self::CONNECTIONS),
            request_time_max: timeout.map_or(Self::REQUEST_TIME_MAX, Duration::from_secs),
        })
    }

    /// Connections for reading and for writing each, unless the URL says otherwise.
    pub const CONNECTIONS: usize = 2;

    /// Time limit for a request, unless the URL says otherwise.
    pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(50);

    /// Host and port as one dials them.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

const FORM: &str = "the form is smb://user@host[:port]/share/folder";

/// The URL, without any secret.
impl fmt::Display for SmbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("smb://")?;
        if !self.domain.is_empty() {
            write!(f, "{};", self.domain)?;
        }
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        f.write_str(&self.host)?;
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.share)?;
        self.path.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

fn protection(text: Option<String>, name: &str, otherwise: Protection) -> TargetResult<Protection> {
    match text.as_deref() {
        None => Ok(otherwise),
        Some("required") => Ok(Protection::Required),
        Some("optional") => Ok(Protection::Optional),
        Some(text) => {
            Err(invalid(format!("{name}={text:?} in the URL is not required or optional")))
        }
    }
}

/// What one place says of user, domain and password.
#[derive(Debug, Default)]
struct Said {
    user: Option<String>,
    domain: Option<String>,
    password: Option<Secret>,
}

impl Said {
    fn in_url(user: Option<&str>, domain: Option<String>) -> TargetResult<Self> {
        let (before, user) = match user.and_then(|user| user.split_once(';')) {
            Some((domain, user)) => (Some(domain.to_owned()), Some(user)),
            None => (None, user),
        };
        if before.is_some() && domain.is_some() && before != domain {
            return Err(invalid("the URL names two domains")
                .hint("name it before the user, or as domain=NAME"));
        }
        Ok(Self { user: user.map(str::to_owned), domain: before.or(domain), password: None })
    }

    fn in_environment(environment: &Environment<'_>) -> TargetResult<Self> {
        Ok(Self {
            user: environment.variable(USER),
            domain: environment.variable(DOMAIN),
            password: environment.secret(PASSWORD)?,
        })
    }

    /// Reads a file as mount.cifs does: lines `name=value`, nothing after the value.
    fn in_file(path: &str) -> TargetResult<Self> {
        let unreadable = |error: std::io::Error| {
            invalid(format!("the file that {CREDENTIALS_FILE} names cannot be read"))
                .at(path)
                .because(error)
        };
        let length = std::fs::metadata(Path::new(path)).map_err(unreadable)?.len();
        if length > CREDENTIALS_BYTES_MAX {
            let why = format!("the file that {CREDENTIALS_FILE} names is far too long");
            return Err(invalid(why).at(path));
        }
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(unreadable)?;
        let mut said = Self::default();
        for (number, line) in text.lines().enumerate() {
            said.take(line).ok_or_else(|| {
                // Never the line itself, as it may hold the password.
                let why = format!("line {} is not username=, password= or domain=", number + 1);
                invalid(why).at(path)
            })?;
        }
        Ok(said)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            return Some(());
        }
        let (name, value) = line.split_once('=')?;
        match name.trim_end() {
            "username" | "user" => self.user = Some(value.to_owned()),
            "domain" | "dom" => self.domain = Some(value.to_owned()),
            "password" | "pass" => self.password = Some(Secret::new(value)),
            _ => return None,
        }
        Some(())
    }
}

/// Who signs in, after all places were asked.
struct Identity {
    user: String,
    domain: String,
    password: Option<Secret>,
}

impl Identity {
    /// The URL goes before the environment, and that before the file.
    fn complete(url: Said, environment: &Environment<'_>) -> TargetResult<Self> {
        let variables = Said::in_environment(environment)?;
        let file = match environment.variable(CREDENTIALS_FILE) {
            Some(path) => Said::in_file(&path)?,
            None => Said::default(),
        };
        let user = url.user.or(variables.user);
        if variables.password.is_none()
            && let (Some(user), Some(other)) = (&user, &file.user)
            && user != other
        {
            let why = format!("the password in the credentials file is {other}'s, not {user}'s");
            return Err(invalid(why).hint(format!("set {PASSWORD}, or use the file of this user")));
        }
        let user = user.or(file.user).unwrap_or_default();
        let domain = url.domain.or(variables.domain).or(file.domain).unwrap_or_default();
        let password = variables.password.or(file.password);
        if password.is_none() && !user.is_empty() {
            let hint = format!(
                "set {PASSWORD}, {PASSWORD}_FILE, {PASSWORD}_COMMAND or {CREDENTIALS_FILE}"
            );
            return Err(invalid(format!("there is no password for {user}")).hint(hint));
        }
        Ok(Self { user, domain, password })
    }
}

#[cfg(test)]
mod tests {
    use strongroom_core::target::TargetErrorKind;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment<'static> {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment::new(move |name| {
            pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        })
    }

    const SECRET: (&str, &str) = ("STRONGROOM_SMB_PASSWORD", "hunter2");

    #[test]
    fn all_parts_of_a_url_are_taken() {
        let url = "smb://CORP%3Banna@nas:4450/backups/My%20PC/x\
                   ?encryption=required&signing=optional&connections=5&timeout=7";
        let config = SmbConfig::from_url(url, &environment(&[SECRET])).unwrap();
        assert_eq!((config.host.as_str(), config.port), ("nas", 4450));
        assert_eq!(config.address(), "nas:4450");
        assert_eq!((config.user.as_str(), config.domain.as_str()), ("anna", "CORP"));
        assert_eq!((config.share.as_str(), config.path.join("/")), ("backups", "My PC/x".into()));
        assert_eq!(config.encryption, Protection::Required);
        assert_eq!(config.signing, Protection::Optional);
        assert_eq!((config.connections, config.request_time_max.as_secs()), (5, 7));
        assert_eq!(config.to_string(), "smb://CORP;anna@nas:4450/backups/My PC/x");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn what_a_url_leaves_out_has_a_default_or_comes_from_the_environment() {
        let variables =
            [SECRET, ("STRONGROOM_SMB_USER", "anna"), ("STRONGROOM_SMB_DOMAIN", "CORP")];
        let config = SmbConfig::from_url("smb://[::1]/s", &environment(&variables)).unwrap();
        assert_eq!(config.address(), "[::1]:445");
        assert_eq!((config.user.as_str(), config.domain.as_str()), ("anna", "CORP"));
        assert_eq!(config.signing, Protection::Required);
        assert!(config.path.is_empty());
        let config = SmbConfig::from_url("smb://bob@h/s?domain=X", &environment(&variables));
        let config = config.unwrap();
        assert_eq!((config.user.as_str(), config.domain.as_str()), ("bob", "X"));
        let guest = SmbConfig::from_url("smb://h/s?signing=optional", &environment(&[]));
        assert_eq!(guest.unwrap().password, None);
    }

    #[test]
    fn a_credentials_file_is_read_as_mount_cifs_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, "# who\n username=anna\npassword=a=b #c\ndomain=CORP\n\n").unwrap();
        let path = path.display().to_string();
        let variables = [("STRONGROOM_SMB_CREDENTIALS_FILE", path.as_str())];
        let config = SmbConfig::from_url("smb://h/s", &environment(&variables)).unwrap();
        assert_eq!((config.user.as_str(), config.domain.as_str()), ("anna", "CORP"));
        assert_eq!(config.password.unwrap().expose(), "a=b #c");
        let other = SmbConfig::from_url("smb://bob@h/s", &environment(&variables)).unwrap_err();
        assert!(other.to_string().contains("anna's, not bob's"), "{other}");
        std::fs::write(&path, "username=anna\nhunter2\n").unwrap();
        let error = SmbConfig::from_url("smb://h/s", &environment(&variables)).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (url, named) in [
            ("s3://u@h/s", "s3"),
            ("smb:///s", "no server"),
            ("smb://u@h", "no share"),
            ("smb://u@h/", "no share"),
            ("smb://h/s", "no user"),
            ("smb://nobody@h/s?signing=maybe", "signing=\"maybe\""),
            ("smb://u@h/s?encryption=1", "encryption=\"1\""),
            ("smb://u@h/s?connections=0", "connections=\"0\""),
            ("smb://u@h/s?connections=17", "1 to 16"),
            ("smb://u@h/s?timeout=0", "timeout=\"0\""),
            ("smb://A%3Bu@h/s?domain=B", "two domains"),
            ("smb://u@h/s?speed=9", "\"speed\""),
            ("smb://u:p@h/s", "password"),
        ] {
            let error = SmbConfig::from_url(url, &environment(&[SECRET])).unwrap_err();
            assert_eq!(error.kind(), TargetErrorKind::Invalid, "{url}");
            assert!(error.to_string().contains(named), "{url}: {error}");
        }
        let error = SmbConfig::from_url("smb://u@h/s", &environment(&[])).unwrap_err();
        assert!(error.to_string().contains("no password for u"), "{error}");
    }
}
