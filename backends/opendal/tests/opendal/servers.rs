//! Where the servers are, and targets on them.

use std::{env, sync::Arc};

use strongroom_backend_support::{Environment, Secret};
use strongroom_core::target::SharedTarget;
use strongroom_opendal::{OpendalConfig, OpendalTarget};

/// A variable that the script of `server` prints.
pub(crate) fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/test starts the servers"))
}

/// A folder name that nobody else uses.
pub(crate) fn unique(what: &str) -> String {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).unwrap();
    format!("{what}-{}", hex::encode(bytes))
}

/// An environment with these variables and no others.
pub(crate) fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> Environment<'a> {
    Environment::new(move |name| {
        pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

/// The folder `path` on the SFTP server, below the folder that a log-in leads to.
pub(crate) fn sftp(path: &str) -> OpendalConfig {
    let [host, port, user] =
        ["HOST", "PORT", "USER"].map(|what| variable(&format!("TEST_SFTP_{what}")));
    sftp_at(&host, &port, &user, &variable("TEST_SFTP_KEY"), path)
}

pub(crate) fn sftp_at(host: &str, port: &str, user: &str, key: &str, path: &str) -> OpendalConfig {
    let url = format!("sftp://{user}@{host}:{port}/{path}?key-file={key}&known-hosts=accept");
    OpendalConfig::from_url(&url, &environment(&[])).unwrap()
}

/// The collection `path` on the WebDAV server.
pub(crate) fn webdav(path: &str) -> OpendalConfig {
    let url = variable("TEST_WEBDAV_URL");
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let variables = [
        ("STRONGROOM_WEBDAV_USER", variable("TEST_WEBDAV_USER")),
        ("STRONGROOM_WEBDAV_PASSWORD", variable("TEST_WEBDAV_PASSWORD")),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let url = format!("webdav://{authority}/{path}");
    OpendalConfig::from_url(&url, &environment(&variables)).unwrap()
}

/// The folder `path` on the FTP server, whose variable holds user and password.
pub(crate) fn ftp(path: &str) -> OpendalConfig {
    ftp_at(&variable("TEST_FTP_URL"), path)
}

pub(crate) fn ftp_at(url: &str, path: &str) -> OpendalConfig {
    let (user, rest) = url.trim_start_matches("ftp://").split_once(':').unwrap();
    let (password, authority) = rest.trim_end_matches('/').split_once('@').unwrap();
    let url = format!("ftp://{user}@{authority}/{path}");
    let variables = [("STRONGROOM_FTP_PASSWORD", password)];
    OpendalConfig::from_url(&url, &environment(&variables)).unwrap()
}

/// The same place with another secret.
pub(crate) fn with_secret(mut config: OpendalConfig, name: &str, value: &str) -> OpendalConfig {
    config.secrets.insert(name.to_owned(), Secret::new(value));
    config
}

/// The target, whose folder is created.
pub(crate) async fn create(config: &OpendalConfig) -> SharedTarget {
    Arc::new(OpendalTarget::create(config).await.unwrap())
}
