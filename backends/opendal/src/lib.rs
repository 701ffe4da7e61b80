//! Any OpenDAL service as a strongroom target: SFTP, WebDAV, FTP, B2, Swift, Azure Files, Google
//! Drive, Dropbox, OneDrive, and whatever else is compiled into OpenDAL.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, encryption or retry policy. The
//! README has the URLs, the settings, and what each service can and cannot promise.
//!
//! ```
//! use strongroom_backend_support::Environment;
//! use strongroom_core::target::{BackupTarget, ByteRange, ObjectKey, TargetExt};
//! use strongroom_opendal::{OpendalConfig, OpendalTarget};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // OpenDAL's own memory service stands here for a server.
//! let environment = Environment::process();
//! let config = OpendalConfig::from_url("opendal+memory:///backup", &environment)?;
//! let target = OpendalTarget::create(&config).await?;
//! let key = ObjectKey::parse("letters/first")?;
//! target.create(&key, b"dear reader".to_vec()).await?;
//! assert!(target.create(&key, b"too late".to_vec()).await.is_err());
//! assert_eq!(target.get(&key, ByteRange::From { offset: 5, length: 6 }).await?, "reader");
//! assert_eq!(target.to_string(), "opendal+memory:///backup");
//! # Ok(())
//! # }
//! ```

mod claim;
mod config;
mod error;
mod list;
mod patience;
mod pipe;
mod place;
mod read;
mod schemes;
mod service;
mod streamed;
mod target;
mod transport;
mod upload;

pub use self::{config::OpendalConfig, target::OpendalTarget};
