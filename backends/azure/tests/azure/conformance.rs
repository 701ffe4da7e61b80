//! The suite that every target must pass, with each kind of credential.

use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;

use crate::support::{Emulator, conforms, container_name};

#[tokio::test(flavor = "multi_thread")]
async fn with_the_account_key() {
    conforms(Emulator::shared().target("account-key").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_connection_string() {
    let emulator = Emulator::shared();
    let text = emulator.connection_string();
    let environment =
        Environment::new(|name| (name == "AZURE_STORAGE_CONNECTION_STRING").then(|| text.clone()));
    let url = format!("az://{}", container_name("connection-string"));
    let config = AzureConfig::from_url(&url, &environment).unwrap();
    conforms(AzureTarget::create(config).await.unwrap()).await;
}
