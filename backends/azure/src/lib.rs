//! strongroom target: Azure Blob Storage.

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

pub use self::{
    config::{AzureConfig, Immutability, Tiers},
    credential::{Credential, Entra, Identity},
    target::AzureTarget,
};
