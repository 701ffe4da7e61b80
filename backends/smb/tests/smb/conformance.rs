//! What every target promises.

use std::sync::Arc;

use strongroom_core::{
    runtime::Runtime,
    target::{
        SharedTarget,
        conformance::{self, Options},
        layers::{RetryConfig, RetryLayer},
    },
};

use crate::server::{Server, fresh, share, unique};

async fn check(target: SharedTarget, options: &Options) {
    let report = conformance::run(target, &Runtime::system(), options).await;
    assert!(report.is_conformant(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_share_keeps_all_promises() {
    let (target, _) = fresh("conformance").await;
    check(target, &Options::default()).await;
}

/// Through the retry layer, as every repository uses it: once in about 100,000 messages, this
/// Samba (4.17.12) says that it cannot decrypt one and ends the connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_share_keeps_all_promises() {
    let path = format!("{}/{}", share("TEST_SMB_SHARE"), unique("conformance"));
    let target = Server::shared().create(&path).await.unwrap();
    let retried = RetryLayer::new(Arc::new(target), RetryConfig::default(), Runtime::system());
    check(Arc::new(retried), &Options::default()).await;
}
