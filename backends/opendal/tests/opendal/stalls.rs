//! Servers that take a connection and say nothing, or stop in mid-answer.
//!
//! Time is paused: it jumps to the next time-out whenever nothing happens in this process, so
//! that which one it is does not matter, only that there is one.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use strongroom_core::target::{BackupTarget, ByteRange, ObjectKey, TargetErrorKind};
use strongroom_opendal::{OpendalConfig, OpendalTarget};
use tokio::time::Instant;

use crate::servers;

/// A server that answers each request by `answer`, in full or as far as it goes, and keeps every
/// connection open for ever.
fn server(answer: impl Fn(&str) -> String + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = vec![0; 1 << 16];
            let length = connection.read(&mut request).unwrap_or_default();
            let answer = answer(&String::from_utf8_lossy(&request[..length]));
            let _ = connection.write_all(answer.as_bytes());
            open.push(connection);
        }
    });
    port
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
    let port = server(|_| String::new());
    for config in configs(port) {
        let began = Instant::now();
        let error = OpendalTarget::open(&config).await.unwrap_err();
        assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}: {:?}", began.elapsed());
    }
}

const FOLDER: &str = "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\"><D:response>\
    <D:href>/x/</D:href><D:propstat><D:prop><D:getlastmodified>Sat, 21 Nov 2026 08:00:00 GMT\
    </D:getlastmodified><D:resourcetype><D:collection/></D:resourcetype></D:prop>\
    <D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>";

#[tokio::test]
async fn an_answer_that_stops_is_noticed_within_a_minute() {
    let port = server(|request| {
        if request.starts_with("PROPFIND") {
            let length = FOLDER.len();
            let head = "HTTP/1.1 207 Multi-Status\r\nConnection: close\r\n";
            return format!("{head}Content-Length: {length}\r\n\r\n{FOLDER}");
        }
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this".to_owned()
    });
    let config = configs(port).remove(0);
    let target = OpendalTarget::open(&config).await.unwrap();
    tokio::time::pause();
    let began = Instant::now();
    let key = ObjectKey::parse("a").unwrap();
    let error = target.get(&key, ByteRange::Full).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    assert!(error.is_retryable(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(target.requests_sent(), Some(2));
}
