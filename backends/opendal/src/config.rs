//! What a target needs to know, and how a URL with the environment says it.
//!
//! Opens no connection. Secrets come from the environment only.

use std::{collections::BTreeMap, path::PathBuf};

use strongroom_backend_support::{Environment, Location, Secret, invalid};
use strongroom_core::target::TargetResult;
use url::Url;

use crate::schemes;

/// A place that OpenDAL reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpendalConfig {
    /// OpenDAL's name of the service: `sftp`, `webdav`, `b2` ...
    pub service: String,
    /// What OpenDAL's service is to be set to, secrets apart. `root` is set from `path`.
    pub options: BTreeMap<String, String>,
    /// Settings that are secret.
    pub secrets: BTreeMap<String, Secret>,
    /// The folder that keys lie in, as segments from the root of the service.
    pub path: Vec<String>,
    /// SFTP only: `path` begins at the folder that a log-in leads to, not at the server's root.
    pub is_below_home: bool,
    /// A file with certificates (PEM) to trust besides the usual ones; for HTTP services.
    pub ca_file: Option<PathBuf>,
    /// How many transfers at once; `None` for what suits the service.
    pub concurrency: Option<usize>,
    /// What the target is called to people: a URL without secrets and settings.
    pub place: String,
}

impl OpendalConfig {
    /// Reads a URL; see the crate's README for all of them.
    ///
    /// # Errors
    /// `Invalid`, naming the setting that is unknown, wrong or missing, or the variable of the
    /// environment that lacks; `Unsupported` for a scheme that is not known here.
    pub fn from_url(url: &str, environment: &Environment<'_>) -> TargetResult<Self> {
        let place = url.split(['?', '#']).next().unwrap_or(url).to_owned();
        let mut location = Location::parse(url)?;
        let concurrency = location.settings.value_with("concurrency", "1 to 64", |text| {
            text.parse().ok().filter(|number| (1..=64).contains(number))
        })?;
        let mut config = schemes::read(location, pairs(url)?, environment)?;
        config.concurrency = concurrency;
        config.place = place;
        Ok(config)
    }

    /// A place of OpenDAL's `service`, at its root, set to nothing.
    pub fn new(service: impl Into<String>) -> Self {
        let service = service.into();
        Self {
            place: format!("opendal+{service}:///"),
            service,
            options: BTreeMap::new(),
            secrets: BTreeMap::new(),
            path: Vec::new(),
            is_below_home: false,
            ca_file: None,
            concurrency: None,
        }
    }

    /// Sets an option that is not secret.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Into<String>) -> Self {
        self.options.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an option that is secret.
    #[must_use]
    pub fn secret(mut self, name: &str, value: Secret) -> Self {
        self.secrets.insert(name.to_owned(), value);
        self
    }

    /// All options for OpenDAL, with `path` as the root.
    pub(crate) fn all_options(&self, path: &[String]) -> Vec<(String, String)> {
        let root = match (self.is_below_home, path.join("/")) {
            (true, path) if path.is_empty() => None,
            (true, path) => Some(path),
            (false, path) => Some(format!("/{path}")),
        };
        let root = root.map(|root| ("root".to_owned(), root));
        let plain = self.options.iter().map(|(name, value)| (name.clone(), value.clone()));
        let secret = self.secrets.iter().map(|(name, value)| {
            let value = value.expose().to_owned();
            (name.clone(), value)
        });
        plain.chain(secret).chain(root).collect()
    }

    pub(crate) fn take_option(&mut self, option: &str, value: Option<String>) {
        if let Some(value) = value {
            self.options.insert(option.to_owned(), value);
        }
    }

    pub(crate) fn take_secret(&mut self, option: &str, value: Option<Secret>) {
        if let Some(value) = value {
            self.secrets.insert(option.to_owned(), value);
        }
    }
}

fn pairs(url: &str) -> TargetResult<Vec<(String, String)>> {
    let url = Url::parse(url).map_err(|error| invalid("not a URL").because(error))?;
    let decoded = url.query_pairs();
    Ok(decoded.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}

/// The secret `name`, which must be there.
pub(crate) fn required(environment: &Environment<'_>, name: &str) -> TargetResult<Secret> {
    environment.secret(name)?.ok_or_else(|| {
        invalid(format!("{name} is not set"))
            .hint(format!("set {name}, or {name}_FILE or {name}_COMMAND"))
    })
}

/// The host of the URL, which must be there and is `what`.
pub(crate) fn host(location: &Location, what: &str) -> TargetResult<String> {
    if location.host.is_empty() {
        let scheme = &location.scheme;
        return Err(invalid(format!("the URL names no {what}"))
            .hint(format!("write {scheme}://{}/...", what.to_uppercase())));
    }
    Ok(location.host.clone())
}
