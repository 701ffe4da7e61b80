//! Where the server is, and targets in folders of their own on it.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    path::PathBuf,
    sync::Arc,
};

use strongroom_backend_support::Environment;
use strongroom_core::target::{ObjectKey, SharedTarget, TargetResult};
use strongroom_smb::{SmbConfig, SmbTarget};

/// The variable `name`, which the script of the server prints.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: scripts/test starts the servers (services/samba.sh)")
    })
}

/// A folder name that no other test has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:016x}", RandomState::new().build_hasher().finish())
}

/// A server, and who asks.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Server {
    /// The server that the tests share, with the user that may write.
    pub(crate) fn shared() -> Self {
        Self {
            host: variable("TEST_SMB_HOST"),
            port: variable("TEST_SMB_PORT"),
            user: variable("TEST_SMB_USER"),
            password: variable("TEST_SMB_PASSWORD"),
        }
    }

    /// The same with another user.
    pub(crate) fn with(&self, user: &str, password: &str) -> Self {
        Self { user: user.into(), password: password.into(), ..self.clone() }
    }

    /// The configuration of `path`, which begins with the share, with `settings` of the URL.
    pub(crate) fn config(&self, path: &str, settings: &str) -> TargetResult<SmbConfig> {
        let Self { host, port, user, password } = self;
        let environment =
            Environment::new(|name| (name == "STRONGROOM_SMB_PASSWORD").then(|| password.clone()));
        SmbConfig::from_url(&format!("smb://{user}@{host}:{port}/{path}{settings}"), &environment)
    }

    pub(crate) async fn open(&self, path: &str) -> TargetResult<SmbTarget> {
        SmbTarget::open(self.config(path, "")?).await
    }

    pub(crate) async fn create(&self, path: &str) -> TargetResult<SmbTarget> {
        SmbTarget::create(self.config(path, "")?).await
    }
}

/// The share of which `variable` holds the name.
pub(crate) fn share(name: &str) -> String {
    variable(name)
}

/// Where the server keeps `path`, which begins with the share.
pub(crate) fn on_disk(path: &str) -> PathBuf {
    PathBuf::from(variable("TEST_SMB_DATA")).join(path)
}

/// A target in a new folder of the share that is only signed.
pub(crate) async fn fresh(name: &str) -> (SharedTarget, String) {
    let path = format!("{}/{}", share("TEST_SMB_SHARE_SIGNED"), unique(name));
    let target = Server::shared().create(&path).await.unwrap();
    (Arc::new(target), path)
}

/// The key `text`.
pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
