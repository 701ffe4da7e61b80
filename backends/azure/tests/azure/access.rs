//! Who may do what: SAS tokens, wrong keys, missing containers.

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;
use strongroom_core::target::{BackupTarget, KeyPrefix, TargetErrorKind, TargetExt};

use crate::support::{Emulator, conforms, container_name, key};

/// A service SAS for all that a repository does in `container`: read, create, write, delete,
/// list. Nothing else, as a user who follows the README has it.
fn sas(emulator: &Emulator, container: &str) -> String {
    const PERMISSIONS: &str = "rcwdl";
    const EXPIRES: &str = "2099-01-01T00:00:00Z";
    const VERSION: &str = "2020-12-06";
    let resource = format!("/blob/{}/{container}", emulator.account);
    // Permissions, start, end, resource, stored policy, address, protocol, version, kind,
    // snapshot, encryption scope, five overridden headers.
    let text =
        [PERMISSIONS, "", EXPIRES, &resource, "", "", "", VERSION, "c", "", "", "", "", "", "", ""]
            .join("\n");
    let secret = BASE64_STANDARD.decode(&emulator.key).unwrap();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).unwrap();
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("sv", VERSION), ("sr", "c"), ("sp", PERMISSIONS), ("se", EXPIRES)])
        .append_pair("sig", &signature)
        .finish();
    format!("?{query}")
}

async fn with_sas(emulator: &Emulator, test: &str) -> AzureTarget {
    let url = emulator.url(&container_name(test));
    let config = emulator.config(&url);
    let token = sas(emulator, &config.container);
    AzureTarget::create(config).await.unwrap();
    let environment =
        Environment::new(|name| (name == "AZURE_STORAGE_SAS_TOKEN").then(|| token.clone()));
    AzureTarget::open(AzureConfig::from_url(&url, &environment).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sas_token_with_the_documented_permissions_is_enough() {
    conforms(with_sas(&Emulator::shared(), "sas").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_deleted_at_once() {
    let emulator = Emulator::shared();
    for target in [emulator.target("batch").await, with_sas(&emulator, "batch-sas").await] {
        let keys: Vec<_> = (0..300).map(|number| key(&format!("k/{number}"))).collect();
        for key in &keys[..290] {
            target.create(key, vec![1]).await.unwrap();
        }
        let before = target.requests_sent().unwrap();
        target.delete_batch(&keys).await.unwrap();
        assert!(target.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
        let requests = target.requests_sent().unwrap() - before;
        assert_eq!(requests, 3, "256 deletions in a request, and the listing");
    }
}

#[tokio::test]
async fn a_wrong_key_is_denied_with_a_hint() {
    let emulator = Emulator::shared();
    let wrong = Emulator { key: BASE64_STANDARD.encode("another key"), ..Emulator::shared() };
    let url = emulator.url(&container_name("wrong-key"));
    AzureTarget::create(emulator.config(&url)).await.unwrap();
    let error = AzureTarget::open(wrong.config(&url)).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
    assert!(!error.is_retryable());
    assert!(error.hint_text().unwrap().contains("the account key"), "{error:?}");
    let created = AzureTarget::create(wrong.config(&url)).await.unwrap_err();
    assert_eq!(created.kind(), TargetErrorKind::Denied, "{created}");
}

#[tokio::test]
async fn a_sas_token_that_is_not_signed_rightly_is_denied_and_never_shown() {
    let emulator = Emulator::shared();
    let url = emulator.url(&container_name("bad-sas"));
    AzureTarget::create(emulator.config(&url)).await.unwrap();
    let token = "sv=2020-12-06&sr=c&sp=rl&se=2099-01-01T00%3A00%3A00Z&sig=c2VjcmV0LWNhbmFyeQ%3D%3D";
    let environment =
        Environment::new(|name| (name == "AZURE_STORAGE_SAS_TOKEN").then(|| token.to_owned()));
    let config = AzureConfig::from_url(&url, &environment).unwrap();
    let error = AzureTarget::open(config).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
    assert!(!format!("{error} {error:?}").contains("c2VjcmV0"), "{error:?}");
}

#[tokio::test]
async fn a_missing_container_is_not_found_and_created_once() {
    let emulator = Emulator::shared();
    let config = emulator.config(&emulator.url(&container_name("missing")));
    let error = AzureTarget::open(config.clone()).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("container"), "{error:?}");
    let created = AzureTarget::create(config.clone()).await.unwrap();
    created.create(&key("a"), vec![1]).await.unwrap();
    let again = AzureTarget::create(config).await.unwrap();
    assert_eq!(again.get_full(&key("a")).await.unwrap(), [1].as_slice());
    assert_eq!(again.requests_sent(), Some(2), "a look, and the read");
}
