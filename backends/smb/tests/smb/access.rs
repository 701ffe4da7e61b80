//! Who is let in where, and what those are told who are not.

use std::time::Duration;

use strongroom_core::target::{BackupTarget, KeyPrefix, Operation, TargetErrorKind, TargetExt};
use strongroom_smb::SmbTarget;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

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
        reader.delete(&key("a/b")).await.unwrap_err(),
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
    // One share asks for it, and one does not.
    for share in [share("TEST_SMB_SHARE"), share("TEST_SMB_SHARE_SIGNED")] {
        let path = format!("{share}/{}", unique("encrypted"));
        let config = Server::shared().config(&path, "?encryption=required").unwrap();
        let target = SmbTarget::create(config).await.unwrap();
        target.create(&key("a"), vec![7; 3_000_000]).await.unwrap();
        assert_eq!(target.get_full(&key("a")).await.unwrap(), vec![7; 3_000_000]);
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let nobody = Server { port: crate::server::free_port().to_string(), ..Server::shared() };
    let error = nobody.open("share").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
    assert_eq!(error.operation(), Operation::Open);
}

/// Takes one client, and gives it a message byte by byte, that never is complete; or nothing.
async fn stall(listener: TcpListener, is_trickling: bool) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let length = [0, 0, 1, 0].into_iter();
    let mut message = length.chain(std::iter::repeat(0xfe));
    let mut buffer = [0; 4096];
    let mut drops = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            read = socket.read(&mut buffer) => {
                if !read.is_ok_and(|length| length > 0) {
                    return;
                }
            }
            _ = drops.tick(), if is_trickling => {
                if socket.write_all(&[message.next().unwrap()]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_noticed() {
    for is_trickling in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let server = tokio::spawn(stall(listener, is_trickling));
        let config = Server { port, ..Server::shared() }.config("share", "?timeout=1").unwrap();
        let error = SmbTarget::open(config).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
        server.await.unwrap();
    }
}
