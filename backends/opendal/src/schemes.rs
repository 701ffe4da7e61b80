//! One function for each URL scheme: which settings it has, which variables it looks at.
//!
//! Knows what OpenDAL calls the settings; knows nothing of objects.

use strongroom_backend_support::{Environment, Location, invalid};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

use crate::config::{OpendalConfig, host, required};

/// The settings of a URL in its order.
pub(crate) type Pairs = Vec<(String, String)>;

/// Reads a location of any scheme, whose settings are `pairs` once more.
pub(crate) fn read(
    location: Location,
    pairs: Pairs,
    environment: &Environment<'_>,
) -> TargetResult<OpendalConfig> {
    match location.scheme.as_str() {
        "sftp" => sftp(location, environment),
        "webdav" | "webdavs" => webdav(location, environment),
        "ftp" | "ftps" => ftp(location, environment),
        "b2" => b2(location, environment),
        "swift" => swift(location, environment),
        "azfile" => azfile(location, environment),
        "gdrive" | "dropbox" | "onedrive" => drive(location, environment),
        scheme => match scheme.strip_prefix("opendal+") {
            Some(service) => any(service.to_owned(), location, pairs, environment),
            None => {
                let why = format!("{scheme}:// is no URL for OpenDAL");
                Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why))
            }
        },
    }
}

/// `sftp://[user@]host[:port]/path?key-file=&known-hosts=`, through the `ssh` program.
fn sftp(mut location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    // An address of IPv6 stands in brackets in URLs, but not for ssh.
    let host = host(&location, "host")?.trim_matches(['[', ']']).to_owned();
    // Both become words of a command line.
    let is_option = |word: &str| word.starts_with('-') || word.contains(char::is_whitespace);
    if is_option(&host) || location.user.as_deref().is_some_and(is_option) {
        return Err(invalid("user and host of the URL may not begin with '-' or have spaces"));
    }
    let settings = &mut location.settings;
    let key =
        settings.text("key-file").or_else(|| environment.variable("STRONGROOM_SFTP_KEY_FILE"));
    let known_hosts =
        settings.value_with("known-hosts", "strict, add or accept", |text| match text {
            "strict" | "add" | "accept" => Some(text.to_owned()),
            _ => None,
        })?;
    location.settings.finish(&["key-file", "known-hosts", "concurrency"])?;
    let mut config = OpendalConfig::new("sftp");
    let endpoint = match location.port {
        Some(port) => format!("ssh://{host}:{port}"),
        None => host,
    };
    config.take_option("endpoint", Some(endpoint));
    config.take_option("user", location.user);
    config.take_option("key", key);
    config.take_option("known_hosts_strategy", known_hosts);
    config.is_below_home = location.path.first().is_some_and(|first| first == "~");
    config.path = location.path.into_iter().skip(usize::from(config.is_below_home)).collect();
    Ok(config)
}

/// `webdav(s)://[user@]host[:port]/path?ca-file=`; the path is that of the collection.
fn webdav(mut location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let host = host(&location, "host")?;
    let ca_file = location.settings.text("ca-file");
    location.settings.finish(&["ca-file", "concurrency"])?;
    let scheme = if location.scheme == "webdavs" { "https" } else { "http" };
    let port = location.port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut config = OpendalConfig::new("webdav");
    config.take_option("endpoint", Some(format!("{scheme}://{host}{port}")));
    let user = location.user.or_else(|| environment.variable("STRONGROOM_WEBDAV_USER"));
    config.take_secret("token", environment.secret("STRONGROOM_WEBDAV_TOKEN")?);
    if let Some(user) = user {
        config.take_secret("password", Some(required(environment, "STRONGROOM_WEBDAV_PASSWORD")?));
        config.take_option("username", Some(user));
    }
    config.ca_file = ca_file.map(Into::into);
    config.path = location.path;
    Ok(config)
}

