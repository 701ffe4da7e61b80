//! `gs://` against a server of our own that speaks the part of Google's XML dialect that
//! `object_store` uses. The public emulator (fake-gcs-server) takes no upload in that dialect.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use strongroom_backend_support::Environment;
use strongroom_core::{
    runtime::Runtime,
    target::{
        BackupTarget, ObjectKey, Payload, PutMode, TargetErrorKind, TargetExt, conformance,
        layers::{RetryConfig, RetryLayer},
    },
};
use strongroom_object_store::{GcsConfig, ObjectStoreTarget};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const TIME: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const PAGE: usize = 1000;

/// One bucket, and what is to go wrong next.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
    requests: Vec<String>,
    /// Carries the next request out whose line contains this, and loses the answer.
    lose: Option<&'static str>,
    /// Answers 503 to the next request whose line contains this.
    refuse: Option<&'static str>,
}

struct Request {
    method: String,
    /// Decoded, without the bucket.
    object: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Bytes,
    line: String,
}

type Answer = (u16, String, Bytes);

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    (status, "ETag: \"x\"\r\nx-goog-generation: 1\r\n".into(), body.into())
}

impl Bucket {
    fn serve(&mut self, request: Request) -> Answer {
        let upload = request.query.get("uploadId").cloned();
        match (request.method.as_str(), upload) {
            ("PUT", Some(upload)) => self.put_part(&upload, request),
            ("PUT", None) => self.put(request),
            ("POST", Some(upload)) => self.complete(&upload, request),
            ("POST", None) => {
                let id = format!("upload{}", self.uploads.len());
                self.uploads.insert(id.clone(), BTreeMap::new());
                let xml = "InitiateMultipartUploadResult";
                answer(200, format!("<{xml}><UploadId>{id}</UploadId></{xml}>"))
            }
            ("DELETE", Some(upload)) => {
                self.uploads.remove(&upload);
                answer(204, "")
            }
            ("DELETE", None) => match self.objects.remove(&request.object) {
                Some(_) => answer(204, ""),
                None => answer(404, ""),
            },
            _ if request.object.is_empty() => self.list(&request),
            _ => self.get(&request),
        }
    }

    fn put(&mut self, request: Request) -> Answer {
        let is_create = request.headers.get("x-goog-if-generation-match").map(String::as_str);
        if is_create == Some("0") && self.objects.contains_key(&request.object) {
            return answer(412, "");
        }
        let body = match request.headers.get("x-goog-copy-source") {
            None => request.body,
            Some(source) => {
                let source = decode(source);
                let (_, name) = source.split_once('/').unwrap();
                match self.objects.get(name) {
                    Some(content) => content.clone(),
                    None => return answer(404, ""),
                }
            }
        };
        self.objects.insert(request.object, body);
        answer(200, "")
    }

    fn put_part(&mut self, upload: &str, request: Request) -> Answer {
        let number = request.query["partNumber"].parse().unwrap();
        self.uploads.get_mut(upload).unwrap().insert(number, request.body);
        answer(200, "")
    }

    fn complete(&mut self, upload: &str, request: Request) -> Answer {
        let parts: Vec<_> = self.uploads.remove(upload).unwrap().into_values().collect();
        self.objects.insert(request.object, parts.concat().into());
        let xml = "CompleteMultipartUploadResult";
        answer(200, format!("<{xml}><ETag>x</ETag></{xml}>"))
    }

    fn get(&self, request: &Request) -> Answer {
        let Some(content) = self.objects.get(&request.object) else { return answer(404, "") };
        let (size, time) = (content.len(), format!("Last-Modified: {TIME}\r\n"));
        let Some(range) = request.headers.get("range") else {
            let (status, headers, _) = answer(200, "");
            return (status, headers + &time, content.clone());
        };
        let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let end = last.parse().map_or(size, |last: usize| size.min(last.saturating_add(1)));
        if first >= size {
            return answer(416, "");
        }
        let range = format!("Content-Range: bytes {first}-{}/{size}\r\n", end - 1);
        let (_, headers, _) = answer(206, "");
        (206, headers + &time + &range, content.slice(first..end))
    }

    fn list(&self, request: &Request) -> Answer {
        let empty = String::new();
        let prefix = request.query.get("prefix").unwrap_or(&empty);
        let after = request.query.get("continuation-token").unwrap_or(&empty);
        let mut found = self.objects.iter().filter(|(name, _)| {
            name.starts_with(prefix.as_str()) && name.as_str() > after.as_str()
        });
        let mut xml = String::from("<ListBucketResult>");
        let mut last = "";
        for (name, content) in found.by_ref().take(PAGE) {
            last = name;
            xml += &format!(
                "<Contents><Key>{name}</Key><Size>{}</Size>\
                 <LastModified>2026-01-01T00:00:00Z</LastModified><ETag>x</ETag></Contents>",
                content.len()
            );
        }
        if found.next().is_some() {
            xml += &format!("<NextContinuationToken>{last}</NextContinuationToken>");
        }
        answer(200, xml + "</ListBucketResult>")
    }
}

