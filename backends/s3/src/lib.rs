//! strongroom target: S3 and what speaks its protocol.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, encryption or retry policy.
//!
//! What it promises beyond the trait:
//! - A create is decided by the storage (`If-None-Match: *`, on multipart completion too). A lost
//!   answer to a completion is resolved by a mark that only this upload carries.
//! - Streams of any length run in constant memory; a put that fails aborts its upload.
//! - Checksums go with every body and are verified on what comes back.
//! - Silence is noticed within a minute.
//!
//! URL syntax, settings, credentials and permissions stand in the crate's README.
//!
//! ```
//! use strongroom_backend_support::Environment;
//! use strongroom_s3::{Encryption, S3Config, S3Target};
//!
//! let url = "s3://backups/laptop?region=eu-central-1&storage-class.packs=GLACIER_IR&sse=aws:kms";
//! let config = S3Config::from_url(url, &Environment::process())?;
//! assert_eq!((config.bucket.as_str(), config.path.join("/")), ("backups", "laptop".into()));
//! assert_eq!(config.storage_class.of("packs").map(String::as_str), Some("GLACIER_IR"));
//! assert_eq!(config.encryption, Encryption::Kms { key_id: None });
//! # async fn open(config: S3Config) -> strongroom_core::target::TargetResult<()> {
//! let target = S3Target::open(config).await?;
//! # drop(target);
//! # Ok(())
//! # }
//! # Ok::<(), strongroom_core::target::TargetError>(())
//! ```

mod body;
mod client;
mod config;
mod create;
mod error;
mod flow;
mod list;
mod parts;
mod read;
mod remove;
mod request;
mod retention;
mod target;
mod upload;

pub use self::{
    config::{
        ByFolder, Checksums, Encryption, LockMode, ObjectLock, S3Config, S3Credentials, SseKey,
    },
    target::S3Target,
};