/// `ftp://[user@]host[:port]/path`; `ftps` is understood, and refused when it is opened.
fn ftp(location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let host = host(&location, "host")?;
    location.settings.finish(&["concurrency"])?;
    let port = location.port.map(|port| format!(":{port}")).unwrap_or_default();
    let mut config = OpendalConfig::new("ftp");
    config.take_option("endpoint", Some(format!("{}://{host}{port}", location.scheme)));
    let user = location.user.or_else(|| environment.variable("STRONGROOM_FTP_USER"));
    match user {
        Some(user) => {
            config.take_secret("password", Some(required(environment, "STRONGROOM_FTP_PASSWORD")?));
            config.take_option("user", Some(user));
        }
        None => config.take_option("user", Some("anonymous".to_owned())),
    }
    config.path = location.path;
    Ok(config)
}

/// `b2://bucket/prefix?bucket-id=`.
fn b2(mut location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let bucket = host(&location, "bucket")?;
    let bucket_id =
        location.settings.text("bucket-id").or_else(|| environment.variable("B2_BUCKET_ID"));
    location.settings.finish(&["bucket-id", "concurrency"])?;
    let bucket_id = bucket_id.ok_or_else(|| {
        invalid("the id of the bucket is not known")
            .hint("OpenDAL needs it: add ?bucket-id=ID to the URL, or set B2_BUCKET_ID")
    })?;
    let mut config = OpendalConfig::new("b2");
    config.take_option("bucket", Some(bucket));
    config.take_option("bucket_id", Some(bucket_id));
    config.take_secret("application_key_id", Some(required(environment, "B2_ACCOUNT_ID")?));
    config.take_secret("application_key", Some(required(environment, "B2_ACCOUNT_KEY")?));
    config.path = location.path;
    Ok(config)
}

/// `swift://container/prefix?endpoint=`; a token, no log-in.
fn swift(mut location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let container = host(&location, "container")?;
    let endpoint =
        location.settings.text("endpoint").or_else(|| environment.variable("OS_STORAGE_URL"));
    let ca_file = location.settings.text("ca-file");
    location.settings.finish(&["endpoint", "ca-file", "concurrency"])?;
    let endpoint = endpoint.ok_or_else(|| {
        invalid("the storage URL of the account is not known")
            .hint("add ?endpoint=https://HOST/v1/ACCOUNT to the URL, or set OS_STORAGE_URL")
    })?;
    let mut config = OpendalConfig::new("swift");
    config.take_option("endpoint", Some(endpoint));
    config.take_option("container", Some(container));
    config.take_secret("token", Some(required(environment, "OS_AUTH_TOKEN")?));
    config.ca_file = ca_file.map(Into::into);
    config.path = location.path;
    Ok(config)
}

/// `azfile://share/path?account=&endpoint=`.
fn azfile(mut location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let share = host(&location, "share")?;
    let settings = &mut location.settings;
    let account =
        settings.text("account").or_else(|| environment.variable("AZURE_STORAGE_ACCOUNT"));
    let endpoint = settings.text("endpoint");
    location.settings.finish(&["account", "endpoint", "concurrency"])?;
    let account = account.ok_or_else(|| {
        invalid("the storage account is not known")
            .hint("add ?account=NAME to the URL, or set AZURE_STORAGE_ACCOUNT")
    })?;
    let endpoint = endpoint.unwrap_or_else(|| format!("https://{account}.file.core.windows.net"));
    let mut config = OpendalConfig::new("azfile");
    config.take_option("share_name", Some(share));
    config.take_option("account_name", Some(account));
    config.take_option("endpoint", Some(endpoint));
    match environment.secret("AZURE_STORAGE_SAS_TOKEN")? {
        Some(token) => config.take_secret("sas_token", Some(token)),
        None => {
            config.take_secret("account_key", Some(required(environment, "AZURE_STORAGE_KEY")?));
        }
    }
    config.path = location.path;
    Ok(config)
}

