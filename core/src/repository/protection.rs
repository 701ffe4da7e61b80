//! Protection against damage: which objects have parity and copies, how to tell that a
//! repository has them, and reading that heals what it finds damaged.
//!
//! What has them is decided when a repository is made, and stands in its settings. Who has no
//! key, or cannot read the settings, goes by the copies of the descriptor.

use std::sync::Arc;

use bytes::Bytes;
use futures::future;

use super::layout;
use crate::{
    error::{Error, ErrorKind, Result},
    target::{
        BackupTarget, ByteRange, Healed, ObjectKey, SharedTarget, TargetError, TargetErrorKind,
        TargetExt,
        layers::{ParityLayer, ParityScheme},
    },
};

/// Folders and names of the objects that have copies. Announcements of sessions have none: they
/// are small, short-lived, and nothing is lost with one.
const COPIED: &[&str] = &[
    layout::DESCRIPTOR,
    layout::SLOTS,
    layout::COLLECTOR,
    layout::DAMAGE,
    "meta/snapshots",
    "meta/index",
    "meta/labels",
    "meta/tombstones",
];

/// Puts the layer that keeps parity and copies around a target with a repository.
///
/// # Errors
/// `Internal` only.
pub fn protect(target: SharedTarget) -> Result<ParityLayer> {
    let scheme = ParityScheme::new(layout::PACKS, COPIED);
    let scheme = scheme.map_err(|error| Error::internal("a bad object name").because(error))?;
    Ok(ParityLayer::new(target, scheme))
}

/// True if a repository with parity and copies is there, as far as can be told without keys.
///
/// # Errors
/// What the target reports.
pub async fn is_protected(target: &dyn BackupTarget) -> Result<bool> {
    let [first, second] = ["copies/1/repository", "copies/2/repository"].map(layout::key);
    let (first, second) = (first?, second?);
    let (first, second) = future::join(target.exists(&first), target.exists(&second)).await;
    Ok(first? || second?)
}

/// The target of a repository, with the layer around it if there is one.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    pub(super) target: SharedTarget,
    pub(super) parity: Option<Arc<ParityLayer>>,
}

impl Guarded {
    pub(super) fn new(target: SharedTarget, has_parity: bool) -> Result<Self> {
        if !has_parity {
            return Ok(Self { target, parity: None });
        }
        let layer = Arc::new(protect(target)?);
        Ok(Self { target: layer.clone(), parity: Some(layer) })
    }
}

/// What `open` makes of the object `key`, and the object. If it is damaged, it is healed where
/// the target can, and read once more.
///
/// # Errors
/// Those of the target and of `open`.
pub(crate) async fn read_healing<T>(
    target: &dyn BackupTarget,
    key: &ObjectKey,
    open: impl Fn(&Bytes) -> Result<T>,
) -> Result<(T, Bytes)> {
    let read = async || -> Result<(T, Bytes)> {
        let bytes = target.get(key, ByteRange::Full).await.map_err(Error::from)?;
        Ok((open(&bytes)?, bytes))
    };
    match read().await {
        Err(error) if is_curable(&error) && heal(target, key).await => read().await,
        outcome => outcome,
    }
}

/// Has the target heal `key`; true if reading it once more may give something else.
pub(crate) async fn heal(target: &dyn BackupTarget, key: &ObjectKey) -> bool {
    match target.heal_object(key).await {
        Ok(Healed::Impossible) => false,
        Ok(Healed::Intact | Healed::Rebuilt) => true,
        Err(error) => {
            tracing::warn!(object = %key, %error, "not healed");
            false
        }
    }
}

/// True for errors of one object that healing may cure: wrong bytes, unreadable sectors.
pub(crate) fn is_curable(error: &Error) -> bool {
    let cause = || std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    match error.kind() {
        ErrorKind::Damaged => true,
        ErrorKind::Storage => cause().map(TargetError::kind).is_some_and(|kind| {
            matches!(kind, TargetErrorKind::Unexpected | TargetErrorKind::Unavailable)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
