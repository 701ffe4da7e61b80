//! A folder as a strongroom target, crash-safe.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, encryption or retry policy.
//!
//! What it promises beyond the trait:
//! - An object is written to a temporary file, brought to disk, given its name in one step that
//!   fails if a create's name is taken, and the folder is brought to disk. A power cut at any
//!   moment leaves the object whole or absent. A failed sync is a failed put.
//! - Files get mode 0600, folders 0700.
//! - No path leaves the root: symbolic links inside it are never followed, whoever planted them.
//! - Leftovers of a killed process are never listed, and removed by [`LocalTarget::open`] when
//!   they are a day old.
//!
//! ```
//! use strongroom_core::target::{KeyPrefix, ObjectKey, TargetExt};
//! use strongroom_local::LocalTarget;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let parent = tempfile::tempdir()?;
//! # let path = parent.path().join("backup");
//! let target = LocalTarget::create(path).await?;
//! let key = ObjectKey::parse("letters/first")?;
//! target.create(&key, b"dear reader".to_vec()).await?;
//! assert!(target.create(&key, b"too late".to_vec()).await.is_err());
//! assert_eq!(target.get_range(&key, 5, 6).await?, "reader");
//! assert_eq!(target.list_all(&KeyPrefix::all()).await?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod content;
mod error;
mod list;
mod read;
mod root;
mod target;
mod write;

#[cfg(test)]
mod tests;

pub use self::target::LocalTarget;
