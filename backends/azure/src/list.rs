//! `list`: page by page, each page repeated by itself if its request fails for a passing reason.

use azure_core::http::pager::PagerContinuation;
use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, BlobItem};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use strongroom_core::target::{
    KeyPrefix, ObjectMeta, Operation, TargetError, TargetErrorKind, TargetResult,
};

use crate::{client::Client, read::millis, tries::Tries};

/// Where a listing stands.
enum Position {
    Start,
    After(String),
    End,
}

/// One page: its objects, and where the next one begins.
struct Page {
    objects: Vec<ObjectMeta>,
    next: Position,
}

/// All objects below `prefix`.
pub(crate) fn list<'a>(
    client: &'a Client,
    prefix: &KeyPrefix,
) -> BoxStream<'a, TargetResult<ObjectMeta>> {
    let prefix = client.names().full_prefix(prefix);
    let state = (prefix, Position::Start);
    stream::try_unfold(state, move |(prefix, position)| async move {
        let marker = match position {
            Position::Start => None,
            Position::After(marker) => Some(marker),
            Position::End => return Ok(None),
        };
        let page = repeated_page(client, &prefix, marker).await?;
        let objects = stream::iter(page.objects.into_iter().map(Ok));
        Ok(Some((objects, (prefix, page.next))))
    })
    .try_flatten()
    .boxed()
}

/// Asks for one name only: whether the container is there and may be listed.
pub(crate) async fn probe(client: &Client) -> TargetResult<()> {
    let prefix = client.names().full_prefix(&KeyPrefix::all());
    page(client, Operation::Open, &prefix, None, Some(1)).await.map(|_| ())
}

async fn repeated_page(
    client: &Client,
    prefix: &str,
    marker: Option<String>,
) -> TargetResult<Page> {
    let mut tries = Tries::default();
    loop {
        match page(client, Operation::List, prefix, marker.clone(), None).await {
            Ok(page) => return Ok(page),
            // The first page failing is the listing failing: its repetition is not ours.
            Err(error) if marker.is_none() => return Err(error),
            Err(error) => tries.wait_after(error).await?,
        }
    }
}

async fn page(
    client: &Client,
    operation: Operation,
    prefix: &str,
    marker: Option<String>,
    maxresults: Option<i32>,
) -> TargetResult<Page> {
    let failed = |error| client.failed(operation, error);
    let options = BlobContainerClientListBlobsOptions {
        marker,
        maxresults,
        prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        ..Default::default()
    };
    let mut pages = client.container()?.list_blobs(Some(options)).map_err(failed)?.into_pages();
    let page = pages.try_next().await.map_err(failed)?.ok_or_else(|| {
        TargetError::new(TargetErrorKind::Unavailable, operation, "the answer has no page")
    })?;
    let next = match pages.continuation() {
        Some(PagerContinuation::Token(token)) => Position::After(token.clone()),
        _ => Position::End,
    };
    let page = page.into_model().map_err(failed)?;
    // the model takes any document, that of an error too, for an empty listing
    if page.container_name.is_none() && page.service_endpoint.is_none() {
        let why = "the answer is no listing";
        return Err(TargetError::new(TargetErrorKind::Unavailable, operation, why));
    }
    let objects = page.blob_items.into_iter().filter_map(|item| object(client, item));
    Ok(Page { objects: objects.collect(), next })
}

/// `None` for what is not ours.
fn object(client: &Client, item: BlobItem) -> Option<ObjectMeta> {
    let key = client.names().key(&item.name?)?;
    let properties = item.properties?;
    Some(ObjectMeta {
        key,
        size_bytes: properties.content_length?,
        modified_ms: properties.last_modified.map(millis),
    })
}
