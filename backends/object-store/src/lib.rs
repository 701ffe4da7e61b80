//! strongroom target: any store of the `object_store` crate, and `gs://` through it.
//!
//! Knows only [`strongroom_core::target`]: no snapshots, packs, encryption or retry policy.
//!
//! ```
//! use std::sync::Arc;
//!
//! use object_store::memory::InMemory;
//! use strongroom_core::target::{ObjectKey, TargetExt};
//! use strongroom_object_store::{ObjectStoreConfig, ObjectStoreTarget};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ObjectStoreConfig::new("memory").with_atomic_create().below(["backups"]);
//! let target = ObjectStoreTarget::new(Arc::new(InMemory::new()), config);
//! let key = ObjectKey::parse("letters/first")?;
//! target.create(&key, b"dear reader".to_vec()).await?;
//! assert!(target.create(&key, b"too late".to_vec()).await.is_err());
//! assert_eq!(target.get_range(&key, 5, 6).await?, "reader");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
//! #     .block_on(example()).unwrap();
//! ```

mod config;
mod error;
#[cfg(feature = "gcs")]
mod gcs;
mod names;
mod read;
mod target;
mod upload;

#[cfg(feature = "gcs")]
pub use self::gcs::GcsConfig;
pub use self::{config::ObjectStoreConfig, target::ObjectStoreTarget};