/// `gdrive://path`, `dropbox://path`, `onedrive://path`: a token, or what renews one.
fn drive(location: Location, environment: &Environment<'_>) -> TargetResult<OpendalConfig> {
    let service = location.scheme.clone();
    location.settings.finish(&["concurrency"])?;
    if location.user.is_some() || location.port.is_some() {
        return Err(invalid(format!("{service}:// has no user and no port")));
    }
    let mut config = OpendalConfig::new(service.clone());
    let name = |what: &str| format!("STRONGROOM_{}_{what}", service.to_uppercase());
    match environment.secret(&name("REFRESH_TOKEN"))? {
        Some(token) => {
            config.take_secret("refresh_token", Some(token));
            let id = required(environment, &name("CLIENT_ID"))?;
            config.take_secret("client_id", Some(id));
            // A program for people's own machines may have none; OneDrive's is such a one.
            let secret = environment.secret(&name("CLIENT_SECRET"))?;
            if secret.is_none() && service != "onedrive" {
                required(environment, &name("CLIENT_SECRET"))?;
            }
            config.take_secret("client_secret", secret);
        }
        None => {
            let token = required(environment, &name("ACCESS_TOKEN")).map_err(|error| {
                let renewing = name("REFRESH_TOKEN");
                error.hint(format!("or set {renewing} with CLIENT_ID and CLIENT_SECRET likewise"))
            })?;
            config.take_secret("access_token", Some(token));
        }
    }
    let first = Some(location.host).filter(|host| !host.is_empty());
    config.path = first.into_iter().chain(location.path).collect();
    Ok(config)
}

/// Options of OpenDAL's services that hold secrets: taken from `STRONGROOM_OPENDAL_<OPTION>`.
const SECRET_OPTIONS: &[&str] = &[
    "access_key_id",
    "access_key_secret",
    "access_token",
    "account_key",
    "api_key",
    "api_token",
    "application_key",
    "application_key_id",
    "client_id",
    "client_secret",
    "connection_string",
    "credential",
    "delegation",
    "passphrase",
    "password",
    "refresh_token",
    "sas_token",
    "secret_access_key",
    "secret_id",
    "secret_key",
    "security_token",
    "session_token",
    "temp_url_key",
    "token",
];

/// `opendal+SERVICE:///path?option=value&...`: whatever else is compiled in.
fn any(
    service: String,
    location: Location,
    pairs: Pairs,
    environment: &Environment<'_>,
) -> TargetResult<OpendalConfig> {
    if !location.host.is_empty() || location.user.is_some() || location.port.is_some() {
        return Err(invalid(format!("opendal+{service}:// takes neither user, host nor port"))
            .hint(format!("write opendal+{service}:///PATH?OPTION=VALUE, with three slashes")));
    }
    let mut config = OpendalConfig::new(service);
    for (name, value) in pairs {
        let option = name.to_ascii_lowercase().replace('-', "_");
        match option.as_str() {
            "concurrency" => continue,
            "ca_file" => {
                config.ca_file = Some(value.into());
                continue;
            }
            _ => {}
        }
        if option == "root" {
            return Err(invalid("root is not a setting here").hint("the path of the URL is it"));
        }
        if is_secret(&option) {
            let variable = format!("STRONGROOM_OPENDAL_{}", option.to_uppercase());
            return Err(invalid(format!("{name} is a secret, which never stands in a URL"))
                .hint(format!("set {variable} instead")));
        }
        config.options.insert(option, value);
    }
    for option in SECRET_OPTIONS {
        let variable = format!("STRONGROOM_OPENDAL_{}", option.to_uppercase());
        config.take_secret(option, environment.secret(&variable)?);
    }
    config.path = location.path;
    Ok(config)
}

fn is_secret(option: &str) -> bool {
    const WORDS: [&str; 5] = ["secret", "password", "token", "credential", "passphrase"];
    SECRET_OPTIONS.contains(&option) || WORDS.iter().any(|word| option.contains(word))
}
