//! `object_store`'s own suite, run on our targets through the adapter of [`crate::reverse`].
//!
//! Left out, with the reason:
//! - `put_get_attributes`, `tagging`: a target stores bytes under a key, and nothing beside.
//! - `put_opts` with updates: a target replaces or creates; it has no compare-and-swap.
//! - `multipart`, `multipart_with_opts`, `multipart_put_part_out_of_order`, `list_paginated`: for
//!   the traits `MultipartStore` and `PaginatedListStore`, which have no counterpart here: parts
//!   and pages are a backend's own business.
//! - `response_extensions`: about a client of HTTP.

use std::sync::Arc;

use object_store::{Error, integration, memory::InMemory};
use strongroom_azure::{AzureConfig, AzureTarget};
use strongroom_backend_support::Environment;
use strongroom_core::target::{MemoryTarget, SharedTarget};
use strongroom_local::LocalTarget;
use strongroom_object_store::{ObjectStoreConfig, ObjectStoreTarget};
use tempfile::TempDir;

use crate::reverse::TargetStore;

async fn run(target: SharedTarget) {
    let store = TargetStore(target);
    integration::put_get_delete_list(&store).await;
    integration::get_opts(&store).await;
    integration::put_opts(&store, false).await;
    integration::list_uses_directories_correctly(&store).await;
    integration::list_with_delimiter(&store).await;
    integration::rename_and_copy(&store).await;
    integration::copy_if_not_exists(&store).await;
    integration::copy_rename_nonexistent_object(&store).await;
    integration::multipart_race_condition(&store, true).await;
    integration::multipart_out_of_order(&store).await;
    integration::list_with_offset_exclusivity(&store).await;
    let missing = integration::get_nonexistent_object(&store, None).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
}

/// Wants a store without objects.
async fn run_streams(target: SharedTarget) {
    integration::stream_get(&TargetStore(target)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_target_in_memory() {
    run(Arc::new(MemoryTarget::new())).await;
    run_streams(Arc::new(MemoryTarget::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_folder() {
    for streams in [false, true] {
        let folder = TempDir::new().unwrap();
        let target: SharedTarget = Arc::new(LocalTarget::open(folder.path()).await.unwrap());
        if streams { run_streams(target).await } else { run(target).await }
    }
}

/// There and back again: a store as a target as a store.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_store_in_memory() {
    let target = || {
        let config = ObjectStoreConfig::new("memory").with_atomic_create().below(["x"]);
        Arc::new(ObjectStoreTarget::new(Arc::new(InMemory::new()), config))
    };
    run(target()).await;
    run_streams(target()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_azure() {
    let variable = |name: &str| {
        std::env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: scripts/test starts the servers"))
    };
    let (endpoint, account) = (variable("TEST_AZURE_ENDPOINT"), variable("TEST_AZURE_ACCOUNT"));
    let environment =
        Environment::new(|name| (name == "AZURE_STORAGE_KEY").then(|| variable("TEST_AZURE_KEY")));
    let since_1970 = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    for streams in [false, true] {
        let container = format!("suite-{streams}-{since_1970:x}");
        let url = format!("az://{container}/x?account={account}&endpoint={endpoint}");
        let config = AzureConfig::from_url(&url, &environment).unwrap();
        let target: SharedTarget = Arc::new(AzureTarget::create(config).await.unwrap());
        if streams { run_streams(target).await } else { run(target).await }
    }
}
