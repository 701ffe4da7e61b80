//! Who is let in where, and what those are told who are not.

use strongroom_core::target::{KeyPrefix, Operation, TargetErrorKind, TargetExt};
use strongroom_smb::SmbTarget;
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::server::{Server, fresh, key, share, unique, variable};

#[tokio::test]
async fn a_wrong_password_is_denied_with_a_hint() {
    let server = Server::shared();
    for (user, password) in [(server.user.as_str(), "wrong"), ("nobody-we-know", "Test-pass-1")] {
        let path = share("TEST_SMB_SHARE_SIGNED");
        let error = server.with(user, password).open(&path).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains(user), "{error}");
        assert!(error.hint_text().unwrap().contains("password"));
        assert!(!format!("{error:?}").contains("wrong\""));
    }
}

#[tokio::test]
async fn a_reader_reads_and_is_denied_all_else() {
    let (target, path) = fresh("reader").await;
    target.create(&key("a/b"), vec![1, 2, 3]).await.unwrap();
    let reader = Server::shared()
        .with(&variable("TEST_SMB_RO_USER"), &variable("TEST_SMB_RO_PASSWORD"))
        .open(&path)
        .await
        .unwrap();
    assert_eq!(reader.get_full(&key("a/b")).await.unwrap(), [1, 2, 3].as_slice());
    assert_eq!(reader.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
    for error in [
        reader.create(&key("a/c"), vec![4]).await.unwrap_err(),
        reader.create(&key("c"), vec![4]).await.unwrap_err(),
        reader.replace(&key("a/b"), vec![4]).await.unwrap_err(),
        strongroom_core::target::BackupTarget::delete(&reader, &key("a/b")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
        assert!(error.hint_text().unwrap().contains("write"), "{error}");
    }
    assert_eq!(target.get_full(&key("a/b")).await.unwrap(), [1, 2, 3].as_slice());
}

#[tokio::test]
async fn a_share_that_takes_no_writes_is_denied() {
    let path = format!("{}/{}", share("TEST_SMB_SHARE_RO"), unique("ro"));
    let error = Server::shared().create(&path).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_missing_share_is_not_found() {
    let server = Server::shared();
    for error in [
        server.open("no-such-share/x").await.unwrap_err(),
        server.create("no-such-share").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("no-such-share"), "{error}");
        assert!(error.hint_text().is_some());
    }
}

#[tokio::test]
async fn a_missing_folder_is_not_found_unless_it_is_to_be_made() {
    let server = Server::shared();
    let path = format!("{}/{}/My Backups/x", share("TEST_SMB_SHARE_SIGNED"), unique("deep"));
    let path = path.replace(' ', "%20");
    let error = server.open(&path).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::NotFound, "{error}");
    assert!(error.hint_text().unwrap().contains("folder"));
    let target = server.create(&path).await.unwrap();
    assert!(target.to_string().ends_with("/My Backups/x"), "{target}");
    target.create(&key("a"), vec![1]).await.unwrap();
    // Twice is as good as once, also for several at once.
    let more = futures::future::join_all((0..8).map(|_| server.create(&path))).await;
    for target in more {
        assert_eq!(target.unwrap().get_full(&key("a")).await.unwrap(), [1].as_slice());
    }
    server.open(&path).await.unwrap();
    let file = server.open(&format!("{path}/a")).await.unwrap_err();
    assert_eq!(file.kind(), TargetErrorKind::Invalid, "{file}");
}

#[tokio::test]
async fn encryption_can_be_insisted_on() {
    let path = format!("{}/{}", share("TEST_SMB_SHARE"), unique("encrypted"));
    let config = Server::shared().config(&path, "?encryption=required&signing=required").unwrap();
    let target = SmbTarget::create(config).await.unwrap();
    target.create(&key("a"), vec![7; 3_000_000]).await.unwrap();
    assert_eq!(target.get_full(&key("a")).await.unwrap(), vec![7; 3_000_000]);
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let nobody = Server { port: crate::server::free_port().to_string(), ..Server::shared() };
    let error = nobody.open("share").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
    assert_eq!(error.operation(), Operation::Open);
}

/// A server that takes all and answers nothing, and one that lets bytes trickle for ever.
#[tokio::test]
async fn a_server_that_stalls_is_noticed() {
    for is_trickling in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            // The length of a message that never is complete.
            let mut drops = vec![0, 0, 1, 0].into_iter().chain(std::iter::repeat(0xfe));
            let mut buffer = [0; 4096];
            while socket.read(&mut buffer).await.is_ok_and(|length| length > 0) {
                while is_trickling {
                    use tokio::io::AsyncWriteExt;
                    let byte = [drops.next().unwrap()];
                    if socket.write_all(&byte).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        });
        let config = Server { port, ..Server::shared() }.config("share", "?timeout=1").unwrap();
        let error = SmbTarget::open(config).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
        server.abort();
    }
}
