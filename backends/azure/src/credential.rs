//! Who we are to Azure: which credential is used, and the policy that proves it.
//!
//! Secrets come in through the configuration; knows no blob and no container.

use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    Error,
    cloud::CustomConfiguration,
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::{
        ClientOptions, RetryOptions, Transport,
        policies::{Policy, auth::BearerTokenAuthorizationPolicy},
    },
};
use azure_identity::{
    AzureCliCredential, ClientSecretCredential, ClientSecretCredentialOptions,
    ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use strongroom_backend_support::{Environment, Secret, invalid};
use strongroom_core::target::{TargetError, TargetResult};
use tokio::sync::OnceCell;

use crate::{
    sign::{SasPolicy, SharedKeyPolicy},
    wire::Wire,
};

/// What a token is asked for.
const SCOPE: &str = "https://storage.azure.com/.default";

/// How requests are authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The key of the account, base64: may do everything.
    AccountKey(Secret),
    /// A shared access signature: may do what its permissions say, until it expires.
    Sas(Secret),
    /// A token of Microsoft Entra: may do what the roles of its holder say.
    Entra(Entra),
}

/// Where a token of Microsoft Entra comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entra {
    /// Which of the sources below to use; by default all that are set up, one after the other.
    pub source: Identity,
    /// `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`: a service principal, or a managed identity assigned by the user.
    pub client_id: Option<String>,
    /// `AZURE_CLIENT_SECRET`.
    pub client_secret: Option<Secret>,
    /// `AZURE_FEDERATED_TOKEN_FILE`: a token of Kubernetes or another issuer.
    pub federated_token_file: Option<PathBuf>,
    /// `AZURE_AUTHORITY_HOST`: who gives tokens, where that is not the public cloud.
    pub authority_host: Option<String>,
}

/// A source of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// A service principal or workload identity where the environment names one, else the
    /// managed identity of this machine, else the account that the Azure CLI is logged in with.
    #[default]
    Any,
    /// The service principal or workload identity that the environment names.
    Environment,
    /// The identity of this machine, container or function.
    Managed,
    /// The account that the Azure CLI is logged in with.
    Cli,
}

impl Credential {
    /// What errors call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::AccountKey(_) => "the account key",
            Self::Sas(_) => "the SAS token",
            Self::Entra(_) => "a token of Microsoft Entra",
        }
    }

    /// The policy that proves it with every request.
    pub(crate) fn policy(
        &self,
        account: &str,
        ca_file: Option<&std::path::Path>,
    ) -> TargetResult<Arc<dyn Policy>> {
        Ok(match self {
            Self::AccountKey(key) => {
                let policy = SharedKeyPolicy::new(account, key);
                Arc::new(policy.ok_or_else(|| invalid("the account key is not base64"))?)
            }
            Self::Sas(token) => Arc::new(SasPolicy::new(token)),
            Self::Entra(entra) => {
                let credential = entra.credential(ca_file)?;
                Arc::new(BearerTokenAuthorizationPolicy::new(credential, [SCOPE]))
            }
        })
    }
}

impl Entra {
    /// What the environment says about it.
    ///
    /// # Errors
    /// `Invalid` if a secret cannot be read.
    pub fn from_environment(source: Identity, environment: &Environment) -> TargetResult<Self> {
        Ok(Self {
            source,
            tenant_id: environment.variable("AZURE_TENANT_ID"),
            client_id: environment.variable("AZURE_CLIENT_ID"),
            client_secret: environment.secret("AZURE_CLIENT_SECRET")?,
            federated_token_file: environment
                .variable("AZURE_FEDERATED_TOKEN_FILE")
                .map(PathBuf::from),
            authority_host: environment.variable("AZURE_AUTHORITY_HOST"),
        })
    }

