//! Wrong credentials, lacking rights, buckets that are not there, certificates of strangers.

use strongroom_core::target::{BackupTarget, ObjectKey, TargetError, TargetErrorKind, TargetExt};
use strongroom_s3::{S3Config, S3Target};

use crate::support::{Server, key, unique, variable};

async fn refused(config: S3Config) -> TargetError {
    S3Target::open(config).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_denied_with_a_hint() {
    Server::main().target("").await;
    let secret = Server { secret_key: "hunter2hunter2".into(), ..Server::main() };
    let error = refused(secret.config("strongroom-tests")).await;
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Denied, false), "{error}");
    assert_eq!(error.hint_text(), Some("check AWS_SECRET_ACCESS_KEY"));
    assert!(!format!("{error:?}").contains("hunter2"));
    let unknown = Server { access_key: "nobody".into(), ..Server::main() };
    let error = refused(unknown.config("strongroom-tests")).await;
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
    assert!(error.hint_text().unwrap().contains("AWS_ACCESS_KEY_ID"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_not_found_and_can_be_created() {
    let place = unique("missing");
    let config = Server::main().config(&place);
    let error = refused(config.clone()).await;
    assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&place), "{error}");
    S3Target::create(config.clone()).await.unwrap();
    S3Target::create(config.clone()).await.unwrap();
    S3Target::open(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_read_reads_and_is_denied_the_rest() {
    let all = Server::main();
    let place = format!("strongroom-tests/{}", unique("d"));
    let writer = S3Target::create(all.config(&place)).await.unwrap();
    writer.create(&key("object"), b"abc".to_vec()).await.unwrap();
    let reader = Server {
        access_key: variable("TEST_S3_READONLY_ACCESS_KEY"),
        secret_key: variable("TEST_S3_READONLY_SECRET_KEY"),
        ..all
    };
    let reader = S3Target::open(reader.config(&place)).await.unwrap();
    assert_eq!(reader.get_full(&key("object")).await.unwrap(), b"abc".as_slice());
    let objects: Vec<ObjectKey> = vec![key("object"), key("other")];
    for outcome in [
        reader.create(&key("new"), b"abc".to_vec()).await,
        reader.replace(&key("object"), b"def".to_vec()).await,
        reader.delete(&key("object")).await,
        reader.delete_batch(&objects).await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
        assert!(error.hint_text().unwrap().contains("docs/permissions/s3.json"), "{error}");
    }
    assert_eq!(writer.get_full(&key("object")).await.unwrap(), b"abc".as_slice());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_nothing_is_sent() {
    let mut config = Server::main().config("strongroom-tests");
    config.credentials = None;
    // A profile that is not there, so that nothing on this machine can help.
    config.profile = Some("strongroom-test-of-nothing".to_owned());
    let error = refused(config).await;
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
    assert!(error.hint_text().unwrap().contains("AWS_ACCESS_KEY_ID"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_stranger_is_refused_at_once() {
    let server = Server { endpoint: variable("TEST_S3_TLS_ENDPOINT"), ..Server::main() };
    let error = refused(server.config("strongroom-tests")).await;
    assert!(!error.is_retryable(), "{error}");
    assert!(error.hint_text().unwrap().contains("ca-file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let server = Server { endpoint: format!("http://{address}"), ..Server::main() };
    let error = refused(server.config("strongroom-tests")).await;
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
}
