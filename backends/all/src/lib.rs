//! From a target URL to a strongroom target, by feature.
//!
//! The only crate that knows all backends; knows nothing of what a target is used for, and adds
//! no layer. Which scheme leads where stands in `url.rs`, how a backend is made in `construct.rs`.
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

mod construct;
mod url;

use std::ffi::OsStr;

use strongroom_core::target::{SharedTarget, TargetResult};

use self::url::Backend;
pub use self::url::{RemoteUrl, TargetUrl};

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
    open_parsed(&TargetUrl::parse(url)?, options).await
}

/// Opens the target that `url` names.
///
/// # Errors
/// What the backend gives.
pub async fn open_parsed(url: &TargetUrl, options: &OpenOptions) -> TargetResult<SharedTarget> {
    // boxed: the SDKs' futures are deep and large
    match url {
        TargetUrl::Local(path) => Box::pin(construct::local(path, options.mode)).await,
        TargetUrl::Remote(url) => match url.backend() {
            Some(Backend::S3) => Box::pin(construct::s3(url, options.mode)).await,
            Some(Backend::Azure) => Box::pin(construct::azure(url, options.mode)).await,
            Some(Backend::Smb) => Box::pin(construct::smb(url, options.mode)).await,
            Some(Backend::ObjectStore) => {
                Box::pin(construct::object_store(url, options.mode)).await
            }
            Some(Backend::Opendal) => Box::pin(construct::opendal(url, options.mode)).await,
            Some(Backend::Local) | None => Err(construct::not_built(url.scheme())),
        },
    }
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
