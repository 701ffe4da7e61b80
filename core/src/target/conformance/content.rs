//! Checks of content: what goes in comes out, by whole and by range.

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::context::{Context, Stop, ensure, ensure_bytes, ensure_kind};
use crate::target::{
    ByteRange, ObjectKey, Operation, Payload, PutMode, TargetError, TargetErrorKind, TargetExt,
};

pub(super) async fn round_trip(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    for (name, length) in [("one-byte", 1), ("page", 4096), ("odd", 100_003)] {
        let (key, content) = (context.key(name)?, context.content(length));
        target.create(&key, content.clone()).await?;
        ensure_bytes(&target.get_full(&key).await?, &content, name)?;
        ensure_head(context, &key, length).await?;
    }
    Ok(())
}

pub(super) async fn empty(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    for (name, payload) in [
        ("empty-one-buffer", Payload::from(Bytes::new())),
        ("empty-no-buffer", Payload::Buffered(Vec::new())),
        ("empty-stream", Payload::Streamed(stream::empty().boxed())),
    ] {
        let key = context.key(name)?;
        target.put(&key, payload, PutMode::Create).await?;
        ensure_bytes(&target.get_full(&key).await?, &[], name)?;
        ensure_bytes(&target.get_range(&key, 0, 10).await?, &[], name)?;
        ensure_head(context, &key, 0).await?;
    }
    Ok(())
}

pub(super) async fn ranges(context: &Context) -> Result<(), Stop> {
    const LENGTH: u64 = 100_000;
    let key = context.key("ranges")?;
    let content = context.content(LENGTH as usize);
    context.target().create(&key, content.clone()).await?;
    for (offset, length) in [
        (0, 0),
        (0, 1),
        (1, 1),
        (0, LENGTH),
        (0, LENGTH + 1),
        (0, u64::MAX),
        (4095, 4098),
        (LENGTH - 1, 1),
        (LENGTH - 1, 2),
        (LENGTH - 1, u64::MAX),
        (LENGTH, 0),
        (LENGTH, 1),
        (LENGTH + 1, 1),
        (LENGTH, u64::MAX),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
    ] {
        let within = ByteRange::From { offset, length }.within(LENGTH);
        let expected = &content[within.start as usize..within.end as usize];
        let found = context.target().get_range(&key, offset, length).await?;
        ensure_bytes(&found, expected, &format!("{length} bytes from {offset}"))?;
    }
    Ok(())
}

pub(super) async fn large(context: &Context) -> Result<(), Stop> {
    const BUFFER_BYTES: usize = 1 << 20;
    let length = context.options().large_object_bytes;
    refuse_above_limit(context, length).await?;
    let key = context.key("large")?;
    let content = context.content(length);
    // Uneven pieces: no storage gets away with whole blocks only.
    let mut parts: Vec<Bytes> = Vec::new();
    let mut rest = content.clone();
    while !rest.is_empty() {
        let piece = rest.len().min(BUFFER_BYTES - parts.len() % 7);
        parts.push(rest.split_to(piece));
    }
    context.target().create(&key, parts).await?;
    ensure_head(context, &key, length).await?;
    ensure_bytes(&context.target().get_full(&key).await?, &content, "whole")?;
    let (middle, size) = (length as u64 / 2, 70_000.min(length as u64 / 2));
    let part = context.target().get_range(&key, middle, size).await?;
    ensure_bytes(&part, &content[middle as usize..(middle + size) as usize], "middle")?;
    context.target().delete(&key).await?;
    Ok(())
}

async fn refuse_above_limit(context: &Context, length: usize) -> Result<(), Stop> {
    let limit = context.target().capabilities().await?.object_bytes_max;
    match limit {
        Some(limit) if limit < length as u64 => {
            Err(Stop::Skipped(format!("the target takes objects of {limit} bytes at most")))
        }
        _ => Ok(()),
    }
}

/// The stream itself looks at the target between its buffers: nothing may be there yet.
pub(super) async fn streamed(context: &Context) -> Result<(), Stop> {
    let key = context.key("streamed")?;
    let content = context.content(3_000_017);
    let seen_early = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let parts: Vec<Bytes> = content.chunks(300_007).map(Bytes::copy_from_slice).collect();
    let (target, probed, counter) = (context.target().clone(), key.clone(), seen_early.clone());
    let stream = stream::iter(parts).then(move |part| {
        let (target, key, counter) = (target.clone(), probed.clone(), counter.clone());
        async move {
            if target.exists(&key).await? {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(part)
        }
    });
    let payload = Payload::Streamed(stream.boxed());
    context.target().put(&key, payload, PutMode::Create).await?;
    let early = seen_early.load(std::sync::atomic::Ordering::Relaxed);
    ensure(early == 0, || format!("visible {early} times before its last byte was given"))?;
    ensure_bytes(&context.target().get_full(&key).await?, &content, "streamed")?;
    ensure_head(context, &key, content.len()).await
}

pub(super) async fn failing_stream(context: &Context) -> Result<(), Stop> {
    let target = context.target();
    let (fresh, old) = (context.key("failing/fresh")?, context.key("failing/old")?);
    let before = context.content(1000);
    target.create(&old, before.clone()).await?;
    for (key, mode) in
        [(&fresh, PutMode::Create), (&fresh, PutMode::Replace), (&old, PutMode::Replace)]
    {
        let result = target.put(key, failing_payload(context), mode).await;
        ensure_kind(result, TargetErrorKind::Invalid, "a put whose stream fails")?;
    }
    ensure_kind(target.head(&fresh).await, TargetErrorKind::NotFound, "head after it")?;
    ensure_bytes(&target.get_full(&old).await?, &before, "the object before it")?;
    let listed = target.list_all(&context.prefix("failing")?).await?;
    ensure(listed.len() == 1, || format!("{} objects are listed instead of 1", listed.len()))?;
    target.create(&fresh, before.clone()).await?;
    ensure_bytes(&target.get_full(&fresh).await?, &before, "a second try under the same key")
}

/// Two buffers, then an error of a kind that no storage gives for this call by itself.
fn failing_payload(context: &Context) -> Payload {
    let broken = "the source of the stream failed";
    let error = TargetError::new(TargetErrorKind::Invalid, Operation::Put, broken);
    let part = context.content(1_500_000);
    Payload::Streamed(stream::iter(vec![Ok(part.clone()), Ok(part), Err(error)]).boxed())
}

async fn ensure_head(context: &Context, key: &ObjectKey, length: usize) -> Result<(), Stop> {
    let head = context.target().head(key).await?;
    ensure(head.key == *key, || format!("head of {key} names {}", head.key))?;
    ensure(head.size_bytes == length as u64, || {
        format!("head of {key} says {} bytes instead of {length}", head.size_bytes)
    })
}
