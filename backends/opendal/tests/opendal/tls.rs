//! TLS with an authority of one's own, and with one that nobody knows.

use strongroom_core::target::{TargetErrorKind, conformance::Options};
use strongroom_opendal::{OpendalConfig, OpendalTarget};

use crate::{conformance::passes, own_server::Server, servers, streams::streams};

fn small() -> Options {
    Options { listed_objects: 200, large_object_bytes: 8 << 20, rounds: 2, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_with_its_own_authority() {
    let server = Server::start_with_tls("webdav");
    let mut config = server.config("tls");
    passes(&config, small(), &[]).await;
    streams(servers::create(&config).await, 60, 10).await;
    config.ca_file = None;
    let error = OpendalTarget::open(&config).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// OpenDAL's uploads over FTP with TLS come short without an error.
#[tokio::test]
async fn ftp_is_refused() {
    for url in ["ftps://me@host/x", "opendal+ftp:///x?endpoint=host", "opendal+ftp:///x"] {
        let variables = [("STRONGROOM_FTP_PASSWORD", "hunter2")];
        let config = OpendalConfig::from_url(url, &servers::environment(&variables)).unwrap();
        let error = OpendalTarget::open(&config).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unsupported, "{error}");
        assert!(error.hint_text().unwrap().contains("sftp"), "{error}");
    }
}
