//! `gs://bucket/prefix`: Google Cloud Storage through `object_store`.
//!
//! Its own repetitions are off but for the parts of a stream: a create that is repeated after a
//! lost answer would report its own success as a conflict.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use object_store::{
    ClientOptions, RetryConfig, StaticCredentialProvider,
    gcp::{GcpCredential, GoogleCloudStorageBuilder},
    retry::{RetryContext, RetryFailure, RetryPolicy},
};
use strongroom_backend_support::{Environment, Location, Secret, invalid};
use strongroom_core::target::{TargetErrorKind, TargetResult};

use crate::{ObjectStoreConfig, ObjectStoreTarget};

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a request may be without an answer, the sending of its body included.
const SILENCE_MAX: Duration = Duration::from_secs(50);

/// How often a part of a stream is tried.
const TRIES_MAX: usize = 5;

/// The wait before the second try of a part; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(200);

/// How many keys go into one call of `delete_batch`; the store sends them side by side.
const DELETE_BATCH_MAX: usize = 100;

/// What stands behind `?` in a URL.
const SETTINGS: &[&str] = &["endpoint", "anonymous"];

/// A bucket, the folder in it, and how to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcsConfig {
    /// The bucket.
    pub bucket: String,
    /// The folders below which all objects lie; empty for the whole bucket.
    pub path: Vec<String>,
    /// Where the service answers, if not at Google's own address.
    pub endpoint: Option<String>,
    /// True for requests without credentials, for emulators and public buckets.
    pub anonymous: bool,
    /// A service account's key file: `GOOGLE_SERVICE_ACCOUNT` or `GOOGLE_SERVICE_ACCOUNT_PATH`.
    pub service_account_path: Option<String>,
    /// Such a key itself, JSON: `GOOGLE_SERVICE_ACCOUNT_KEY`.
    pub service_account_key: Option<Secret>,
    /// A file of `gcloud`: `GOOGLE_APPLICATION_CREDENTIALS`. Without any of these the file of
    /// `gcloud auth application-default login` is used, else the machine's metadata server.
    pub application_credentials: Option<String>,
}

impl GcsConfig {
    /// Reads `gs://BUCKET[/PATH]`, and the environment as the fields say.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn from_url(text: &str, environment: &Environment) -> TargetResult<Self> {
        let mut location = Location::parse(text)?;
        if location.scheme != "gs" {
            return Err(invalid(format!("{:?} is no scheme of Google Cloud", location.scheme)));
        }
        if location.host.is_empty() || location.user.is_some() || location.port.is_some() {
            return Err(invalid("a gs URL is gs://BUCKET/PATH, without user or port"));
        }
        let endpoint =
            location.settings.value_with("endpoint", "an http or https URL", |text| {
                let is_url = text.starts_with("http://") || text.starts_with("https://");
                is_url.then(|| text.trim_end_matches('/').to_owned())
            })?;
        let anonymous = location.settings.switch("anonymous")?.unwrap_or(false);
        location.settings.finish(SETTINGS)?;
        let variable = |name: &str| environment.variable(name);
        Ok(Self {
            bucket: location.host,
            path: location.path,
            endpoint,
            anonymous,
            service_account_path: variable("GOOGLE_SERVICE_ACCOUNT")
                .or_else(|| variable("GOOGLE_SERVICE_ACCOUNT_PATH")),
            service_account_key: variable("GOOGLE_SERVICE_ACCOUNT_KEY").map(Secret::new),
            application_credentials: variable("GOOGLE_APPLICATION_CREDENTIALS"),
        })
    }

    /// Opens the bucket, which must exist. Sends one request.
    ///
    /// # Errors
    /// `NotFound` if there is no such bucket, `Denied` if it may not be listed, `Invalid` if the
    /// credentials cannot be read.
    pub async fn open(self) -> TargetResult<ObjectStoreTarget> {
        let store = self.builder().build().map_err(|error| {
            invalid("the credentials for Google Cloud make no sense").because(error)
        })?;
        let mut name = format!("gs://{}", self.bucket);
        self.path.iter().for_each(|folder| name = format!("{name}/{folder}"));
        let mut config = ObjectStoreConfig::new(name).with_atomic_create().below(self.path);
        config.delete_batch_max = DELETE_BATCH_MAX;
        config.multipart = config.multipart.with_retry_policy(Arc::new(RepeatParts));
        let target = ObjectStoreTarget::new(Arc::new(store), config);
        match target.probe().await {
            Ok(()) => Ok(target),
            Err(error) if error.kind() == TargetErrorKind::NotFound => Err(error
                .at(&target)
                .hint("check the name of the bucket, or create it: gcloud storage buckets create")),
            Err(error) => Err(error.at(&target)),
        }
    }

    fn builder(&self) -> GoogleCloudStorageBuilder {
        let options = ClientOptions::new()
            .with_allow_http(self.endpoint.as_ref().is_some_and(|url| url.starts_with("http:")))
            .with_connect_timeout(CONNECT_TIME_MAX)
            .with_read_timeout(SILENCE_MAX)
            .with_timeout_disabled();
        let mut builder = GoogleCloudStorageBuilder::new()
            .with_bucket_name(&self.bucket)
            .with_client_options(options)
            .with_retry(RetryConfig { max_retries: 0, ..Default::default() })
            .with_skip_signature(self.anonymous);
        if self.anonymous {
            // Without it writes ask the metadata server for a token all the same.
            let nobody = GcpCredential { bearer: String::new() };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(nobody)));
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if let Some(path) = &self.service_account_path {
            builder = builder.with_service_account_path(path);
        }
        if let Some(key) = &self.service_account_key {
            builder = builder.with_service_account_key(key.expose());
        }
        if let Some(path) = &self.application_credentials {
            builder = builder.with_application_credentials(path);
        }
        builder
    }
}

/// Repeats one part of an upload, which does no harm and which nobody outside could do.
#[derive(Debug)]
struct RepeatParts;

#[async_trait]
impl RetryPolicy for RepeatParts {
    async fn retry(&self, context: RetryContext) -> bool {
        let may_pass = match context.failure {
            RetryFailure::Status(status) => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 429)
            }
            RetryFailure::Transport(_) => true,
            _ => false,
        };
        if !may_pass || context.attempt >= TRIES_MAX {
            return false;
        }
        tokio::time::sleep(WAIT_FIRST.saturating_mul(1 << context.attempt.min(10))).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_the_environment_who() {
        let environment = Environment::new(|name| {
            (name == "GOOGLE_APPLICATION_CREDENTIALS").then(|| "/adc.json".to_owned())
        });
        let url = "gs://vault/a/b?endpoint=http://127.0.0.1:1/&anonymous";
        let config = GcsConfig::from_url(url, &environment).unwrap();
        assert_eq!((config.bucket.as_str(), config.path.len()), ("vault", 2));
        assert_eq!(config.endpoint.as_deref(), Some("http://127.0.0.1:1"));
        assert!(config.anonymous && config.service_account_path.is_none());
        assert_eq!(config.application_credentials.as_deref(), Some("/adc.json"));
        for (bad, named) in [
            ("s3://vault", "\"s3\""),
            ("gs://vault:1", "port"),
            ("gs://vault?endpoint=x", "endpoint"),
            ("gs://vault?colour=red", "colour"),
        ] {
            let error = GcsConfig::from_url(bad, &environment).unwrap_err();
            assert_eq!(error.kind(), TargetErrorKind::Invalid);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
