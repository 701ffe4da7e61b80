//! An HTTP proxy in this process that passes requests on to a real server and, where a test asks
//! for it, does what bad networks and bad servers do.
//!
//! Understands just enough HTTP/1.1: whole messages with a length or in chunks, one after the
//! other on a connection.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This answer, without asking the server; with so many seconds to wait, if any.
    Status(u16, Option<u32>),
    /// The server does what it is asked; its answer is lost.
    AnswerLost,
    /// The connection breaks in the middle of the content, of whichever message has one.
    Reset,
    /// The answer says that it is longer than it is.
    ShortBody,
    /// Success, and an error in the content, without asking the server.
    ErrorInside,
    /// The conditions of the request do not reach the server.
    ConditionsIgnored,
    /// The request is taken, and then nothing.
    Silence,
    /// The answer comes at one byte a second.
    Drip,
}

/// Which requests a fault is for.
pub type Filter = fn(&Message) -> bool;

/// A fault, for whom, and how often.
#[derive(Clone, Copy)]
struct Rule {
    fault: Fault,
    filter: Filter,
    times: u32,
    hits: u32,
}

/// A proxy in front of one server; ends with this value.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    rule: Arc<Mutex<Rule>>,
    listening: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of `upstream` that does no harm yet.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let harmless = Rule { fault: Fault::Silence, filter: |_| false, times: 0, hits: 0 };
        let rule = Arc::new(Mutex::new(harmless));
        let shared = rule.clone();
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let rule = shared.clone();
                tokio::spawn(async move {
                    // a broken connection is what many tests are about
                    let _ = serve(client, upstream, &rule).await;
                });
            }
        });
        Self { address, rule, listening }
    }

    /// From now on the next `times` requests that `filter` takes suffer `fault`.
    pub fn arm(&self, fault: Fault, filter: Filter, times: u32) {
        *self.rule.lock().unwrap() = Rule { fault, filter, times, hits: 0 };
    }

    /// How many requests suffered so far.
    pub fn hits(&self) -> u32 {
        self.rule.lock().unwrap().hits
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A request or an answer.
#[derive(Debug)]
pub struct Message {
    /// The first line and the headers, with the empty line at the end.
    head: String,
    /// As it came: chunks are not put together.
    body: Vec<u8>,
}

impl Message {
    /// The method of a request.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Path and query of a request.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn without_headers(&self, left_out: &[&str]) -> String {
        let is_kept = |line: &&str| {
            !line
                .split_once(':')
                .is_some_and(|(key, _)| left_out.iter().any(|name| key.eq_ignore_ascii_case(name)))
        };
        let lines: Vec<_> = self.head.trim_end().lines().filter(is_kept).collect();
        format!("{}\r\n\r\n", lines.join("\r\n"))
    }
}

