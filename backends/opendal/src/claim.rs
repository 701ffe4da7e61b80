//! Create-if-absent where the storage offers nothing but a rename that replaces.
//!
//! Renaming a folder onto one that has something in it fails, on every file system that follows
//! POSIX and atomically. So a creator
//! 1. uploads the object whole as `.uploads/NONCE/NONCE`,
//! 2. renames that folder to `.claim-NAME` beside the object's name: of all creators exactly one
//!    gets there while the claim has something in it,
//! 3. looks whether the object exists; if not, renames `.claim-NAME/NONCE` to it, and has won;
//!    if so, renames it away to `.uploads/NONCE.lost`, and has lost;
//! 4. removes the empty claim, which hinders nobody if it stays.
//!
//! No claim can be stale, and no clock is asked: whoever finds a claim that is not its own does
//! step 3 for its owner, dead or slow, with the very name that it saw. That name moves once, to
//! the one place or the other, whoever moves it: a late helper or a thawed owner moves nothing,
//! and the owner sees from where it went whether it has won. The object cannot come into being
//! between looking and renaming, as it can only come from the claim.
//!
//! Servers whose rename refuses to replace anything work as well: there the empty claim is
//! removed first.

use futures::TryStreamExt;
use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};

use crate::{patience::call, place::Place};

/// Where uploads lie until they are whole, below the root.
pub(crate) const UPLOADS: &str = ".uploads";

/// How often to try for the claim while others get it; each of them brings the object nearer.
const TRIES_MAX: usize = 16;

const PUT: Operation = Operation::Put;

/// An object uploaded under its nonce.
pub(crate) struct Uploaded {
    /// The folder, without a slash at its end.
    pub(crate) folder: String,
    pub(crate) nonce: String,
}

/// Brings the upload to `name`, or learns that there is an object already.
pub(crate) async fn create(place: &Place, name: &str, upload: &Uploaded) -> TargetResult<()> {
    let claim = claim_of(name);
    let mut last = None;
    for _ in 0..TRIES_MAX {
        let Err(error) = call(PUT, place.operator.rename(&upload.folder, &claim)).await else {
            return complete(place, name, &claim, &upload.nonce).await;
        };
        match holder(place, &claim).await? {
            // The rename was done, its answer was lost.
            Some(holder) if holder == upload.nonce => {
                return complete(place, name, &claim, &upload.nonce).await;
            }
            Some(holder) => {
                settle(place, name, &claim, &holder).await?;
                if place.exists(PUT, name).await? {
                    return Err(taken());
                }
            }
            None if error.kind() == TargetErrorKind::Denied => return Err(error),
            None => place.discard(&format!("{claim}/")).await,
        }
        last = Some(error);
    }
    Err(last.unwrap_or_else(taken))
}

/// The claim of an object: in the same folder, and no key.
fn claim_of(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, last)) => format!("{folder}/.claim-{last}"),
        None => format!(".claim-{name}"),
    }
}

fn taken() -> TargetError {
    TargetError::new(TargetErrorKind::AlreadyExists, PUT, "the key is taken")
}

/// Whose upload is in the claim.
async fn holder(place: &Place, claim: &str) -> TargetResult<Option<String>> {
    let found = call(PUT, async {
        let mut entries = place.operator.lister(&format!("{claim}/")).await?;
        while let Some(entry) = entries.try_next().await? {
            if entry.metadata().is_file() {
                return Ok(Some(entry.name().to_owned()));
            }
        }
        Ok(None)
    })
    .await;
    match found {
        Err(error) if error.kind() == TargetErrorKind::NotFound => Ok(None),
        found => found,
    }
}

/// The claim is ours: the object gets its name, unless it was there before.
async fn complete(place: &Place, name: &str, claim: &str, nonce: &str) -> TargetResult<()> {
    let lost = lost(place, nonce);
    let has_won = match settle(place, name, claim, nonce).await? {
        Settled::Won => true,
        Settled::Lost => false,
        Settled::ByOthers => !place.exists(PUT, &lost).await?,
    };
    if has_won {
        return Ok(());
    }
    place.discard(&lost).await;
    Err(taken())
}

/// Where an upload goes whose key was taken before.
fn lost(place: &Place, nonce: &str) -> String {
    format!("{}{UPLOADS}/{nonce}.lost", place.names.base())
}

enum Settled {
    Won,
    Lost,
    /// The upload had gone from the claim already.
    ByOthers,
}

/// Moves the upload `nonce` out of the claim, to where it belongs.
async fn settle(place: &Place, name: &str, claim: &str, nonce: &str) -> TargetResult<Settled> {
    let inside = format!("{claim}/{nonce}");
    let (to, settled) = if place.exists(PUT, name).await? {
        (lost(place, nonce), Settled::Lost)
    } else {
        (name.to_owned(), Settled::Won)
    };
    let settled = match call(PUT, place.operator.rename(&inside, &to)).await {
        Ok(()) => settled,
        Err(error) if error.kind() == TargetErrorKind::NotFound => Settled::ByOthers,
        Err(error) => return Err(error),
    };
    place.discard(&format!("{claim}/")).await;
    Ok(settled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_lies_beside_its_object() {
        assert_eq!(claim_of("packs/s1/0"), "packs/s1/.claim-0");
        assert_eq!(claim_of("config"), ".claim-config");
    }
}
