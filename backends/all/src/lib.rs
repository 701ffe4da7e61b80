//! From a target URL to a strongroom target, by feature.
//!
//! The only crate that knows all backends; knows nothing of what a target is used for, and adds
//! no layer.
//!
//! ```
//! use strongroom_backends::{OpenMode, OpenOptions, open};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let parent = tempfile::tempdir()?;
//! let url = format!("file://{}/backup", parent.path().display());
//! assert!(open(&url, &OpenOptions::default()).await.is_err(), "nothing there yet");
//! let target = open(&url, &OpenOptions { mode: OpenMode::Create }).await?;
//! assert!(target.capabilities().await?.atomic_create);
//! # Ok(())
//! # }
//! ```

mod url;

use std::ffi::OsStr;
#[cfg(feature = "local")]
use std::sync::Arc;

use strongroom_core::target::{SharedTarget, TargetResult};

pub use self::url::TargetUrl;

/// Whether the place of a target must be there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OpenMode {
    /// It must; its absence is `NotFound`.
    #[default]
    Existing,
    /// A missing folder (bucket, container) is created where that is possible.
    Create,
}

/// How to open a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Whether the place must be there already.
    pub mode: OpenMode,
}

/// Opens the target that `url` names: a URL, or a bare path, which need not be UTF-8.
///
/// # Errors
/// Those of [`TargetUrl::parse`], and what the backend gives.
pub async fn open(url: impl AsRef<OsStr>, options: &OpenOptions) -> TargetResult<SharedTarget> {
    let url = TargetUrl::parse(url)?;
    open_parsed(url, options).await
}

#[cfg(feature = "local")]
async fn open_parsed(url: TargetUrl, options: &OpenOptions) -> TargetResult<SharedTarget> {
    use strongroom_local::LocalTarget;
    match url {
        TargetUrl::Local(path) => Ok(Arc::new(match options.mode {
            OpenMode::Existing => LocalTarget::open(path).await?,
            OpenMode::Create => LocalTarget::create(path).await?,
        })),
    }
}

#[cfg(not(feature = "local"))]
async fn open_parsed(url: TargetUrl, _: &OpenOptions) -> TargetResult<SharedTarget> {
    use strongroom_core::target::{Operation, TargetError, TargetErrorKind};
    let TargetUrl::Local(path) = url;
    let why = "folders are unsupported here: feature \"local\" is not built in";
    Err(TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why).at(path.display()))
}

#[cfg(all(test, feature = "local"))]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use strongroom_core::target::{ObjectKey, TargetErrorKind, TargetExt};

    use super::*;

    #[tokio::test]
    async fn a_folder_is_opened_or_created_as_asked() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(OsStr::from_bytes(b"new\xff/folder"));
        let missing = open(&path, &OpenOptions::default()).await.unwrap_err();
        assert_eq!(missing.kind(), TargetErrorKind::NotFound);
        assert!(!path.exists(), "opening creates nothing");
        let created = open(&path, &OpenOptions { mode: OpenMode::Create }).await.unwrap();
        let key = ObjectKey::parse("a").unwrap();
        created.create(&key, vec![1]).await.unwrap();
        let opened = open(&path, &OpenOptions::default()).await.unwrap();
        assert!(opened.exists(&key).await.unwrap());
    }
}
