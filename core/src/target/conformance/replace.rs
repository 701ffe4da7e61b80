//! Checks of replacing: atomic for readers, final for the writer.

use bytes::Bytes;
use futures::future::{join, join_all};

use super::context::{Context, Stop, ensure, ensure_bytes};
use crate::target::{ObjectKey, TargetExt};

pub(super) async fn sizes(context: &Context) -> Result<(), Stop> {
    let (target, key) = (context.target(), context.key("replace")?);
    for length in [1000, 100_000, 10, 0, 5000] {
        let content = context.content(length);
        target.replace(&key, content.clone()).await?;
        ensure_bytes(&target.get_full(&key).await?, &content, "after a replace")?;
        let head = target.head(&key).await?;
        ensure(head.size_bytes == length as u64, || {
            format!("head says {} bytes after a replace with {length}", head.size_bytes)
        })?;
    }
    Ok(())
}

/// Each version consists of one byte value and has its own length, so that a mixture of two
/// versions, or a part of one, is told by looking at it.
pub(super) async fn visibility(context: &Context) -> Result<(), Stop> {
    const READERS: usize = 4;
    let (target, key) = (context.target(), context.key("replace-visibility")?);
    target.create(&key, version(0)).await?;
    let rounds = u8::try_from(context.options().rounds.max(1)).unwrap_or(u8::MAX);
    for round in 1..=rounds {
        let readers = join_all((0..READERS).map(|_| read_versions(context, &key, round)));
        let (replaced, read) = join(target.replace(&key, version(round)), readers).await;
        replaced?;
        read.into_iter().collect::<Result<(), Stop>>()?;
        ensure_bytes(&target.get_full(&key).await?, &version(round), "after a replace")?;
    }
    Ok(())
}

fn version(number: u8) -> Bytes {
    vec![number; 1_000_000 - usize::from(number) * 1000].into()
}

/// Only the version of this round and the one before may be seen, and never backwards.
async fn read_versions(context: &Context, key: &ObjectKey, round: u8) -> Result<(), Stop> {
    const READS: usize = 8;
    let mut newest = round - 1;
    for _ in 0..READS {
        let found = context.target().get_full(key).await?;
        let number = found.first().copied().unwrap_or_default();
        ensure(number == round || number == newest, || {
            format!("version {number} was read while {newest} was replaced by {round}")
        })?;
        ensure_bytes(&found, &version(number), "read while it was replaced")?;
        newest = number;
    }
    Ok(())
}
