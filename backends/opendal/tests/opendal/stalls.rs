//! Servers that take a connection and say nothing, stop in mid-answer, or stop taking an upload.
//!
//! Time is paused: it jumps to the next time-out whenever nothing happens in this process. So that
//! it does not jump while a connection is made or an answer is on its way, it is held until the
//! server has done its part.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::target::{
    BackupTarget, ByteRange, ObjectKey, Payload, PutMode, TargetErrorKind,
};
use strongroom_opendal::{OpendalConfig, OpendalTarget};
use tokio::time::Instant;

use crate::servers;

/// A server in a thread of its own, that keeps every connection open for ever.
struct Server {
    port: u16,
    /// One for each connection that was made.
    met: Option<Receiver<()>>,
    /// One for each request that was answered as far as it will be.
    answered: Option<Receiver<()>>,
}

impl Server {
    /// Answers the one request of each connection by `answer`, in full or as far as it goes.
    fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((meets, met), (answers, answered)) = (channel(), channel());
        thread::spawn(move || {
            let mut open = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let _ = meets.send(());
                let mut request = vec![0; 1 << 16];
                let length = connection.read(&mut request).unwrap_or_default();
                let answer = answer(&String::from_utf8_lossy(&request[..length]));
                let _ = connection.write_all(answer.as_bytes());
                let _ = answers.send(());
                open.push(connection);
            }
        });
        Self { port, met: Some(met), answered: Some(answered) }
    }
}

/// Holds paused time until there was one more of `events`; gives them back. Time does not jump
/// while a blocking task runs.
fn hold(events: Receiver<()>) -> tokio::task::JoinHandle<Receiver<()>> {
    tokio::task::spawn_blocking(move || {
        events.recv_timeout(Duration::from_secs(60)).unwrap();
        events
    })
}

fn configs(port: u16) -> Vec<OpendalConfig> {
    let variables = [("STRONGROOM_FTP_PASSWORD", "x")];
    let urls = ["webdav", "ftp", "sftp"].map(|scheme| format!("{scheme}://127.0.0.1:{port}/x"));
    urls.iter()
        .map(|url| OpendalConfig::from_url(url, &servers::environment(&variables)).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_within_a_minute() {
    let mut server = Server::start(|_| String::new());
    for config in configs(server.port) {
        let (began, held) = (Instant::now(), hold(server.met.take().unwrap()));
        let error = OpendalTarget::open(&config).await.unwrap_err();
        server.met = Some(held.await.unwrap());
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}: {:?}", began.elapsed());
    }
}

const FOLDER: &str = "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\"><D:response>\
    <D:href>/x/</D:href><D:propstat><D:prop><D:getlastmodified>Sat, 21 Nov 2026 08:00:00 GMT\
    </D:getlastmodified><D:resourcetype><D:collection/></D:resourcetype></D:prop>\
    <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>";

/// A target on a WebDAV server that knows its folder, and answers all else by `answer`.
async fn opened(answer: impl Fn() -> String + Send + 'static) -> (OpendalTarget, Receiver<()>) {
    let mut server = Server::start(move |request| {
        if request.starts_with("PROPFIND") {
            let length = FOLDER.len();
            let head = "HTTP/1.1 207 Multi-Status\r\nConnection: close\r\n";
            return format!("{head}Content-Length: {length}\r\n\r\n{FOLDER}");
        }
        answer()
    });
    let answered = server.answered.take().unwrap();
    let target = OpendalTarget::open(&configs(server.port).remove(0)).await.unwrap();
    answered.recv().unwrap();
    (target, answered)
}

#[tokio::test]
async fn an_answer_that_stops_is_noticed_within_a_minute() {
    let (target, answered) =
        opened(|| "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this".to_owned()).await;
    tokio::time::pause();
    let (began, held) = (Instant::now(), hold(answered));
    let key = ObjectKey::parse("a").unwrap();
    let error = target.get(&key, ByteRange::Full).await.unwrap_err();
    drop(held);
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(target.requests_sent(), Some(2));
}

/// The server reads the beginning of the upload and then nothing more. What lies in between fills
/// up first, and only then time jumps.
#[tokio::test]
async fn an_upload_that_stops_is_noticed_within_a_minute() {
    let (target, answered) = opened(String::new).await;
    tokio::time::pause();
    let (began, held) = (Instant::now(), hold(answered));
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![7; 1 << 20]))).boxed();
    let key = ObjectKey::parse("a").unwrap();
    let put = target.put(&key, Payload::Streamed(endless), PutMode::Create);
    let error = put.await.unwrap_err();
    drop(held);
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable() && error.to_string().contains("stalled"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
