//! What a target URL and its environment say about a bucket: plain data, checked.
//!
//! Opens no connection. The SDK's own sources (profiles, SSO, instance roles) are left to it.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use strongroom_backend_support::{Environment, Location, Secret, Settings, invalid};
use strongroom_core::target::TargetResult;

/// All settings that a URL may have.
const KNOWN: &[&str] = &[
    "region",
    "endpoint",
    "path-style",
    "profile",
    "ca-file",
    "checksums",
    "storage-class[.FOLDER]",
    "sse",
    "sse-kms-key-id",
    "sse-c",
    "object-lock[.FOLDER]",
    "retention-days[.FOLDER]",
    "requester-pays",
    "part-size",
];

/// The secret that `sse-c=true` needs: 32 bytes in base64.
const SSE_C_KEY: &str = "STRONGROOM_S3_SSE_C_KEY";

const MIB: u64 = 1 << 20;

/// S3's own limits for a part, but for the last.
const PART_MIB: std::ops::RangeInclusive<u64> = 5..=5 * 1024;

/// A hundred years: what Object Lock takes.
const RETENTION_DAYS_MAX: u32 = 36_500;

/// A bucket, the path in it, and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Segments of the path below which all objects lie; none is the bucket's root.
    pub path: Vec<String>,
    /// The bucket's region; `None` leaves it to the SDK (environment, profile, instance), and is
    /// `us-east-1` where there is an endpoint.
    pub region: Option<String>,
    /// Where the service listens, as `http(s)://host[:port]`; `None` is AWS.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of requests instead of their host name.
    pub is_path_style: bool,
    /// The profile of the shared configuration files; `None` is the usual one.
    pub profile: Option<String>,
    /// The credentials; `None` asks the SDK's chain.
    pub credentials: Option<S3Credentials>,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// When checksums are sent and verified.
    pub checksums: Checksums,
    /// The storage class of new objects; nothing is the bucket's default.
    pub storage_class: ByFolder<String>,
    /// How the storage encrypts at rest.
    pub encryption: Encryption,
    /// Whether and for how long new objects are locked; `Some(None)` leaves a folder out.
    pub object_lock: ByFolder<Option<ObjectLock>>,
    /// Whether we agree to pay for requests to somebody else's bucket.
    pub is_requester_paying: bool,
    /// The size of all parts of an upload but the last, in bytes; `None` begins with 8 MiB and
    /// grows with the object, which a few compatible stores refuse.
    pub part_bytes: Option<u64>,
}

/// An access key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key's id: not a secret.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// When checksums are sent and verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksums {
    /// With every body; on what comes back wherever the storage kept one.
    #[default]
    WhenSupported,
    /// Only where the protocol demands one: for stores that stumble over the headers.
    WhenRequired,
}

/// Server-side encryption of new objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// What the bucket says.
    #[default]
    BucketDefault,
    /// SSE-S3: keys of the storage (`AES256`).
    S3Managed,
    /// SSE-KMS.
    Kms {
        /// The key's id or ARN; `None` is the account's default key.
        key_id: Option<String>,
    },
    /// SSE-C: a key of ours that goes with every request. Objects cannot be read without it.
    Customer(SseKey),
}

/// A key for SSE-C: 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseKey(Secret);

/// How strictly a locked object is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Who has the right to may still remove it early.
    Governance,
    /// Nobody may, not even the account's owner.
    Compliance,
}

/// Retention of new objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectLock {
    /// How strictly.
    pub mode: LockMode,
    /// For how many days from the put on; at least one.
    pub days: u32,
}

/// A value for all objects, and others for those below some folders (first segments of keys).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByFolder<T> {
    /// Where no folder says otherwise.
    pub all: Option<T>,
    /// By the first segment of the key.
    pub folders: BTreeMap<String, T>,
}

impl<T> Default for ByFolder<T> {
    fn default() -> Self {
        Self { all: None, folders: BTreeMap::new() }
    }
}

impl<T> ByFolder<T> {
    /// The value for objects below `folder`.
    pub fn of(&self, folder: &str) -> Option<&T> {
        self.folders.get(folder).or(self.all.as_ref())
    }

    /// All values, that for all objects first.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.all.iter().chain(self.folders.values())
    }

    fn read(
        settings: &mut Settings,
        name: &str,
        mut read: impl FnMut(&str, &str) -> TargetResult<T>,
    ) -> TargetResult<Self> {
        let mut values = Self::default();
        for (folder, text) in settings.by_folder(name) {
            match folder {
                None => values.all = Some(read(name, &text)?),
                Some(folder) => {
                    let value = read(&format!("{name}.{folder}"), &text)?;
                    values.folders.insert(folder, value);
                }
            }
        }
        Ok(values)
    }
}

impl SseKey {
    /// A key from base64.
    ///
    /// # Errors
    /// `Invalid` if it is not base64 of 32 bytes. The error does not repeat it.
    pub fn from_base64(text: &Secret) -> TargetResult<Self> {
        match BASE64.decode(text.expose()) {
            Ok(key) if key.len() == 32 => Ok(Self(text.clone())),
            _ => Err(invalid("the key for SSE-C is not base64 of 32 bytes")
                .hint("make one with: openssl rand -base64 32")),
        }
    }

