//! How each backend is made: one function a crate, of the same shape whether it is built in or
//! not.

use std::path::Path;

use strongroom_core::target::{
    Operation, SharedTarget, TargetError, TargetErrorKind, TargetResult,
};

use crate::{OpenMode, RemoteUrl};

/// The error for a backend that was left out of the program.
pub(crate) fn not_built(scheme: &str) -> TargetError {
    let why = format!("{scheme}:// is unsupported here: its backend is not built in");
    TargetError::new(TargetErrorKind::Unsupported, Operation::Open, why)
}

pub(crate) async fn local(path: &Path, mode: OpenMode) -> TargetResult<SharedTarget> {
    #[cfg(feature = "local")]
    {
        use strongroom_local::LocalTarget;
        Ok(std::sync::Arc::new(match mode {
            OpenMode::Existing => LocalTarget::open(path.to_owned()).await?,
            OpenMode::Create => LocalTarget::create(path.to_owned()).await?,
        }))
    }
    #[cfg(not(feature = "local"))]
    {
        let _ = mode;
        Err(not_built("file").at(path.display()))
    }
}

/// A function that makes a target by a configuration read from the URL and the environment.
macro_rules! constructor {
    ($name:ident, $feature:literal, $krate:ident, $config:ident, $target:ident $(, $by:tt)?) => {
        pub(crate) async fn $name(url: &RemoteUrl, mode: OpenMode) -> TargetResult<SharedTarget> {
            #[cfg(feature = $feature)]
            {
                use strongroom_backend_support::Environment;
                use $krate::{$config, $target};
                let config = $config::from_url(url.as_str(), &Environment::process())?;
                Ok(std::sync::Arc::new(match mode {
                    OpenMode::Existing => $target::open($($by)? config).await?,
                    OpenMode::Create => $target::create($($by)? config).await?,
                }))
            }
            #[cfg(not(feature = $feature))]
            {
                let _ = mode;
                Err(not_built(url.scheme()))
            }
        }
    };
}

constructor!(s3, "s3", strongroom_s3, S3Config, S3Target);
constructor!(azure, "azure", strongroom_azure, AzureConfig, AzureTarget);
constructor!(smb, "smb", strongroom_smb, SmbConfig, SmbTarget);
constructor!(opendal, "opendal", strongroom_opendal, OpendalConfig, OpendalTarget, &);

/// Buckets of Google Cloud Storage are made elsewhere: a bucket that is missing is not found.
pub(crate) async fn object_store(url: &RemoteUrl, _: OpenMode) -> TargetResult<SharedTarget> {
    #[cfg(feature = "gs")]
    {
        use strongroom_backend_support::Environment;
        use strongroom_object_store::GcsConfig;
        let config = GcsConfig::from_url(url.as_str(), &Environment::process())?;
        Ok(std::sync::Arc::new(config.open().await?))
    }
    #[cfg(not(feature = "gs"))]
    {
        Err(not_built(url.scheme()))
    }
}
