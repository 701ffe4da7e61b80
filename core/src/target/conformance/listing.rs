//! Checks of listings: complete, each object once, whole segments, nothing stale.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt, future, future::BoxFuture};

use super::context::{Context, Stop, ensure};
use crate::{
    target::{KeyPrefix, ObjectKey, TargetExt, TargetResult},
    tasks,
};

/// A call to come; boxed, as a stream of closures' futures cannot be proven to be `Send`.
type Call<'a> = BoxFuture<'a, TargetResult<()>>;

pub(super) async fn after_put(context: &Context) -> Result<(), Stop> {
    let (target, prefix) = (context.target(), context.prefix("list-after-put")?);
    let mut expected = BTreeMap::new();
    for number in 0..20usize {
        let key = context.key(&format!("list-after-put/{number}"))?;
        target.create(&key, context.content(number * 10)).await?;
        expected.insert(key, number as u64 * 10);
        ensure_listed(context, &prefix, &expected).await?;
    }
    while let Some((key, _)) = expected.pop_first() {
        target.delete(&key).await?;
        ensure_listed(context, &prefix, &expected).await?;
    }
    Ok(())
}

pub(super) async fn prefix(context: &Context) -> Result<(), Stop> {
    let names = ["a/1", "a/b/1", "a/b/c/1", "a-b/1", "ab/1", "a.b/1", "a0/1", "b/a/1"];
    let mut all = BTreeMap::new();
    for name in names {
        let key = context.key(&format!("list-prefix/{name}"))?;
        context.target().create(&key, context.content(3)).await?;
        all.insert(key, 3);
    }
    for below in ["", "/a", "/a/b", "/a/b/c", "/ab", "/b", "/a/1", "/none", "/a/b/none"] {
        let prefix = context.prefix(&format!("list-prefix{below}"))?;
        let mut expected = all.clone();
        expected.retain(|key, _| prefix.contains(key));
        ensure_listed(context, &prefix, &expected).await?;
    }
    Ok(())
}

pub(super) async fn complete(context: &Context) -> Result<(), Stop> {
    const FOLDERS: usize = 7;
    let count = context.options().listed_objects;
    let mut expected = BTreeMap::new();
    for number in 0..count {
        let name = format!("list-complete/{}/{number:06}", number % FOLDERS);
        expected.insert(context.key(&name)?, (number % 3) as u64);
    }
    let puts = expected.iter().map(|(key, size)| create_sized(context, key, *size));
    all_of(context, puts.collect()).await?;
    ensure_listed(context, &context.prefix("list-complete")?, &expected).await?;
    let folder = context.prefix("list-complete/3")?;
    let mut below = expected.clone();
    below.retain(|key, _| folder.contains(key));
    ensure_listed(context, &folder, &below).await?;
    let keys = expected.into_keys().collect();
    context.target().delete_many(keys, context.options().concurrency).await?;
    ensure_listed(context, &context.prefix("list-complete")?, &BTreeMap::new()).await
}

/// Objects that stay are listed once each, whatever comes and goes beside them.
pub(super) async fn while_writing(context: &Context) -> Result<(), Stop> {
    let count = context.options().listed_objects.min(300);
    let key = |kind: &str, number: usize| {
        context.key(&format!("list-while-writing/{}/{kind}-{number}", number % 3))
    };
    let steady = (0..count).map(|number| key("steady", number)).collect::<Result<Vec<_>, _>>()?;
    let passing = (0..count).map(|number| key("passing", number)).collect::<Result<Vec<_>, _>>()?;
    all_of(context, steady.iter().map(|key| create_sized(context, key, 1)).collect()).await?;
    let passes = passing.iter().map(|key| create_then_delete(context, key));
    let come_and_go = all_of(context, passes.collect());
    let prefix = context.prefix("list-while-writing")?;
    let listings = future::try_join_all((0..4).map(|_| list_keys(context, &prefix)));
    let ((), listings) = future::try_join(come_and_go, listings).await?;
    for listed in listings {
        let lost = steady.iter().find(|key| !listed.contains(*key));
        ensure(lost.is_none(), || format!("{lost:?} was there all the time, but not listed"))?;
    }
    Ok(())
}

fn create_sized<'a>(context: &'a Context, key: &'a ObjectKey, size: u64) -> Call<'a> {
    async move { context.target().create(key, vec![7; size as usize]).await }.boxed()
}

fn create_then_delete<'a>(context: &'a Context, key: &'a ObjectKey) -> Call<'a> {
    async move {
        context.target().create(key, vec![7]).await?;
        context.target().delete(key).await
    }
    .boxed()
}

async fn all_of(context: &Context, calls: Vec<Call<'_>>) -> Result<(), Stop> {
    tasks::each(calls, context.options().concurrency.max(1), |done| done.map_err(Stop::from)).await
}

async fn list_keys(context: &Context, prefix: &KeyPrefix) -> Result<BTreeSet<ObjectKey>, Stop> {
    Ok(listed(context, prefix).await?.into_keys().collect())
}

/// The listing as a map; an object listed twice stops the check.
async fn listed(context: &Context, prefix: &KeyPrefix) -> Result<BTreeMap<ObjectKey, u64>, Stop> {
    let mut found = BTreeMap::new();
    let mut objects = context.target().list(prefix);
    while let Some(object) = objects.next().await {
        let object = object?;
        let twice = found.insert(object.key.clone(), object.size_bytes).is_some();
        ensure(!twice, || format!("{} is listed twice", object.key))?;
    }
    Ok(found)
}

async fn ensure_listed(
    context: &Context,
    prefix: &KeyPrefix,
    expected: &BTreeMap<ObjectKey, u64>,
) -> Result<(), Stop> {
    let found = listed(context, prefix).await?;
    if let Some((key, size)) = expected.iter().find(|(key, size)| found.get(*key) != Some(size)) {
        let found = found.get(key);
        return Err(Stop::Broken(format!("{key} has {size} bytes, but is listed as {found:?}")));
    }
    let extra = found.keys().find(|key| !expected.contains_key(*key));
    ensure(extra.is_none(), || format!("{extra:?} is listed under {prefix}"))
}