    /// The key in base64.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl S3Config {
    /// The root of `bucket` on AWS, with everything else as usual.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            path: Vec::new(),
            region: None,
            endpoint: None,
            is_path_style: false,
            profile: None,
            credentials: None,
            ca_file: None,
            checksums: Checksums::default(),
            storage_class: ByFolder::default(),
            encryption: Encryption::default(),
            object_lock: ByFolder::default(),
            is_requester_paying: false,
            part_bytes: None,
        }
    }

    /// Reads `s3://bucket/path?setting=value&...`, and from the environment what does not stand
    /// in the URL: `AWS_ACCESS_KEY_ID` and its like, `AWS_REGION`, `AWS_ENDPOINT_URL`,
    /// `AWS_CA_BUNDLE`, and the key for SSE-C.
    ///
    /// # Errors
    /// `Invalid`, naming the part, setting or secret that is wrong or missing.
    pub fn from_url(url: &str, environment: &Environment<'_>) -> TargetResult<Self> {
        let location = Location::parse(url)?;
        let bucket = bucket_of(&location)?;
        let mut settings = location.settings;
        let endpoint = endpoint(settings.text("endpoint"), environment)?;
        let profile = settings.text("profile").filter(|name| !name.is_empty());
        let region = settings.text("region").or_else(|| variable(environment, REGION_VARIABLES));
        let ca_file = settings.text("ca-file").or_else(|| environment.variable("AWS_CA_BUNDLE"));
        let config = Self {
            bucket,
            path: location.path,
            region: region.map(checked_region).transpose()?,
            is_path_style: settings.switch("path-style")?.unwrap_or(endpoint.is_some()),
            credentials: match profile {
                Some(_) => None,
                None => credentials(environment)?,
            },
            profile,
            ca_file: ca_file.map(PathBuf::from),
            checksums: checksums(&mut settings)?,
            storage_class: ByFolder::read(&mut settings, "storage-class", storage_class)?,
            encryption: encryption(&mut settings, endpoint.as_deref(), environment)?,
            object_lock: object_lock(&mut settings)?,
            is_requester_paying: settings.switch("requester-pays")?.unwrap_or(false),
            part_bytes: part_bytes(&mut settings)?,
            endpoint,
        };
        settings.finish(KNOWN)?;
        Ok(config)
    }
}

impl fmt::Display for S3Config {
    /// The URL, with the endpoint and without what does not tell one place from another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        self.path.iter().try_for_each(|segment| write!(f, "/{segment}"))?;
        match &self.endpoint {
            Some(endpoint) => write!(f, "?endpoint={endpoint}"),
            None => Ok(()),
        }
    }
}

const REGION_VARIABLES: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINT_VARIABLES: &[&str] = &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

fn variable(environment: &Environment<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| environment.variable(name))
}

fn bucket_of(location: &Location) -> TargetResult<String> {
    if location.user.is_some() || location.port.is_some() {
        return Err(invalid("an S3 URL begins with s3://bucket, without user and port")
            .hint("name another server by endpoint=http(s)://host:port"));
    }
    let bucket = &location.host;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(is_plain) {
        return Err(invalid(format!("not the name of a bucket: {bucket:?}"))
            .hint("write s3://bucket/path; for another server add ?endpoint=http(s)://host:port"));
    }
    Ok(bucket.clone())
}

fn endpoint(
    setting: Option<String>,
    environment: &Environment<'_>,
) -> TargetResult<Option<String>> {
    let text = setting.or_else(|| variable(environment, ENDPOINT_VARIABLES));
    let Some(text) = text else { return Ok(None) };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_sound = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.contains(['@', '?', '#']) && !rest.contains(char::is_whitespace)
    });
    match is_sound {
        true => Ok(Some(text.trim_end_matches('/').to_owned())),
        false => Err(invalid("endpoint is not of the form http(s)://host[:port]")),
    }
}

fn checked_region(region: String) -> TargetResult<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !region.is_empty() && region.chars().all(is_plain) {
        true => Ok(region),
        false => Err(invalid(format!("region={region:?} is not the name of a region"))),
    }
}

/// Those of the environment, which come first in the SDK's chain as well.
fn credentials(environment: &Environment<'_>) -> TargetResult<Option<S3Credentials>> {
    let Some(access_key_id) = environment.variable("AWS_ACCESS_KEY_ID") else { return Ok(None) };
    let Some(secret_access_key) = environment.secret("AWS_SECRET_ACCESS_KEY")? else {
        return Err(invalid("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")
            .hint("set AWS_SECRET_ACCESS_KEY, AWS_SECRET_ACCESS_KEY_FILE or ..._COMMAND"));
    };
    let session_token = environment.secret("AWS_SESSION_TOKEN")?;
    Ok(Some(S3Credentials { access_key_id, secret_access_key, session_token }))
}

