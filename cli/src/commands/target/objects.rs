//! `target put|get|ls|rm`: single encrypted objects between a target and the standard streams.

use std::io::Write;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use strongroom_backends::{OpenMode, TargetUrl};
use strongroom_core::{
    crypto::KdfCost,
    encrypted::{get_sealed_file, put_sealed_file},
    error::Error,
    target::{BackupTarget, KeyPrefix, ObjectMeta, PutMode, TargetErrorKind, TargetExt},
};
use tokio::io::AsyncReadExt;

use super::{Object, Place, or_stop};
use crate::{
    error::{Doing, Failure, Result},
    exit::Exit,
    output::human,
    password::Password,
};

/// How much is read from standard input at a time.
const READ_BYTES: usize = 256 << 10;

#[derive(Serialize)]
struct Stored {
    message_type: &'static str,
    target: String,
    name: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    size: u64,
    modified_ms: Option<i64>,
}

/// Encrypts standard input into one object.
pub async fn put(
    object: &Object,
    replace: bool,
    password: &Password,
    place: &Place,
) -> Result<Exit> {
    let target = place.open(&object.target, OpenMode::Create).await?;
    let doing = || format!("cannot store {}", object.key);
    if !replace {
        // an answer before the input was read for nothing; the storage decides in the end
        let exists = async { target.exists(&object.key).await.map_err(Error::from).doing(doing) };
        if or_stop(place, exists).await? {
            return Err(Failure::new(Exit::Failed, "an object of this name exists")
                .doing(doing())
                .hint("--replace overwrites it"));
        }
    }
    let mode = if replace { PutMode::Replace } else { PutMode::Create };
    let random = place.runtime.randomness.clone();
    let kdf = KdfCost::default();
    let storing = put_sealed_file(
        target.clone(),
        &object.key,
        password,
        &kdf,
        random,
        standard_input(),
        mode,
    );
    let stored = or_stop(place, async { storing.await.doing(doing) }).await?;
    if place.console.is_json() {
        place.console.object(&Stored {
            message_type: "stored",
            target: target.to_string(),
            name: object.key.to_string(),
            bytes: stored,
        })?;
    } else {
        place.console.summary(&[format!("stored {} as {}", human::bytes(stored), object.key)])?;
    }
    Ok(Exit::Done)
}

fn standard_input() -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
    stream::try_unfold(tokio::io::stdin(), |mut input| async move {
        let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
        match input.read_buf(&mut buffer).await? {
            0 => Ok(None),
            _ => Ok(Some((buffer.freeze(), input))),
        }
    })
}

/// Decrypts one object to standard output.
pub async fn get(object: &Object, password: &Password, place: &Place) -> Result<Exit> {
    let target = place.open(&object.target, OpenMode::Existing).await?;
    let doing = || format!("cannot read {}", object.key);
    let copying = async {
        let mut content = get_sealed_file(target, &object.key, password).await.doing(doing)?;
        let mut output = std::io::stdout().lock();
        while let Some(piece) = content.next().await {
            let piece = piece.doing(doing)?;
            output.write_all(&piece).map_err(|error| Failure::output(&error))?;
        }
        output.flush().map_err(|error| Failure::output(&error))
    };
    or_stop(place, copying).await?;
    Ok(Exit::Done)
}

/// Lists the objects of a target.
pub async fn ls(url: &TargetUrl, place: &Place) -> Result<Exit> {
    let target = place.open(url, OpenMode::Existing).await?;
    let listing = async {
        let found: std::result::Result<Vec<ObjectMeta>, _> =
            target.list(&KeyPrefix::all()).try_collect().await;
        found.map_err(Error::from).doing(|| "cannot list the target".to_owned())
    };
    let mut objects = or_stop(place, listing).await?;
    objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let mut out = place.console.out();
    for object in &objects {
        if place.console.is_json() {
            out.object(&Listed {
                name: object.key.as_str(),
                size: object.size_bytes,
                modified_ms: object.modified_ms,
            })?;
        } else {
            out.line(&format!("{:>14}  {}", object.size_bytes, object.key))?;
        }
    }
    out.finish()?;
    Ok(Exit::Done)
}

/// Removes single objects. What is not there is named.
pub async fn rm(objects: &[Object], place: &Place) -> Result<Exit> {
    for object in objects {
        let target = place.open(&object.target, OpenMode::Existing).await?;
        let removing = async {
            match target.head(&object.key).await {
                Ok(_) => target.delete(&object.key).await,
                Err(error) => Err(error),
            }
        };
        let doing = || format!("cannot remove {}", object.key);
        let removed = async {
            removing.await.map_err(|error| {
                let is_missing = error.kind() == TargetErrorKind::NotFound;
                let failure = Failure::from(Error::from(error));
                if is_missing { failure.with_exit(Exit::Failed) } else { failure }
            })
        };
        or_stop(place, async { removed.await.doing(doing) }).await?;
    }
    Ok(Exit::Done)
}