async fn serve(mut client: TcpStream, upstream: SocketAddr, rule: &Mutex<Rule>) -> io::Result<()> {
    client.set_nodelay(true)?;
    loop {
        let Some(head) = read_head(&mut client).await? else { return Ok(()) };
        let request = Message { head, body: Vec::new() };
        let fault = take_fault(rule, &request);
        if request.header("expect").is_some() && !matches!(fault, Some(Fault::Status(..))) {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if fault == Some(Fault::Reset) && has_content(&request) {
            return reset(client).await;
        }
        let body = read_body(&mut client, &request, false).await?;
        let request = Message { body, ..request };
        match fault {
            None => answer(&mut client, &ask(upstream, &request, &[]).await?).await?,
            Some(Fault::ConditionsIgnored) => {
                let conditions = ["if-none-match", "if-match", "overwrite"];
                answer(&mut client, &ask(upstream, &request, &conditions).await?).await?;
            }
            Some(fault) => return suffer(client, upstream, &request, fault).await,
        }
    }
}

fn take_fault(rule: &Mutex<Rule>, request: &Message) -> Option<Fault> {
    let mut rule = rule.lock().unwrap();
    if rule.hits >= rule.times || !(rule.filter)(request) {
        return None;
    }
    rule.hits += 1;
    Some(rule.fault)
}

fn has_content(request: &Message) -> bool {
    request.header("transfer-encoding").is_some()
        || request.header("content-length").is_some_and(|length| length != "0")
}

/// Does to one request what the rule says; the connection ends with it.
async fn suffer(
    mut client: TcpStream,
    upstream: SocketAddr,
    request: &Message,
    fault: Fault,
) -> io::Result<()> {
    match fault {
        Fault::Status(code, wait) => {
            let wait = wait.map(|seconds| format!("Retry-After: {seconds}\r\n"));
            let body = error_document(request, code);
            let head = format!(
                "HTTP/1.1 {code} Injected\r\nContent-Type: application/xml\r\n{}\
                 Connection: close\r\nContent-Length: {}\r\n\r\n",
                wait.unwrap_or_default(),
                body.len()
            );
            client.write_all(head.as_bytes()).await?;
            if request.method() != "HEAD" {
                client.write_all(body.as_bytes()).await?;
            }
            client.shutdown().await
        }
        Fault::ErrorInside => {
            let body = error_document(request, 500);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            client.write_all(head.as_bytes()).await?;
            client.shutdown().await
        }
        Fault::AnswerLost => {
            ask(upstream, request, &[]).await?;
            reset(client).await
        }
        Fault::Reset => {
            let found = ask(upstream, request, &[]).await?;
            client.write_all(found.head.as_bytes()).await?;
            client.write_all(&found.body[..found.body.len() / 2]).await?;
            client.flush().await?;
            reset(client).await
        }
        Fault::ShortBody => {
            let found = ask(upstream, request, &[]).await?;
            let head = found.without_headers(&["content-length", "transfer-encoding"]);
            let head = format!(
                "{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                head.trim_end(),
                found.body.len() + 100
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(&found.body).await?;
            client.shutdown().await
        }
        // what spoils only requests was dealt with before
        Fault::Silence | Fault::ConditionsIgnored => until_gone(client).await,
        Fault::Drip => {
            let found = ask(upstream, request, &[]).await?;
            let bytes = [found.head.as_bytes(), &found.body].concat();
            for byte in bytes {
                client.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
    }
}

/// The error document of the protocol at hand, told by the request's headers.
fn error_document(request: &Message, code: u16) -> String {
    let name = match (request.header("x-ms-version").is_some(), code) {
        (true, 403) => "AuthorizationFailure",
        (true, 404) => "BlobNotFound",
        (true, 412) => "ConditionNotMet",
        (true, 429 | 503) => "ServerBusy",
        (true, _) => "InternalError",
        (false, 403) => "AccessDenied",
        (false, 404) => "NoSuchKey",
        (false, 412) => "PreconditionFailed",
        (false, 429 | 503) => "SlowDown",
        (false, _) => "InternalError",
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{name}</Code>\
         <Message>injected</Message></Error>"
    )
}

/// Ends a connection the hard way.
async fn reset(client: TcpStream) -> io::Result<()> {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))
}

/// Holds a connection until the other side gives up.
async fn until_gone(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Passes a request on, without some headers; gives the server's answer.
async fn ask(upstream: SocketAddr, request: &Message, left_out: &[&str]) -> io::Result<Message> {
    let mut server = TcpStream::connect(upstream).await?;
    let left_out = [left_out, &["connection", "expect"]].concat();
    let head = request.without_headers(&left_out);
    let head = format!("{}\r\nConnection: close\r\n\r\n", head.trim_end());
    server.write_all(head.as_bytes()).await?;
    server.write_all(&request.body).await?;
    loop {
        let head = read_head(&mut server).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let found = Message { head, body: Vec::new() };
        let status = found.target();
        if status == "100" {
            continue;
        }
        let is_bodiless = request.method() == "HEAD" || matches!(status, "204" | "304");
        let body = match is_bodiless {
            true => Vec::new(),
            false => read_body(&mut server, &found, true).await?,
        };
        return Ok(Message { body, ..found });
    }
}

/// Passes an answer on.
async fn answer(client: &mut TcpStream, found: &Message) -> io::Result<()> {
    let head = found.without_headers(&["connection"]);
    // a body that ended with the connection needs a length now that the connection goes on
    let has_length = found.header("content-length").is_some()
        || found.header("transfer-encoding").is_some()
        || matches!(found.target(), "204" | "304");
    let head = match has_length {
        true => head,
        false => format!("{}\r\nContent-Length: {}\r\n\r\n", head.trim_end(), found.body.len()),
    };
    client.write_all(head.as_bytes()).await?;
    client.write_all(&found.body).await?;
    client.flush().await
}

const HEAD_BYTES_MAX: usize = 64 << 10;

/// The next message up to its empty line; `None` if the connection ended before it.
async fn read_head(from: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        // byte by byte: what follows belongs to somebody else; slow and simple
        match from.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    String::from_utf8(head).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The content of a message; that of an answer may end with the connection.
async fn read_body(
    from: &mut TcpStream,
    message: &Message,
    is_answer: bool,
) -> io::Result<Vec<u8>> {
    if let Some(length) = message.header("content-length") {
        let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        from.read_exact(&mut body).await?;
        return Ok(body);
    }
    let mut body = Vec::new();
    if message.header("transfer-encoding").is_some_and(|how| how.contains("chunked")) {
        read_chunks(from, &mut body).await?;
    } else if is_answer {
        from.read_to_end(&mut body).await?;
    }
    Ok(body)
}

/// Chunks up to the empty one and the trailers behind it, as they came.
async fn read_chunks(from: &mut TcpStream, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(from, body).await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if length == 0 {
            while !read_line(from, body).await?.is_empty() {}
            return Ok(());
        }
        let start = body.len();
        body.resize(start + length + 2, 0);
        from.read_exact(&mut body[start..]).await?;
    }
}

/// A line, which is added to `body` too; without its end.
async fn read_line(from: &mut TcpStream, body: &mut Vec<u8>) -> io::Result<String> {
    let start = body.len();
    while !body[start..].ends_with(b"\r\n") {
        body.push(from.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&body[start..body.len() - 2]).into_owned())
}
