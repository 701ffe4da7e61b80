//! The SDK's client as we want it: whom it trusts, what it counts, and that it never repeats.
//!
//! Decides nothing about objects.

use std::{
    fs,
    future::Future,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, RuntimeComponents, SharedHttpClient,
        StalledStreamProtectionConfig,
        http::HttpResponse,
        interceptors::{
            BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
        },
        retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{BoxError, ProvideErrorMetadata, SdkError},
};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use strongroom_backend_support::invalid;
use strongroom_core::target::TargetResult;
use tracing::{instrument::WithSubscriber, subscriber::NoSubscriber};

use crate::{
    config::{Checksums, S3Config, S3Credentials},
    error::Failure,
    flow::{Progress, guarded},
};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// What a region is called where there are none.
const REGION_OF_ENDPOINTS: &str = "us-east-1";

/// Requests that went out, repetitions included.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<AtomicU64>);

impl Requests {
    /// How many so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Headers of answers that some servers send twice, which the SDK takes for nonsense.
const SENT_TWICE: &[&str] = &[
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key-md5",
];

/// Leaves one of what was sent twice.
#[derive(Debug)]
struct OneOfEach;

impl Intercept for OneOfEach {
    fn name(&self) -> &'static str {
        "OneOfEach"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        for name in SENT_TWICE {
            if let Some(value) = headers.get(*name).map(str::to_owned) {
                headers.insert(*name, value);
            }
        }
        Ok(())
    }
}

/// A client for `config` that counts in `requests`.
///
/// It tries every request once: only we know whether a repetition is safe. The limits on silence
/// are ours, too (see [`crate::flow`]), because the SDK's end every slow upload.
pub(crate) async fn client(config: &S3Config, requests: &Requests) -> TargetResult<Client> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(config.ca_file.as_deref())?)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIME_MAX).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let fallback = config.endpoint.as_ref().map(|_| REGION_OF_ENDPOINTS);
    if let Some(region) = config.region.as_deref().or(fallback) {
        loader = loader.region(Region::new(region.to_owned()));
    }
    if let Some(profile) = &config.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(credentials) = &config.credentials {
        loader = loader.credentials_provider(static_credentials(credentials));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let shared = silently(loader.load()).await;
    if shared.region().is_none() {
        return Err(invalid("no region is known for the bucket")
            .hint("set region=NAME in the URL, AWS_REGION, or a region in the profile"));
    }
    let (sent, verified) = match config.checksums {
        Checksums::WhenSupported => {
            (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported)
        }
        Checksums::WhenRequired => {
            (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired)
        }
    };
    let settings = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(config.is_path_style)
        .request_checksum_calculation(sent)
        .response_checksum_validation(verified)
        .interceptor(OneOfEach)
        .interceptor(requests.clone());
    Ok(Client::from_conf(settings.build()))
}

fn static_credentials(credentials: &S3Credentials) -> Credentials {
    let token = credentials.session_token.as_ref().map(|token| token.expose().to_owned());
    let secret = credentials.secret_access_key.expose();
    Credentials::new(&credentials.access_key_id, secret, token, None, "strongroom")
}

/// HTTP with rustls and aws-lc, through the proxies that the environment names.
fn http_client(ca_file: Option<&Path>) -> TargetResult<SharedHttpClient> {
    let mut trusted = TrustStore::default();
    if let Some(path) = ca_file {
        trusted.add_pem_certificate(certificates(path)?);
    }
    let context = TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| invalid("TLS cannot be set up").because(error))?;
    let connector = move |settings: Option<&_>, components: Option<&RuntimeComponents>| {
        let mut builder = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.build()
    };
    Ok(Builder::new().build_with_connector_fn(connector))
}

/// Those certificates of the PEM file at `path` that can be used. The SDK panics over others, and
/// bundles of systems may hold some.
fn certificates(path: &Path) -> TargetResult<Vec<u8>> {
    let bad = |why: &str| {
        invalid(format!("{why} in the file that ca-file or AWS_CA_BUNDLE names")).at(path.display())
    };
    let pem = fs::read(path).map_err(|error| {
        invalid("the file that ca-file or AWS_CA_BUNDLE names cannot be read")
            .at(path.display())
            .because(error)
    })?;
    let (mut store, mut usable) = (RootCertStore::empty(), String::new());
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| bad("broken PEM"))?;
        let text = BASE64.encode(&certificate);
        if store.add(certificate).is_ok() {
            usable += &format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        }
    }
    match usable.is_empty() {
        true => Err(bad("no certificate that can be used")),
        false => Ok(usable.into_bytes()),
    }
}

/// Runs work of the SDK without its own log, which at its most talkative holds the key of SSE-C.
pub(crate) fn silently<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    work.with_subscriber(NoSubscriber::default())
}

/// Sends a request for as long as `progress` grows.
pub(crate) async fn send<T, E>(
    progress: &Progress,
    request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, Failure>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    guarded(progress, silently(request)).await.map_err(Failure::stalled)?.map_err(Failure::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_certificate_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(certificates(&path).is_err(), "not there");
        for broken in [
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA",
        ] {
            fs::write(&path, broken).unwrap();
            let error = certificates(&path).unwrap_err();
            assert!(error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
