//! strongroom target: Azure Blob Storage.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, encryption or retry policy. The
//! README lists the settings of a URL, the variables for credentials, and the rights they need.
//!
//! - A create is decided by the service (`If-None-Match: *`), also at the commit of blocks.
//! - Streams of any length up to 2.4 TiB go in blocks through constant memory; a put that fails
//!   leaves nothing visible.
//! - Account key, connection string, SAS token, and all identities of Microsoft Entra.
//! - The SDK repeats nothing; a server that falls silent is noticed within 40 seconds.
//!
//! ```
//! use strongroom_azure::{AzureConfig, AzureTarget, Credential};
//! use strongroom_backend_support::Environment;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let environment = Environment::new(|name| match name {
//!     "AZURE_STORAGE_ACCOUNT" => Some("mybackups".to_owned()),
//!     "AZURE_STORAGE_KEY_COMMAND" => Some("echo c2VjcmV0".to_owned()),
//!     _ => None,
//! });
//! let config = AzureConfig::from_url("az://vault/web1?tier=Cool&tier.packs=Cold", &environment)?;
//! assert_eq!(config.endpoint.as_str(), "https://mybackups.blob.core.windows.net/");
//! assert!(matches!(config.credential, Credential::AccountKey(_)));
//! # if false {
//! let target = AzureTarget::open(config).await?;
//! # }
//! # Ok(())
//! # }
//! # futures::executor::block_on(example()).unwrap();
//! ```

mod batch;
mod body;
mod client;
mod config;
mod credential;
mod error;
mod list;
mod read;
mod sign;
mod target;
mod tries;
mod upload;
mod wire;

pub use azure_storage_blob::models::{AccessTier, ImmutabilityPolicyMode};

pub use self::{
    config::{AzureConfig, Immutability, Tiers},
    credential::{Credential, Entra, Identity},
    target::AzureTarget,
};
