//! TLS with an authority of one's own, and Microsoft Entra: a service principal gets a token from a
//! server in this process, and the emulator accepts it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use strongroom_azure::{AzureConfig, AzureTarget, Credential};
use strongroom_backend_support::Environment;
use strongroom_core::target::{TargetErrorKind, TargetExt};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::{
    front::{Action, Front},
    support::{container_name, key},
    transfers::OwnEmulator,
};

fn acceptor(own: &OwnEmulator) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(own.tls_file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(own.tls_file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[test]
fn a_private_authority_is_trusted_only_if_named() {
    let own = OwnEmulator::start(true);
    run(async {
        let url = own.emulator.url(&container_name("tls"));
        let error = AzureTarget::create(own.emulator.config(&url)).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
        assert!(!error.is_retryable());
        assert!(error.hint_text().unwrap().contains("ca-file="), "{error:?}");
        let url = format!("{url}&ca-file={}", own.tls_file("ca.pem").display());
        let target = AzureTarget::create(own.emulator.config(&url)).await.unwrap();
        target.create(&key("a"), vec![1]).await.unwrap();
        assert_eq!(target.get_full(&key("a")).await.unwrap(), [1].as_slice());
    });
}

/// What the emulator looks at in a token; nobody signs it.
fn token() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = format!(
        "{{\"aud\":\"https://storage.azure.com\",\"iss\":\"https://sts.windows.net/tenant/\",\
         \"iat\":{now},\"nbf\":{now},\"exp\":{}}}",
        now + 3600
    );
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part("{\"alg\":\"RS256\",\"typ\":\"JWT\"}"), part(&claims), part("none"))
}

#[test]
fn a_service_principal_gets_a_token_and_the_storage_takes_it() {
    let own = OwnEmulator::start(true);
    run(async {
        let authority = Front::start_over(Some(acceptor(&own)), None, |seen| {
            let form = String::from_utf8_lossy(&seen.body).into_owned();
            let json = "content-type: application/json\r\n".to_owned();
            if seen.target != "/tenant/oauth2/v2.0/token" || !form.contains("client_secret=right") {
                let body = "{\"error_codes\":[7000215],\"error_description\":\"no such secret\"}";
                return Action::Answer(401, json, body.into());
            }
            assert!(form.contains("scope=https%3A%2F%2Fstorage.azure.com%2F.default"), "{form}");
            let body = format!(
                "{{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"{}\"}}",
                token()
            );
            Action::Answer(200, json, body.into_bytes())
        })
        .await;
        let config = |secret: &'static str| {
            let address = authority.address.clone();
            let environment = Environment::new(move |name| match name {
                "AZURE_TENANT_ID" => Some("tenant".to_owned()),
                "AZURE_CLIENT_ID" => Some("client".to_owned()),
                "AZURE_CLIENT_SECRET" => Some(secret.to_owned()),
                "AZURE_AUTHORITY_HOST" => Some(format!("https://{address}")),
                _ => None,
            });
            let ca_file = own.tls_file("ca.pem");
            let url = own.emulator.url(&container_name("entra"));
            let url = format!("{url}&ca-file={}", ca_file.display());
            AzureConfig::from_url(&url, &environment).unwrap()
        };
        let right = config("right");
        assert!(matches!(right.credential, Credential::Entra(_)));
        let target = AzureTarget::create(right).await.unwrap();
        let keys: Vec<_> = (0..5).map(|number| key(&format!("k/{number}"))).collect();
        for key in &keys {
            target.create(key, vec![1]).await.unwrap();
            assert_eq!(target.get_full(key).await.unwrap(), [1].as_slice());
        }
        target.delete_many(keys.clone(), 2).await.unwrap();
        assert!(!target.exists(&keys[0]).await.unwrap());
        assert_eq!(authority.seen().len(), 1, "a token serves until it expires");

        let denied = AzureTarget::open(config("wrong")).await.unwrap_err();
        assert_eq!(denied.kind(), TargetErrorKind::Denied, "{denied}");
        assert!(denied.to_string().contains("no such secret"), "{denied}");
        assert!(denied.hint_text().is_some());
    });
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(test);
}
