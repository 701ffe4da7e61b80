//! The suite that every target must pass, on all servers and with the settings that change much.

use std::sync::Arc;

use strongroom_core::{
    runtime::Runtime,
    target::{
        SharedTarget,
        conformance::{self, Options, Report},
        layers::{RetryConfig, RetryLayer},
    },
};

use crate::support::{Server, variable};

async fn run(target: SharedTarget, options: &Options) -> Report {
    let report = conformance::run(target, &Runtime::system(), options).await;
    println!("{report}");
    report
}

/// Fewer objects, for settings that change requests and not listings.
fn short() -> Options {
    Options { listed_objects: 1_200, rounds: 3, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_server_keeps_all_promises() {
    let target = Server::main().target("").await;
    assert!(run(target, &Options::default()).await.is_conformant());
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_without_checksums() {
    let target = Server::main().target("checksums=when-required").await;
    assert!(run(target, &short()).await.is_conformant());
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_with_a_key_of_our_own() {
    let key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let server = Server::main().with("STRONGROOM_S3_SSE_C_KEY", key);
    let target = server.target("sse-c").await;
    assert!(run(target, &short()).await.is_conformant());
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_are_kept_over_tls_with_a_ca_of_our_own() {
    let server = Server { endpoint: variable("TEST_S3_TLS_ENDPOINT"), ..Server::main() };
    let target = server.with("AWS_CA_BUNDLE", variable("TEST_S3_CA")).target("").await;
    assert!(run(target, &short()).await.is_conformant());
}

/// It ignores `If-None-Match`, and the report must say so. It also answers 500 to the delete of
/// a folder's name, and now and then leaves one object behind. Its answer to the beginning of a
/// multipart upload is not what S3 says, so that the large object goes in one request.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_conditions_is_found_out() {
    let target = Server::weak().target("").await;
    // Racing deletes make it stumble over its own folders (500), which passes.
    let config = RetryConfig { tries_max: 4, ..RetryConfig::default() };
    let target = Arc::new(RetryLayer::new(target, config, Runtime::system()));
    let options = Options { large_object_bytes: 16 << 20, ..short() };
    let report = run(target, &options).await;
    let failed = report.failures().map(|check| check.name);
    let failed: Vec<_> = failed.filter(|name| *name != "clean-up").collect();
    assert_eq!(failed, ["create-existing", "create-race", "delete"]);
}
