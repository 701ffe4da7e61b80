//! Checks of what a target says about itself, and of the longest keys.

use super::context::{Context, Stop, ensure, ensure_bytes};
use crate::target::{ObjectKey, TargetErrorKind, TargetExt, TargetResult};

pub(super) async fn capabilities(context: &Context) -> Result<(), Stop> {
    let capabilities = context.target().capabilities().await?;
    ensure(capabilities.concurrency > 0, || "no transfer at all is worth while".to_owned())?;
    ensure(capabilities.object_bytes_max != Some(0), || "no object is small enough".to_owned())?;
    match capabilities.space {
        Some(space) if space.available_bytes > space.total_bytes => Err(Stop::Broken(format!(
            "{} bytes are free of {}",
            space.available_bytes, space.total_bytes
        ))),
        _ => Ok(()),
    }
}

/// Every allowed character, a segment of the greatest length, and a key of the greatest length.
pub(super) async fn longest_key(context: &Context) -> Result<(), Stop> {
    let names = [
        "longest/abcdefghijklmnopqrstuvwxyz0123456789._-".to_owned(),
        "longest/-".to_owned(),
        "longest/a..b".to_owned(),
        "longest/a.".to_owned(),
        format!("longest/{}", "s".repeat(SEGMENT_LEN_MAX)),
    ];
    let keys = names.iter().map(|name| context.key(name)).collect::<Result<Vec<_>, _>>()?;
    for key in &keys {
        create_named(context, key).await?;
    }
    let longest = longest(context)?;
    let refused = match create_named(context, &longest).await {
        Ok(()) => None,
        // A prefix in front of all keys takes room from them; that is no broken promise.
        Err(error) if error.kind() == TargetErrorKind::Invalid => Some(error),
        Err(error) => return Err(error.into()),
    };
    let mut expected: Vec<&ObjectKey> = keys.iter().collect();
    expected.extend(refused.is_none().then_some(&longest));
    expected.sort_unstable();
    for key in &expected {
        ensure_bytes(&context.target().get_full(key).await?, key.as_str().as_bytes(), key.name())?;
    }
    let listed = context.target().list_all(&context.prefix("longest")?).await?;
    ensure(listed.iter().map(|object| &object.key).eq(expected.iter().copied()), || {
        format!("{} of {} keys are listed as they were put", listed.len(), expected.len())
    })?;
    match refused {
        None => Ok(()),
        Some(error) => {
            let length = longest.as_str().len();
            Err(Stop::Skipped(format!("keys of {length} characters are refused: {error}")))
        }
    }
}

const SEGMENT_LEN_MAX: usize = 128;
const KEY_LEN_MAX: usize = 512;

/// A key below the scratch area with as many characters as a key may have.
fn longest(context: &Context) -> Result<ObjectKey, Stop> {
    let room = KEY_LEN_MAX.saturating_sub(context.area().as_str().len() + "/longest/".len());
    let fill = |at| if at % (SEGMENT_LEN_MAX + 1) == SEGMENT_LEN_MAX { '/' } else { 'k' };
    let mut name: String = (0..room).map(fill).collect();
    if name.ends_with('/') {
        name.pop();
    }
    context.key(&format!("longest/{name}"))
}

async fn create_named(context: &Context, key: &ObjectKey) -> TargetResult<()> {
    context.target().create(key, key.as_str().to_owned().into_bytes()).await
}
