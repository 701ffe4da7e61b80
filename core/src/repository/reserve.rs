//! Room that is kept for getting rid of things: on a disk that is full, even writing down what is
//! to be forgotten or removed needs some.
//!
//! One object, on targets that tell how much room they have. Nothing is ever read from it.

use bytes::Bytes;

use super::{Repository, layout};
use crate::{
    error::{Error, Result},
    target::{TargetErrorKind, TargetExt, is_for_lack_of_room},
};

/// Enough for the small objects of a forget and a prune.
const RESERVE_BYTES: usize = 1 << 20;

impl Repository {
    /// True if what failed with `error` may be tried once more: it found no room, and the reserve
    /// was given up for it.
    ///
    /// # Errors
    /// What the target reports.
    pub(crate) async fn makes_room_after(&self, error: &Error) -> Result<bool> {
        if !is_for_lack_of_room(error) {
            return Ok(false);
        }
        tracing::warn!(%error, "gives the reserve up");
        self.target().delete(&layout::key(layout::RESERVE)?).await?;
        Ok(true)
    }

    /// Puts the reserve where it should be. Everything works without.
    pub(crate) async fn keep_reserve(&self) {
        let kept = async {
            if self.target().capabilities().await?.space.is_none() {
                return Ok(());
            }
            let key = layout::key(layout::RESERVE)?;
            if self.target().exists(&key).await? {
                return Ok(());
            }
            // a storage that compresses would give less room back
            let mut bytes = vec![0; RESERVE_BYTES];
            self.runtime().randomness.fill(&mut bytes);
            match self.target().create(&key, Bytes::from(bytes)).await {
                Err(error)
                    if !matches!(
                        error.kind(),
                        TargetErrorKind::Full | TargetErrorKind::AlreadyExists
                    ) =>
                {
                    Err(error.into())
                }
                _ => Ok::<_, Error>(()),
            }
        };
        if let Err(error) = kept.await {
            tracing::warn!(%error, "no reserve is kept");
        }
    }
}
