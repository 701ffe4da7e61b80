//! Where the blobs are and how to get there: what a URL and the environment say.
//!
//! Opens no connection. Secrets come from the environment only, never from a URL.

use std::{collections::BTreeMap, path::PathBuf};

use azure_storage_blob::models::{AccessTier, ImmutabilityPolicyMode};
use strongroom_backend_support::{Environment, Location, Secret, Settings, invalid};
use strongroom_core::target::{ObjectKey, TargetResult};
use url::Url;

use crate::credential::{Credential, Entra, Identity};

/// What stands behind `?` in a URL.
const SETTINGS: &[&str] = &[
    "account",
    "endpoint",
    "identity",
    "tier",
    "tier.FOLDER",
    "retention-days",
    "immutability",
    "checksums",
    "ca-file",
];

/// A container, the folder in it, and how to get there.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureConfig {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The folders below which all objects lie; empty for the whole container.
    pub path: Vec<String>,
    /// The address of the blob service, without a slash at the end.
    pub endpoint: Url,
    /// Who we are.
    pub credential: Credential,
    /// The access tier for new objects; `None` for the account's default.
    pub tiers: Tiers,
    /// How objects are protected against changes.
    pub immutability: Option<Immutability>,
    /// Whether MD5 sums are sent with every upload and verified where the service gives one.
    pub checksums: bool,
    /// Further certificates to trust, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Access tiers, for all objects and by the first segment of their keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tiers(BTreeMap<Option<String>, AccessTier>);

/// A policy that each blob gets. The container must have version-level immutability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Immutability {
    /// Whether the policy can be taken back (unlocked) or by nobody (locked).
    pub mode: ImmutabilityPolicyMode,
    /// For how long new objects are protected; `None` if only `retain` protects.
    pub days: Option<u32>,
}

impl Tiers {
    /// `tier` for all keys whose first segment is `folder`, or for all others.
    #[must_use]
    pub fn with(mut self, folder: Option<&str>, tier: AccessTier) -> Self {
        self.0.insert(folder.map(str::to_owned), tier);
        self
    }

    /// The tier of a new object.
    pub fn of(&self, key: &ObjectKey) -> Option<AccessTier> {
        let folder = key.as_str().split_once('/').map(|(folder, _)| folder.to_owned());
        self.0.get(&folder).or_else(|| self.0.get(&None)).cloned()
    }
}

impl AzureConfig {
    /// Reads `az://CONTAINER[/PATH]?account=NAME&...`, and the environment as the crate's page
    /// lists it.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong or missing.
    pub fn from_url(text: &str, environment: &Environment) -> TargetResult<Self> {
        let mut location = Location::parse(text)?;
        if location.scheme != "az" {
            return Err(invalid(format!("{:?} is no scheme of Azure", location.scheme)));
        }
        if location.user.is_some() || location.port.is_some() {
            return Err(invalid("an az URL has neither user nor port")
                .hint("write az://CONTAINER/PATH?account=NAME&endpoint=http://HOST:PORT/NAME"));
        }
        check_container(&location.host)?;
        let settings = &mut location.settings;
        let tiers = tiers(settings)?;
        let immutability = immutability(settings)?;
        let checksums = settings
            .value_with("checksums", "md5 or none", |text| match text {
                "md5" => Some(true),
                "none" => Some(false),
                _ => None,
            })?
            .unwrap_or(true);
        let ca_file = settings.text("ca-file").map(PathBuf::from);
        let Access { account, endpoint, credential } = access(settings, environment)?;
        location.settings.finish(SETTINGS)?;
        Ok(Self {
            account,
            container: location.host,
            path: location.path,
            endpoint,
            credential,
            tiers,
            immutability,
            checksums,
            ca_file,
        })
    }
}

/// Container names as the service takes them, so that nothing else ends up in a path.
fn check_container(name: &str) -> TargetResult<()> {
    let is_plain = |name: &str| {
        (3..=63).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !name.starts_with('-')
            && !name.ends_with('-')
            && !name.contains("--")
    };
    if is_plain(name) || name == "$root" {
        return Ok(());
    }
    Err(invalid(format!("{name:?} is not the name of a container"))
        .hint("3 to 63 characters out of a-z, 0-9 and single '-'"))
}

fn tiers(settings: &mut Settings) -> TargetResult<Tiers> {
    settings.by_folder("tier").into_iter().try_fold(Tiers::default(), |tiers, (folder, text)| {
        let tier = match text.to_ascii_lowercase().as_str() {
            "hot" => AccessTier::Hot,
            "cool" => AccessTier::Cool,
            "cold" => AccessTier::Cold,
            "premium" => AccessTier::Premium,
            "archive" => {
                let why = "the archive tier cannot be read without hours of rehydration";
                return Err(invalid(why).hint("use tier=Cold: as cheap, and readable at once"));
            }
            _ => {
                let why = format!("tier={text:?} in the URL is not Hot, Cool, Cold or Premium");
                return Err(invalid(why));
            }
        };
        Ok(tiers.with(folder.as_deref(), tier))
    })
}