    fn credential(
        &self,
        ca_file: Option<&std::path::Path>,
    ) -> TargetResult<Arc<dyn TokenCredential>> {
        let wire = Transport::new(Arc::new(Wire::new(ca_file)?));
        let named = || self.named_by_environment(wire.clone());
        match self.source {
            Identity::Environment => named()?.ok_or_else(|| {
                invalid("the environment names no Entra identity").hint(
                    "set AZURE_TENANT_ID and AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or \
                     AZURE_FEDERATED_TOKEN_FILE",
                )
            }),
            Identity::Managed => self.managed(wire.clone()),
            Identity::Cli => cli(),
            Identity::Any => match named()? {
                Some(credential) => Ok(credential),
                None => Ok(Arc::new(Chain::new(vec![self.managed(wire)?, cli()?]))),
            },
        }
    }

    fn named_by_environment(
        &self,
        wire: Transport,
    ) -> TargetResult<Option<Arc<dyn TokenCredential>>> {
        let (Some(tenant), Some(client)) = (&self.tenant_id, &self.client_id) else {
            return Ok(None);
        };
        let client_options = self.client_options(wire);
        if let Some(secret) = &self.client_secret {
            let options = ClientSecretCredentialOptions { client_options };
            let secret = secret.expose().to_owned().into();
            let made = ClientSecretCredential::new(tenant, client.clone(), secret, Some(options));
            return Ok(Some(made.map_err(not_set_up)?));
        }
        let Some(path) = &self.federated_token_file else { return Ok(None) };
        let mut options = WorkloadIdentityCredentialOptions {
            tenant_id: Some(tenant.clone()),
            client_id: Some(client.clone()),
            token_file_path: Some(path.clone()),
            ..Default::default()
        };
        options.credential_options.client_options = client_options;
        let made = WorkloadIdentityCredential::new(Some(options));
        Ok(Some(made.map_err(not_set_up)?))
    }

    fn managed(&self, wire: Transport) -> TargetResult<Arc<dyn TokenCredential>> {
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: self.client_id.clone().map(UserAssignedId::ClientId),
            client_options: ClientOptions {
                // Elsewhere than in Azure nobody answers, and the Azure CLI comes next.
                retry: RetryOptions::none(),
                ..self.client_options(wire)
            },
        };
        let made = ManagedIdentityCredential::new(Some(options));
        Ok(made.map_err(not_set_up)?)
    }

    fn client_options(&self, wire: Transport) -> ClientOptions {
        let cloud = self.authority_host.clone().map(|authority_host| {
            let mut cloud = CustomConfiguration::default();
            cloud.authority_host = authority_host;
            Arc::new(cloud.into())
        });
        ClientOptions { transport: Some(wire), cloud, ..Default::default() }
    }
}

fn cli() -> TargetResult<Arc<dyn TokenCredential>> {
    Ok(AzureCliCredential::new(None).map_err(not_set_up)?)
}

fn not_set_up(error: Error) -> TargetError {
    invalid("the Entra identity is not set up rightly").because(error)
}

/// Asks one credential after the other until one knows a token, and stays with it.
struct Chain {
    credentials: Vec<Arc<dyn TokenCredential>>,
    working: OnceCell<usize>,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("working", &self.working).finish_non_exhaustive()
    }
}

impl Chain {
    fn new(credentials: Vec<Arc<dyn TokenCredential>>) -> Self {
        Self { credentials, working: OnceCell::new() }
    }

    async fn first_token(&self, scopes: &[&str]) -> azure_core::Result<(usize, AccessToken)> {
        let mut why = String::new();
        for (at, credential) in self.credentials.iter().enumerate() {
            match credential.get_token(scopes, None).await {
                Ok(token) => return Ok((at, token)),
                Err(error) => why = format!("{why}; {error}"),
            }
        }
        Err(Error::with_message(ErrorKind::Credential, why.trim_start_matches("; ").to_owned()))
    }
}

#[async_trait]
impl TokenCredential for Chain {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if let Some(credential) = self.working.get().and_then(|at| self.credentials.get(*at)) {
            return credential.get_token(scopes, options).await;
        }
        let (at, token) = self.first_token(scopes).await?;
        let _ = self.working.set(at);
        Ok(token)
    }
}
