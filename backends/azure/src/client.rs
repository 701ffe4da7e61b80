//! What all calls share: the SDK's clients with our policies in their pipeline, and names.
//!
//! The SDK repeats nothing here: whether a repetition is safe is known to the call, and to the
//! layers around the target.

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use azure_core::{
    Error,
    http::{
        ClientOptions, Context, Pipeline, Request, RetryOptions, Transport,
        policies::{Policy, PolicyResult},
    },
    time::OffsetDateTime,
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions, BlobContainerClient, BlobContainerClientOptions,
    models::ImmutabilityPolicyMode,
};
use strongroom_backend_support::{Names, invalid};
use strongroom_core::target::{ObjectKey, Operation, TargetError, TargetResult};
use tokio::sync::Semaphore;
use url::Url;

use crate::{config::AzureConfig, error, sign::pass_on, upload::days_from_now, wire::Wire};

/// The clients of one container, and the names below one folder of it.
#[derive(Debug)]
pub(crate) struct Client {
    config: AzureConfig,
    names: Names,
    container_url: Url,
    options: ClientOptions,
    /// Proves who we are; part of `options`, and used alone for the parts of a batch.
    authorization: Arc<dyn Policy>,
    wire: Arc<Wire>,
    /// Whether batches have not failed yet.
    batches: AtomicBool,
    /// A batch is hundreds of requests to the server: few of them at once.
    batch_permits: Semaphore,
}

/// How many batches are on their way at once.
const BATCHES_AT_ONCE: usize = 2;

impl Client {
    pub(crate) fn new(config: AzureConfig) -> TargetResult<Self> {
        let ca_file = config.ca_file.as_deref();
        let wire = Arc::new(Wire::new(ca_file)?);
        let authorization = config.credential.policy(&config.account, ca_file)?;
        let options = ClientOptions {
            // The signature comes last: it covers what the others add.
            per_try_policies: vec![Arc::new(SumPolicy), authorization.clone()],
            retry: RetryOptions::none(),
            transport: Some(Transport::new(wire.clone())),
            ..Default::default()
        };
        let container_url = below(&config.endpoint, [config.container.as_str()])?;
        let names = Names::new(&config.path);
        Ok(Self {
            config,
            names,
            container_url,
            options,
            authorization,
            wire,
            batches: AtomicBool::new(true),
            batch_permits: Semaphore::new(BATCHES_AT_ONCE),
        })
    }

    pub(crate) fn config(&self) -> &AzureConfig {
        &self.config
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) fn requests(&self) -> u64 {
        self.wire.requests()
    }

    pub(crate) fn batches(&self) -> &AtomicBool {
        &self.batches
    }

    pub(crate) fn batch_permits(&self) -> &Semaphore {
        &self.batch_permits
    }

    pub(crate) fn container_url(&self) -> &Url {
        &self.container_url
    }

    pub(crate) fn authorization(&self) -> &Arc<dyn Policy> {
        &self.authorization
    }

    pub(crate) fn container(&self) -> TargetResult<BlobContainerClient> {
        let options = BlobContainerClientOptions {
            client_options: self.options.clone(),
            ..Default::default()
        };
        BlobContainerClient::new(self.container_url.clone(), None, Some(options))
            .map_err(|error| self.failed(Operation::Open, error))
    }

    /// The blob of `key`. The container's own client would write its slashes as `%2F`.
    pub(crate) fn blob(&self, key: &ObjectKey) -> TargetResult<BlobClient> {
        let options =
            BlobClientOptions { client_options: self.options.clone(), ..Default::default() };
        BlobClient::new(self.blob_url(key)?, None, Some(options))
            .map_err(|error| self.failed(Operation::Open, error))
    }

    pub(crate) fn blob_url(&self, key: &ObjectKey) -> TargetResult<Url> {
        below(&self.container_url, self.names.full(key).split('/'))
    }

    /// For requests that the SDK does not know.
    pub(crate) fn pipeline(&self) -> Pipeline {
        let name = option_env!("CARGO_PKG_NAME");
        let version = option_env!("CARGO_PKG_VERSION");
        Pipeline::new(name, version, self.options.clone(), Vec::new(), Vec::new(), None)
    }

    /// How an object that is stored now is protected, and until when.
    pub(crate) fn protection(&self) -> Option<(OffsetDateTime, ImmutabilityPolicyMode)> {
        let immutability = self.config.immutability?;
        Some((days_from_now(immutability.days?), immutability.mode))
    }

    pub(crate) fn failed(&self, operation: Operation, error: Error) -> TargetError {
        error::failed(operation, error, self.config.credential.name())
    }
}

/// `url` with further segments, which are encoded.
fn below<'a>(url: &Url, segments: impl IntoIterator<Item = &'a str>) -> TargetResult<Url> {
    let mut url = url.clone();
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(segments),
        Err(()) => return Err(invalid("the endpoint is no URL that paths can follow")),
    };
    Ok(url)
}

/// The sum of a body, put into the context of a call whose options have no place for it.
pub(crate) struct ContentMd5(pub(crate) String);

/// Adds the sum to the request.
#[derive(Debug)]
struct SumPolicy;

#[async_trait]
impl Policy for SumPolicy {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        if let Some(ContentMd5(sum)) = ctx.value() {
            request.insert_header("content-md5", sum.clone());
        }
        pass_on(ctx, request, next).await
    }
}
