//! A folder of an SMB share as a strongroom target.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, keys or retry policy.
//!
//! What it promises beyond the trait:
//! - An object is written to a temporary file, brought to the server's disk, given its name in
//!   one step that the server's file system refuses if a create's name is taken, and the folder
//!   is brought to disk.
//! - Messages are signed unless the user is a guest, and encrypted where the share requires it
//!   or the URL asks for it.
//! - A connection that breaks is replaced by the next call; the call it broke in is
//!   `Unavailable`, to be repeated by whoever retries.
//! - Leftovers of killed writers are never listed, and removed by [`SmbTarget::open`] when they
//!   are a day old.
//!
//! ```no_run
//! use strongroom_backend_support::Environment;
//! use strongroom_core::target::{KeyPrefix, ObjectKey, TargetExt};
//! use strongroom_smb::{SmbConfig, SmbTarget};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // The password comes from STRONGROOM_SMB_PASSWORD, or what the README names.
//! let url = "smb://anna@nas/backups/laptop";
//! let target = SmbTarget::create(SmbConfig::from_url(url, &Environment::process())?).await?;
//! let key = ObjectKey::parse("letters/first")?;
//! target.create(&key, b"dear reader".to_vec()).await?;
//! assert!(target.create(&key, b"too late".to_vec()).await.is_err());
//! assert_eq!(target.get_range(&key, 5, 6).await?, "reader");
//! assert_eq!(target.list_all(&KeyPrefix::all()).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod config;
mod error;
mod folder;
mod link;
mod list;
mod pool;
mod read;
mod request;
mod target;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub use self::{
    config::{Protection, SmbConfig},
    target::SmbTarget,
};
