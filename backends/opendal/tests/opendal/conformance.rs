//! The conformance suite on every server that can be had.

use strongroom_core::{
    runtime::Runtime,
    target::conformance::{CheckOutcome, Options, run},
};
use strongroom_opendal::OpendalConfig;

use crate::servers;

/// Runs the suite; only the checks in `skipped` may be skipped.
pub(crate) async fn passes(config: &OpendalConfig, options: Options, skipped: &[&str]) {
    let target = servers::create(config).await;
    let report = run(target.clone(), &Runtime::system(), &options).await;
    eprintln!("{report}");
    assert!(report.is_conformant(), "{report}");
    let found: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| matches!(check.outcome, CheckOutcome::Skip(_)))
        .map(|check| check.name)
        .collect();
    assert_eq!(found, skipped, "{report}");
}

/// A put takes 13 round trips: 10,000 objects take a minute and more.
#[tokio::test(flavor = "multi_thread")]
async fn sftp() {
    let options = Options { listed_objects: 3000, ..Options::default() };
    passes(&servers::sftp(&servers::unique("~/conformance")), options, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav() {
    let options = Options { listed_objects: 2000, ..Options::default() };
    passes(&servers::webdav(&servers::unique("conformance")), options, &[]).await;
}

/// Each call opens a data connection of its own, and a look at one object lists its folder.
#[tokio::test(flavor = "multi_thread")]
async fn ftp() {
    let options = Options { listed_objects: 300, ..Options::default() };
    let skipped = ["create-race"];
    passes(&servers::ftp(&servers::unique("conformance")), options, &skipped).await;
}

/// OpenDAL's own memory service: the road that every service takes that is not known by name.
#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let url = format!("opendal+memory:///{}", servers::unique("conformance"));
    let config = OpendalConfig::from_url(&url, &servers::environment(&[])).unwrap();
    passes(&config, Options::default(), &[]).await;
}