fn checksums(settings: &mut Settings) -> TargetResult<Checksums> {
    let expected = "when-supported or when-required";
    let checksums = settings.value_with("checksums", expected, |text| match text {
        "when-supported" => Some(Checksums::WhenSupported),
        "when-required" => Some(Checksums::WhenRequired),
        _ => None,
    });
    Ok(checksums?.unwrap_or_default())
}

fn storage_class(name: &str, text: &str) -> TargetResult<String> {
    let is_plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(invalid(format!("{name}={text:?} in the URL is not a storage class"))
            .hint("write it as S3 does, such as STANDARD_IA or GLACIER_IR")),
    }
}

fn encryption(
    settings: &mut Settings,
    endpoint: Option<&str>,
    environment: &Environment<'_>,
) -> TargetResult<Encryption> {
    let key_id = settings.text("sse-kms-key-id").filter(|id| !id.is_empty());
    let is_customer = settings.switch("sse-c")?.unwrap_or(false);
    let managed = settings.value_with("sse", "AES256 or aws:kms", |text| match text {
        "AES256" => Some(Encryption::S3Managed),
        "aws:kms" => Some(Encryption::Kms { key_id: key_id.clone() }),
        _ => None,
    })?;
    match (managed, is_customer) {
        (Some(_), true) => Err(invalid("sse and sse-c in the URL exclude each other")),
        (Some(Encryption::S3Managed) | None, _) if key_id.is_some() => {
            Err(invalid("sse-kms-key-id in the URL needs sse=aws:kms"))
        }
        (Some(managed), false) => Ok(managed),
        (None, false) => Ok(Encryption::BucketDefault),
        (None, true) => customer_key(endpoint, environment).map(Encryption::Customer),
    }
}

fn customer_key(endpoint: Option<&str>, environment: &Environment<'_>) -> TargetResult<SseKey> {
    if endpoint.is_some_and(|endpoint| !hides_secrets(endpoint)) {
        return Err(invalid("sse-c sends its key with every request: the endpoint must be https"));
    }
    match environment.secret(SSE_C_KEY)? {
        Some(key) => SseKey::from_base64(&key),
        None => Err(invalid(format!("sse-c in the URL needs a key, and {SSE_C_KEY} is not set"))
            .hint(format!("set {SSE_C_KEY}, {SSE_C_KEY}_FILE or {SSE_C_KEY}_COMMAND"))),
    }
}

/// Whether nobody between here and the endpoint sees what is sent.
fn hides_secrets(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else { return true };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn object_lock(settings: &mut Settings) -> TargetResult<ByFolder<Option<ObjectLock>>> {
    let modes = ByFolder::read(settings, "object-lock", lock_mode)?;
    let days = ByFolder::read(settings, "retention-days", retention_days)?;
    if days.all.is_some() && modes.values().all(Option::is_none) {
        return Err(invalid("retention-days in the URL needs object-lock=governance|compliance"));
    }
    let lock = |name: &str, mode: Option<LockMode>, days: Option<&u32>| match (mode, days) {
        (None, _) => Ok(None),
        (Some(mode), Some(&days)) => Ok(Some(ObjectLock { mode, days })),
        (Some(_), None) => Err(invalid(format!("{name} in the URL needs retention-days=N"))),
    };
    let mut locks = ByFolder::default();
    if let Some(mode) = modes.all {
        locks.all = Some(lock("object-lock", mode, days.all.as_ref())?);
    }
    for folder in modes.folders.keys().chain(days.folders.keys()) {
        let name = format!("object-lock.{folder}");
        let Some(mode) = modes.of(folder) else {
            return Err(invalid(format!("retention-days.{folder} in the URL needs {name}")));
        };
        locks.folders.insert(folder.clone(), lock(&name, *mode, days.of(folder))?);
    }
    Ok(locks)
}

fn lock_mode(name: &str, text: &str) -> TargetResult<Option<LockMode>> {
    match text {
        "governance" => Ok(Some(LockMode::Governance)),
        "compliance" => Ok(Some(LockMode::Compliance)),
        "off" => Ok(None),
        _ => {
            let what = "is not governance, compliance or off";
            Err(invalid(format!("{name}={text:?} in the URL {what}")))
        }
    }
}

fn retention_days(name: &str, text: &str) -> TargetResult<u32> {
    match text.parse() {
        Ok(days @ 1..=RETENTION_DAYS_MAX) => Ok(days),
        _ => {
            let what = format!("is not a number of days from 1 to {RETENTION_DAYS_MAX}");
            Err(invalid(format!("{name}={text:?} in the URL {what}")))
        }
    }
}

fn part_bytes(settings: &mut Settings) -> TargetResult<Option<u64>> {
    let expected = format!("a number of MiB from {} to {}", PART_MIB.start(), PART_MIB.end());
    let mebibytes = settings.value_with("part-size", &expected, |text| {
        text.parse().ok().filter(|mebibytes| PART_MIB.contains(mebibytes))
    });
    Ok(mebibytes?.map(|mebibytes| mebibytes * MIB))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