fn immutability(settings: &mut Settings) -> TargetResult<Option<Immutability>> {
    let days = settings.value_with("retention-days", "a number from 1 to 36500", |text| {
        text.parse().ok().filter(|days| (1..=36_500).contains(days))
    })?;
    let mode = settings.value_with("immutability", "unlocked or locked", |text| match text {
        "unlocked" => Some(ImmutabilityPolicyMode::Unlocked),
        "locked" => Some(ImmutabilityPolicyMode::Locked),
        _ => None,
    })?;
    if mode.is_none() && days.is_none() {
        return Ok(None);
    }
    // Locked can be taken back by nobody, so it is never a default.
    let mode = mode.unwrap_or(ImmutabilityPolicyMode::Unlocked);
    Ok(Some(Immutability { mode, days }))
}

/// The account, where it answers, and who we are to it.
struct Access {
    account: String,
    endpoint: Url,
    credential: Credential,
}

fn access(settings: &mut Settings, environment: &Environment) -> TargetResult<Access> {
    let named = settings.text("account");
    let endpoint = settings.text("endpoint");
    let identity =
        settings.value_with("identity", "environment, managed or cli", |text| match text {
            "environment" => Some(Identity::Environment),
            "managed" => Some(Identity::Managed),
            "cli" => Some(Identity::Cli),
            _ => None,
        })?;
    let connection = match identity {
        Some(_) => None,
        None => environment.secret("AZURE_STORAGE_CONNECTION_STRING")?,
    };
    let connection = connection.map(|text| ConnectionString::parse(&text)).transpose()?;
    let connection = connection.unwrap_or_default();
    let account = account(named, connection.account, environment)?;
    let endpoint = match endpoint.or(connection.endpoint) {
        Some(endpoint) => endpoint,
        None => {
            let suffix = connection.suffix.as_deref().unwrap_or("core.windows.net");
            let scheme = connection.protocol.as_deref().unwrap_or("https");
            format!("{scheme}://{account}.blob.{suffix}")
        }
    };
    let endpoint = parse_endpoint(&endpoint)?;
    let credential = match connection.credential {
        Some(credential) => credential,
        None => credential(identity, environment)?,
    };
    if matches!(credential, Credential::Entra(_)) && endpoint.scheme() != "https" {
        return Err(invalid("an Entra token is sent over https only")
            .hint("set AZURE_STORAGE_KEY or another secret, or use an https endpoint"));
    }
    Ok(Access { account, endpoint, credential })
}

fn account(
    named: Option<String>,
    connected: Option<String>,
    environment: &Environment,
) -> TargetResult<String> {
    if let (Some(named), Some(connected)) = (&named, &connected)
        && named != connected
    {
        let why = format!(
            "the URL names the account {named:?}, AZURE_STORAGE_CONNECTION_STRING {connected:?}"
        );
        return Err(invalid(why).hint("unset the variable, or leave out account="));
    }
    let account = named.or(connected).or_else(|| environment.variable("AZURE_STORAGE_ACCOUNT"));
    let account = account.ok_or_else(|| {
        invalid("no storage account is named")
            .hint("write ?account=NAME behind the URL, or set AZURE_STORAGE_ACCOUNT")
    })?;
    if account.is_empty()
        || !account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    {
        return Err(invalid(format!("{account:?} is not the name of a storage account")));
    }
    Ok(account)
}

/// A path-style endpoint gets no slash at the end: it would become part of what is signed.
fn parse_endpoint(text: &str) -> TargetResult<Url> {
    let wrong = || invalid(format!("endpoint={text:?} is not an http or https URL"));
    let mut url = Url::parse(text).map_err(|error| wrong().because(error))?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_plain {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn credential(identity: Option<Identity>, environment: &Environment) -> TargetResult<Credential> {
    if let Some(source) = identity {
        return Ok(Credential::Entra(Entra::from_environment(source, environment)?));
    }
    for name in ["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"] {
        if let Some(key) = environment.secret(name)? {
            return Ok(Credential::AccountKey(key));
        }
    }
    if let Some(token) = environment.secret("AZURE_STORAGE_SAS_TOKEN")? {
        return Ok(Credential::Sas(token));
    }
    Ok(Credential::Entra(Entra::from_environment(Identity::Any, environment)?))
}

/// What a connection string says. Its errors name parts, never values.
#[derive(Default)]
struct ConnectionString {
    account: Option<String>,
    credential: Option<Credential>,
    endpoint: Option<String>,
    protocol: Option<String>,
    suffix: Option<String>,
}

impl ConnectionString {
    fn parse(text: &Secret) -> TargetResult<Self> {
        let wrong = |why: &str| invalid(format!("AZURE_STORAGE_CONNECTION_STRING {why}"));
        let mut found = Self::default();
        for part in text.expose().split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) =
                part.split_once('=').ok_or_else(|| wrong("has a part without '='"))?;
            let value = value.trim().to_owned();
            match name.trim().to_ascii_lowercase().as_str() {
                "accountname" => found.account = Some(value),
                "accountkey" => {
                    found.credential = Some(Credential::AccountKey(Secret::new(value)));
                }
                "sharedaccesssignature" => {
                    found.credential.get_or_insert(Credential::Sas(Secret::new(value)));
                }
                "blobendpoint" => found.endpoint = Some(value),
                "defaultendpointsprotocol" => found.protocol = Some(value),
                "endpointsuffix" => found.suffix = Some(value),
                "usedevelopmentstorage" => {
                    return Err(wrong("asks for the development storage").hint(
                        "name it: AccountName, AccountKey and BlobEndpoint of the emulator",
                    ));
                }
                _ => {}
            }
        }
        if found.credential.is_none() {
            return Err(wrong("has neither AccountKey nor SharedAccessSignature"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
