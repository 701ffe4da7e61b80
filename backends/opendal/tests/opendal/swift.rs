//! An object store without folders, conditions or renames: the part of Swift's protocol that
//! OpenDAL uses for small objects, on a server in this process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use strongroom_core::target::{
    BackupTarget, KeyPrefix, ObjectKey, TargetErrorKind, TargetExt, conformance::Options,
};
use strongroom_opendal::{OpendalConfig, OpendalTarget};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{conformance::passes, servers};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

const PAGE: usize = 100;
const TOKEN: &str = "good-token";

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// A server with the container `box`; gives the storage URL.
async fn server() -> (String, Objects) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/account", listener.local_addr().unwrap());
    let objects = Objects::default();
    let shared = objects.clone();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(connection, shared.clone()));
        }
    });
    (url, objects)
}

async fn serve(mut connection: TcpStream, objects: Objects) {
    while let Some(request) = receive(&mut connection).await {
        let (status, headers, body) = answer(&request, &mut objects.lock().unwrap());
        let head = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
        let body = if request.method == "HEAD" { Vec::new() } else { body };
        if connection.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

async fn receive(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        connection.read_buf(&mut body).await.ok()?;
    }
    let url = url::Url::parse(&format!("http://host{target}")).unwrap();
    let query = url.query_pairs().into_owned().collect();
    Some(Request { method, path: url.path().to_owned(), query, headers, body })
}

type Answer = (&'static str, String, Vec<u8>);

fn plain(status: &'static str, body: Vec<u8>) -> Answer {
    let length = body.len();
    (status, format!("Content-Length: {length}\r\nContent-Type: text/plain\r\n"), body)
}

fn answer(request: &Request, objects: &mut BTreeMap<String, Vec<u8>>) -> Answer {
    if request.headers.get("x-auth-token").map(String::as_str) != Some(TOKEN) {
        return plain("401 Unauthorized", Vec::new());
    }
    let Some(name) = request.path.strip_prefix("/v1/account/box/") else {
        return plain("404 Not Found", Vec::new());
    };
    match (request.method.as_str(), name) {
        ("GET", "") => list(request, objects),
        ("PUT", _) => {
            objects.insert(name.to_owned(), request.body.clone());
            plain("201 Created", Vec::new())
        }
        ("DELETE", _) => match objects.remove(name) {
            Some(_) => ("204 No Content", String::new(), Vec::new()),
            None => plain("404 Not Found", Vec::new()),
        },
        _ => match objects.get(name) {
            Some(object) => read(request, object),
            None => plain("404 Not Found", Vec::new()),
        },
    }
}

fn read(request: &Request, object: &[u8]) -> Answer {
    let Some(range) = request.headers.get("range") else {
        return plain("200 OK", object.to_vec());
    };
    let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(usize::MAX - 1).min(object.len().wrapping_sub(1));
    if from >= object.len() {
        return plain("416 Range Not Satisfiable", Vec::new());
    }
    let (_, headers, part) = plain("", object[from..=to].to_vec());
    let range = format!("Content-Range: bytes {from}-{to}/{}\r\n", object.len());
    ("206 Partial Content", headers + &range, part)
}

/// Pages of names, as JSON.
fn list(request: &Request, objects: &BTreeMap<String, Vec<u8>>) -> Answer {
    let query = |name: &str| request.query.get(name).map_or("", String::as_str);
    let lines: Vec<String> = objects
        .range(query("marker").to_owned()..)
        .filter(|(name, _)| name.as_str() > query("marker") && name.starts_with(query("prefix")))
        .take(PAGE)
        .map(|(name, object)| {
            let (bytes, time) = (object.len(), "2026-11-21T08:00:00.0");
            let fields = format!(r#""name":"{name}","bytes":{bytes},"hash":"0""#);
            format!(r#"{{{fields},"last_modified":"{time}"}}"#)
        })
        .collect();
    plain("200 OK", format!("[{}]", lines.join(",")).into_bytes())
}

fn config(url: &str, container: &str, token: &str) -> OpendalConfig {
    let url = format!("swift://{container}/a/b?endpoint={url}");
    OpendalConfig::from_url(&url, &servers::environment(&[("OS_AUTH_TOKEN", token)])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let (url, objects) = server().await;
    let options =
        Options { listed_objects: 2000, large_object_bytes: 4 << 20, ..Options::default() };
    passes(&config(&url, "box", TOKEN), options, &["create-race"]).await;
    assert!(objects.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusals() {
    let (url, objects) = server().await;
    let denied = OpendalTarget::open(&config(&url, "box", "other-token")).await.unwrap_err();
    assert_eq!(denied.kind(), TargetErrorKind::Denied, "{denied}");
    let missing = OpendalTarget::open(&config(&url, "none", TOKEN)).await.unwrap_err();
    assert_eq!(missing.kind(), TargetErrorKind::NotFound, "{missing}");
    let target = OpendalTarget::open(&config(&url, "box", TOKEN)).await.unwrap();
    target.create(&ObjectKey::parse("c/d").unwrap(), vec![1]).await.unwrap();
    assert!(objects.lock().unwrap().contains_key("a/b/c/d"), "below the prefix");
    assert_eq!(target.list_all(&KeyPrefix::all()).await.unwrap().len(), 1);
    let before = target.requests_sent().unwrap();
    target.head(&ObjectKey::parse("c/d").unwrap()).await.unwrap();
    assert_eq!(target.requests_sent(), Some(before + 1));
}
