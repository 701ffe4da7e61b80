//! WebDAV servers that cannot cope with an upload of unknown length, or say that they can. None of
//! them is ever asked to publish what it has not.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_core::target::{
    BackupTarget, ObjectKey, Payload, PutMode, TargetError, TargetErrorKind,
};
use strongroom_opendal::{OpendalConfig, OpendalTarget};

use crate::servers;

const STREAM_BYTES: usize = 9 << 20;

/// How a server takes an upload.
#[derive(Clone, Copy)]
struct Habit {
    reads_all: bool,
    status: &'static str,
    /// The length of what is there afterwards.
    stored: usize,
}

type Methods = Arc<Mutex<Vec<String>>>;

/// A server of this habit; gives its port and what it was asked.
fn server(habit: Habit) -> (u16, Methods) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, methods) = (listener.local_addr().unwrap().port(), Methods::default());
    let asked = methods.clone();
    thread::spawn(move || {
        // Closing while the other side sends would take the answer along.
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            serve(&mut connection, habit, &asked);
            open.push(connection);
        }
    });
    (port, methods)
}

/// One request of one connection.
fn serve(connection: &mut TcpStream, habit: Habit, asked: &Methods) {
    let mut buffer = vec![0; 1 << 16];
    let length = connection.read(&mut buffer).unwrap();
    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    asked.lock().unwrap().push(method.to_owned());
    let (status, body) = match method {
        "PROPFIND" => ("207 Multi-Status", listed(path, habit.stored)),
        "PUT" if habit.reads_all => {
            read_to_end(connection, request.into_bytes());
            (habit.status, String::new())
        }
        "PUT" => (habit.status, String::new()),
        _ => ("204 No Content", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}", body.len());
    connection.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
}

/// Reads a body of unknown length, none of whose bytes is a zero, to its last chunk.
fn read_to_end(connection: &mut TcpStream, mut tail: Vec<u8>) {
    let mut buffer = vec![0; 1 << 16];
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        let length = connection.read(&mut buffer).unwrap();
        assert!(length > 0, "the upload broke off");
        tail.drain(..tail.len().saturating_sub(8));
        tail.extend_from_slice(&buffer[..length]);
    }
}

/// A file if the path is that of an upload, else a folder.
fn listed(path: &str, stored: usize) -> String {
    let is_upload = path.contains(".uploads/") && !path.ends_with('/');
    let kind = if is_upload { "" } else { "<D:collection/>" };
    format!(
        "<?xml version=\"1.0\"?><D:multistatus xmlns:D=\"DAV:\"><D:response><D:href>{path}</D:href>\
         <D:propstat><D:prop><D:getlastmodified>Sat, 21 Nov 2026 08:00:00 GMT</D:getlastmodified>\
         <D:getcontentlength>{stored}</D:getcontentlength><D:resourcetype>{kind}</D:resourcetype>\
         </D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>"
    )
}

async fn put(habit: Habit) -> (Result<(), TargetError>, Vec<String>) {
    let (port, methods) = server(habit);
    let url = format!("webdav://127.0.0.1:{port}/x");
    let config = OpendalConfig::from_url(&url, &servers::environment(&[])).unwrap();
    let target = OpendalTarget::open(&config).await.unwrap();
    let part = Bytes::from(vec![7; STREAM_BYTES / 3]);
    let payload =
        Payload::Streamed(stream::iter([part.clone(), part.clone(), part]).map(Ok).boxed());
    let outcome = target.put(&ObjectKey::parse("a").unwrap(), payload, PutMode::Create).await;
    let asked = methods.lock().unwrap().clone();
    assert_eq!(target.requests_sent(), Some(asked.len() as u64), "{asked:?}");
    (outcome, asked)
}

#[tokio::test]
async fn a_whole_upload_is_published() {
    let habit = Habit { reads_all: true, status: "201 Created", stored: STREAM_BYTES };
    let (outcome, asked) = put(habit).await;
    outcome.unwrap();
    assert!(asked.iter().any(|method| method == "MOVE"), "{asked:?}");
    assert_eq!(asked.iter().filter(|method| *method == "PUT").count(), 1, "{asked:?}");
}

#[tokio::test]
async fn what_is_not_whole_is_never_published() {
    use TargetErrorKind::{Full, Unavailable, Unsupported};
    for (reads_all, status, stored, kind) in [
        (false, "411 Length Required", 0, Unsupported),
        (false, "413 Content Too Large", 0, Unsupported),
        (false, "507 Insufficient Storage", 0, Full),
        (false, "201 Created", STREAM_BYTES, Unavailable),
        (true, "201 Created", 0, Unsupported),
        (true, "201 Created", STREAM_BYTES - 1, Unavailable),
        (true, "502 Bad Gateway", STREAM_BYTES, Unavailable),
    ] {
        let (outcome, asked) = put(Habit { reads_all, status, stored }).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}, {stored}: {error}");
        assert!(kind == Unavailable || error.hint_text().is_some(), "{error}");
        assert!(!asked.iter().any(|method| method == "MOVE"), "{status}, {stored}: {asked:?}");
        assert_eq!(asked.last().map(String::as_str), Some("DELETE"), "{status}: {asked:?}");
    }
}
