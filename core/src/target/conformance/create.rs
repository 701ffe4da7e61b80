//! Checks of create-if-absent: the one primitive that commits rest on.

use bytes::Bytes;
use futures::future::{join, join_all};

use super::context::{Context, Stop, ensure, ensure_bytes, ensure_kind};
use crate::target::{ObjectKey, TargetErrorKind, TargetExt};

pub(super) async fn existing(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    let (key, first) = (context.key("create-existing")?, context.content(5000));
    target.create(&key, first.clone()).await?;
    for second in [context.content(5000), context.content(9000), Bytes::new(), first.clone()] {
        let again = target.create(&key, second).await;
        ensure_kind(again, TargetErrorKind::AlreadyExists, "a second create")?;
        ensure_bytes(&target.get_full(&key).await?, &first, "the object after it")?;
    }
    Ok(())
}

pub(super) async fn race(context: &Context) -> Result<(), Stop> {
    if !context.target().capabilities().await?.atomic_create {
        return Err(Stop::Skipped("the target says that its create is not atomic".to_owned()));
    }
    for round in 0..context.options().rounds {
        one_race(context, &context.key(&format!("create-race-{round}"))?, round).await?;
    }
    Ok(())
}

async fn one_race(context: &Context, key: &ObjectKey, round: usize) -> Result<(), Stop> {
    let target = context.target();
    // Sizes from nothing but a nonce up to what takes a storage several writes.
    let length = 16 << (2 * (round % 8));
    let contents: Vec<Bytes> =
        (0..context.options().creators.max(2)).map(|_| context.content(length)).collect();
    let racers = contents.iter().map(|content| target.create(key, content.clone()));
    let mut winners = Vec::new();
    for (creator, result) in join_all(racers).await.into_iter().enumerate() {
        match result {
            Ok(()) => winners.push(creator),
            Err(error) if error.kind() == TargetErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    let &[winner] = winners.as_slice() else {
        let (count, of) = (winners.len(), contents.len());
        return Err(Stop::Broken(format!("{count} of {of} creators were told that they won")));
    };
    ensure_bytes(&target.get_full(key).await?, &contents[winner], "the winner's object")
}

/// Readers look while the object comes into being: not found, or whole.
pub(super) async fn visibility(context: &Context) -> Result<(), Stop> {
    const READERS: usize = 4;
    for round in 0..context.options().rounds {
        let key = context.key(&format!("create-visibility-{round}"))?;
        let content = context.content(2 << 20);
        let readers = join_all((0..READERS).map(|_| read_new(context, &key, &content)));
        let (created, read) = join(context.target().create(&key, content.clone()), readers).await;
        created?;
        read.into_iter().collect::<Result<(), Stop>>()?;
        ensure_bytes(&context.target().get_full(&key).await?, &content, "after the create")?;
    }
    Ok(())
}

async fn read_new(context: &Context, key: &ObjectKey, content: &Bytes) -> Result<(), Stop> {
    const READS: usize = 16;
    let mut has_been_seen = false;
    for _ in 0..READS {
        match context.target().get_full(key).await {
            Ok(found) => {
                ensure_bytes(&found, content, "read while it was created")?;
                has_been_seen = true;
            }
            Err(error) if error.kind() == TargetErrorKind::NotFound => {
                ensure(!has_been_seen, || "seen, and then not found again".to_owned())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