fn decode(text: &str) -> String {
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .map(|(name, _)| name.into_owned())
        .next()
        .unwrap_or_default()
}

async fn read_request(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next()?.to_owned();
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let object = path[1..].split_once('/').map_or(String::new(), |(_, object)| decode(object));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Some(Request { method, object, query, headers, body: body.into(), line })
}

async fn serve(mut connection: TcpStream, bucket: Arc<Mutex<Bucket>>) -> Option<()> {
    while let Some(request) = read_request(&mut connection).await {
        let is_head = request.method == "HEAD";
        let (status, headers, body) = {
            let mut bucket = bucket.lock().unwrap();
            bucket.requests.push(request.line.clone());
            if bucket.refuse.is_some_and(|meant| request.line.contains(meant)) {
                bucket.refuse = None;
                answer(503, "")
            } else {
                let is_lost = bucket.lose.is_some_and(|meant| request.line.contains(meant));
                let answer = bucket.serve(request);
                if is_lost {
                    bucket.lose = None;
                    return None;
                }
                answer
            }
        };
        let head =
            format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
        connection.write_all(head.as_bytes()).await.ok()?;
        if !is_head {
            connection.write_all(&body).await.ok()?;
        }
    }
    Some(())
}

async fn start() -> (Arc<Mutex<Bucket>>, ObjectStoreTarget) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bucket = Arc::new(Mutex::new(Bucket::default()));
    let all = bucket.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, all.clone()));
        }
    });
    let url = format!("gs://vault/My%20Backups?endpoint=http://{address}&anonymous");
    let config = GcsConfig::from_url(&url, &Environment::new(|_| None)).unwrap();
    (bucket, config.open().await.unwrap())
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

fn long_stream() -> Payload {
    let buffers = (0..20u8).map(|number| Ok(Bytes::from(vec![number; 1 << 20])));
    Payload::Streamed(stream::iter(buffers).boxed())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let (bucket, target) = start().await;
    assert_eq!(target.to_string(), "gs://vault/My Backups");
    let options = conformance::Options::default();
    let report = conformance::run(Arc::new(target), &Runtime::system(), &options).await;
    assert!(report.is_conformant(), "{report}");
    let bucket = bucket.lock().unwrap();
    assert!(bucket.objects.is_empty() && bucket.uploads.is_empty(), "nothing unfinished stays");
    assert!(bucket.requests.iter().any(|line| line.contains("continuation-token")));
    // no server of Google's runs here: for the table in the project's README, see scripts/matrix
    if let Some(folder) = std::env::var_os("STRONGROOM_MATRIX_DIR").map(std::path::PathBuf::from) {
        std::fs::create_dir_all(&folder).unwrap();
        for (column, found) in [
            ("conformance", "all checks, own server"),
            ("conditional-create", "atomic, own server"),
        ] {
            std::fs::write(folder.join(format!("gs.{column}")), format!("{found}\n")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_never_repeated_behind_our_back() {
    let (bucket, target) = start().await;
    bucket.lock().unwrap().refuse = Some("PUT ");
    let error = target.create(&key("a"), vec![1]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (TargetErrorKind::Throttled, true), "{error}");
    bucket.lock().unwrap().lose = Some("PUT ");
    let error = target.create(&key("a"), vec![1]).await.unwrap_err();
    assert_eq!(error.kind(), TargetErrorKind::Unavailable, "{error}");
    let puts = bucket.lock().unwrap().requests.iter().filter(|line| line.contains("PUT ")).count();
    assert_eq!(puts, 2);
    let retrying = RetryLayer::new(Arc::new(target), RetryConfig::default(), Runtime::system());
    bucket.lock().unwrap().lose = Some("PUT ");
    retrying.create(&key("b"), vec![2]).await.unwrap();
    let taken = retrying.create(&key("b"), vec![3]).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_fails_is_sent_again() {
    let (bucket, target) = start().await;
    bucket.lock().unwrap().refuse = Some("partNumber=2");
    target.put(&key("a"), long_stream(), PutMode::Create).await.unwrap();
    assert_eq!(target.head(&key("a")).await.unwrap().size_bytes, 20 << 20);
    bucket.lock().unwrap().lose = Some("partNumber=1");
    target.put(&key("a"), long_stream(), PutMode::Replace).await.unwrap();
    let taken = target.put(&key("a"), long_stream(), PutMode::Create).await.unwrap_err();
    assert_eq!(taken.kind(), TargetErrorKind::AlreadyExists);
    let bucket = bucket.lock().unwrap();
    assert_eq!(bucket.objects.len(), 1);
    assert!(bucket.uploads.is_empty());
}
