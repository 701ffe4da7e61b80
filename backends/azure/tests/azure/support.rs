//! Where the emulator is, and containers of our own in it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;
use strongroom_core::target::{ObjectKey, conformance};

/// A variable that the service's script prints.
pub fn from_service(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: scripts/test starts the servers"))
}

/// The emulator that all tests share.
pub struct Emulator {
    pub endpoint: String,
    pub account: String,
    pub key: String,
}

impl Emulator {
    pub fn shared() -> Self {
        Self {
            endpoint: from_service("TEST_AZURE_ENDPOINT"),
            account: from_service("TEST_AZURE_ACCOUNT"),
            key: from_service("TEST_AZURE_KEY"),
        }
    }

    pub fn connection_string(&self) -> String {
        let Self { endpoint, account, key } = self;
        format!(
            "DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};\
             BlobEndpoint={endpoint}/;"
        )
    }

    /// The URL of `place` (a container, or a folder in one).
    pub fn url(&self, place: &str) -> String {
        format!("az://{place}?account={}&endpoint={}", self.account, self.endpoint)
    }

    /// The configuration for `url`, with the account key.
    pub fn config(&self, url: &str) -> AzureConfig {
        let environment =
            Environment::new(|name| (name == "AZURE_STORAGE_KEY").then(|| self.key.clone()));
        AzureConfig::from_url(url, &environment).unwrap()
    }

    /// A target in a container of its own.
    pub async fn target(&self, test: &str) -> AzureTarget {
        let url = self.url(&format!("{}/folder", container_name(test)));
        AzureTarget::create(self.config(&url)).await.unwrap()
    }
}

/// A name that no other test and no earlier run uses.
pub fn container_name(test: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{test}-{}-{next}-{since_1970:x}", std::process::id())
}

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Runs the suite that every target must pass, with fewer objects in the listing: Azurite sorts all
/// it has after each change, and stands still for minutes with many thousands. (Pages are tested
/// with a server of our own.)
pub async fn conforms(target: AzureTarget) {
    let runtime = strongroom_core::runtime::Runtime::system();
    let options = conformance::Options { listed_objects: 1_000, ..Default::default() };
    let report = conformance::run(Arc::new(target), &runtime, &options).await;
    assert!(report.is_conformant(), "{report}");
}

/// Notes what a test found out about this storage, for the table in the project's README: see
/// `scripts/matrix`.
pub fn note(column: &str, found: &str) {
    let Some(folder) = std::env::var_os("STRONGROOM_MATRIX_DIR") else { return };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("azure.{column}")), format!("{found}\n")).unwrap();
}
