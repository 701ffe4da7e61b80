//! What is wrong is named: credentials, host keys, folders, servers that are not there.

use std::net::TcpListener;

use strongroom_core::target::{BackupTarget, KeyPrefix, ObjectKey, TargetErrorKind, TargetExt};
use strongroom_opendal::{OpendalConfig, OpendalTarget};

use crate::servers;

/// Opening fails with `kind` and a hint that has `hint` in it, and tells no secret.
async fn refuses(config: OpendalConfig, kind: TargetErrorKind, hint: &str) {
    let error = OpendalTarget::open(&config).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let found = error.hint_text().unwrap_or_default();
    assert!(found.contains(hint), "{error}: {found:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn wrong_credentials_are_denied() {
    let mut sftp = servers::sftp("~");
    sftp.options.insert("key".to_owned(), servers::variable("TEST_SFTP_WRONG_KEY"));
    refuses(sftp, TargetErrorKind::Denied, "key-file").await;
    let webdav = servers::with_secret(servers::webdav(""), "password", "hunter2");
    refuses(webdav, TargetErrorKind::Denied, "password").await;
    let ftp = servers::with_secret(servers::ftp(""), "password", "hunter2");
    refuses(ftp, TargetErrorKind::Denied, "password").await;
}

/// The other tests accept the key of the host by its address, so by its name it is unknown.
#[tokio::test]
async fn an_unknown_host_key_is_denied() {
    let port = servers::variable("TEST_SFTP_PORT");
    let key = servers::variable("TEST_SFTP_KEY");
    let user = servers::variable("TEST_SFTP_USER");
    let mut config = servers::sftp_at("localhost", &port, &user, &key, "~");
    config.options.insert("known_hosts_strategy".to_owned(), "strict".to_owned());
    refuses(config, TargetErrorKind::Denied, "known-hosts").await;
}

#[tokio::test]
async fn a_missing_folder_is_not_found_and_not_made() {
    for config in [
        servers::sftp(&servers::unique("~/missing")),
        servers::webdav(&servers::unique("missing")),
        servers::ftp(&servers::unique("missing")),
    ] {
        refuses(config.clone(), TargetErrorKind::NotFound, "init").await;
        refuses(config.clone(), TargetErrorKind::NotFound, "init").await;
        let created = OpendalTarget::create(&config).await.unwrap();
        assert!(created.list_all(&KeyPrefix::all()).await.unwrap().is_empty());
        OpendalTarget::open(&config).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let key = servers::variable("TEST_SFTP_KEY");
    let mut configs = vec![servers::sftp_at("127.0.0.1", &port, "nobody", &key, "~")];
    for url in [format!("webdav://127.0.0.1:{port}/x"), format!("ftp://127.0.0.1:{port}/x")] {
        configs.push(OpendalConfig::from_url(&url, &servers::environment(&[])).unwrap());
    }
    for config in configs {
        let error = OpendalTarget::open(&config).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
    }
}

#[tokio::test]
async fn names_of_unfinished_uploads_are_no_keys_over_ftp() {
    let config = servers::ftp(&servers::unique("stray"));
    let target = OpendalTarget::create(&config).await.unwrap();
    let key = ObjectKey::parse("config.abcd1234").unwrap();
    let error = target.create(&key, vec![1]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Invalid, "{error}");
    assert!(!target.capabilities().await.unwrap().atomic_create);
}
