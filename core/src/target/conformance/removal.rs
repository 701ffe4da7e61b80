//! Checks of what is not there: never was, or is no more.

use super::context::{Context, Stop, ensure, ensure_bytes, ensure_kind};
use crate::target::{ByteRange, TargetErrorKind, TargetExt};

pub(super) async fn missing(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    for name in ["missing", "missing-folder/missing"] {
        let key = context.key(name)?;
        let head = target.head(&key).await;
        ensure_kind(head, TargetErrorKind::NotFound, "head of a missing object")?;
        for range in [
            ByteRange::Full,
            ByteRange::From { offset: 0, length: 0 },
            ByteRange::From { offset: 5, length: u64::MAX },
        ] {
            let get = target.get(&key, range).await;
            ensure_kind(get, TargetErrorKind::NotFound, &format!("get of {range:?}"))?;
        }
    }
    let listed = target.list_all(&context.prefix("missing-folder")?).await?;
    ensure(listed.is_empty(), || format!("{} objects under a missing prefix", listed.len()))
}

pub(super) async fn delete(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    let (key, content) = (context.key("delete/object")?, context.content(1234));
    target.delete(&key).await?;
    target.create(&key, content.clone()).await?;
    // The folder of an object is no object.
    target.delete(&context.key("delete")?).await?;
    ensure_bytes(&target.get_full(&key).await?, &content, "after deleting its folder's name")?;
    target.delete(&key).await?;
    target.delete(&key).await?;
    ensure_kind(target.get_full(&key).await, TargetErrorKind::NotFound, "get after delete")?;
    ensure_kind(target.head(&key).await, TargetErrorKind::NotFound, "head after delete")?;
    let second = context.content(77);
    target.create(&key, second.clone()).await?;
    ensure_bytes(&target.get_full(&key).await?, &second, "created anew")
}
