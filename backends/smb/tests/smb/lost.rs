//! An answer that is lost on its way: the server did what it was told, and the client never
//! hears of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use strongroom_core::{
    runtime::Runtime,
    target::{
        SharedTarget, TargetErrorKind, TargetExt,
        layers::{RetryConfig, RetryLayer},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::server::{Server, fresh, key};

/// The beginning of a request to give a file a second name: `SET_INFO` of a file, class 11.
const NAMING: [u8; 4] = [33, 0, 1, 11];

/// Passes all on to the server, but closes the connection in place of the answer to a naming,
/// `cuts` times in all.
async fn serve(listener: TcpListener, server: String, cuts: Arc<AtomicUsize>) {
    while let Ok((client, _)) = listener.accept().await {
        let upstream = TcpStream::connect(&server).await.unwrap();
        let (client_read, client_write) = client.into_split();
        let (answers, requests) = upstream.into_split();
        let is_cut = Arc::new(AtomicBool::new(false));
        tokio::spawn(pass_answers(answers, client_write, is_cut.clone()));
        tokio::spawn(pass_requests(client_read, requests, is_cut, cuts.clone()));
    }
}

async fn pass_requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_cut: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
) -> Option<()> {
    loop {
        let message = read(&mut from).await?;
        if message.windows(NAMING.len()).any(|bytes| bytes == NAMING) {
            let step = |left: usize| left.checked_sub(1);
            if cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step).is_ok() {
                is_cut.store(true, Ordering::SeqCst);
            }
        }
        write(&mut to, &message).await?;
    }
}

async fn pass_answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_cut: Arc<AtomicBool>,
) -> Option<()> {
    loop {
        let message = read(&mut from).await?;
        if is_cut.load(Ordering::SeqCst) {
            return None;
        }
        write(&mut to, &message).await?;
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write(to: &mut OwnedWriteHalf, message: &[u8]) -> Option<()> {
    to.write_u32(message.len() as u32).await.ok()?;
    to.write_all(message).await.ok()
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_our_own_success() {
    let (direct, path) = fresh("lost").await;
    let server = Server::shared();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let cuts = Arc::new(AtomicUsize::new(0));
    let upstream = format!("{}:{}", server.host, server.port);
    tokio::spawn(serve(listener, upstream, cuts.clone()));
    let proxied = Server { port, ..server };
    let target: SharedTarget = Arc::new(proxied.open(&path).await.unwrap());
    let retried: SharedTarget =
        Arc::new(RetryLayer::new(target.clone(), RetryConfig::default(), Runtime::system()));

    cuts.store(1, Ordering::SeqCst);
    let error = target.create(&key("a"), vec![1; 5000]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Unavailable, true));
    assert_eq!(cuts.load(Ordering::SeqCst), 0);
    assert_eq!(direct.get_full(&key("a")).await.unwrap(), vec![1; 5000]);

    cuts.store(1, Ordering::SeqCst);
    retried.create(&key("b"), vec![2; 5000]).await.unwrap();
    assert_eq!(cuts.load(Ordering::SeqCst), 0);
    assert_eq!(direct.get_full(&key("b")).await.unwrap(), vec![2; 5000]);

    cuts.store(1, Ordering::SeqCst);
    let error = retried.create(&key("a"), vec![3; 5000]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::AlreadyExists, "{error}");
    assert_eq!(direct.get_full(&key("a")).await.unwrap(), vec![1; 5000]);
}
