//! What every target promises.

use std::sync::Arc;

use strongroom_core::{
    runtime::Runtime,
    target::{
        SharedTarget,
        conformance::{self, Options},
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

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_share_keeps_all_promises() {
    let path = format!("{}/{}", share("TEST_SMB_SHARE"), unique("conformance"));
    let target = Server::shared().create(&path).await.unwrap();
    check(Arc::new(target), &Options::default()).await;
}
