//! A proxy in front of a server that loses answers, makes up others, or cuts them short.
//!
//! One request a connection: it tells the server to close, so that each request is seen.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::WriteHalf},
    task::JoinHandle,
};

/// What happens to a request whose first line begins as `on` says.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Method and a part of the path or query, such as `("PUT", "partNumber=2")`.
    pub on: (&'static str, &'static str),
    pub what: What,
    /// How many requests it hits.
    pub times: usize,
}

#[derive(Debug, Clone)]
pub enum What {
    /// The server does it, and nobody hears of it.
    LoseAnswer,
    /// The server never hears of it; the answer is this.
    Answer(String),
    /// Neither an answer nor an end.
    Silence,
    /// An answer of one byte a second.
    Trickle,
    /// The answer ends after so many bytes.
    Cut(usize),
    /// One byte of the answer, counted from its end, is another.
    Flip(usize),
}

impl What {
    /// An answer as S3 gives it.
    pub fn refusal(status: u16, headers: &str, code: &str) -> Self {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
        Self::xml(status, headers, &body)
    }

    pub fn xml(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Answer(format!(
            "HTTP/1.1 {status} Made Up\r\nContent-Type: application/xml\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ))
    }
}

/// The proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    pub endpoint: String,
    faults: Arc<Mutex<Vec<Fault>>>,
    hits: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server at `endpoint`.
    pub async fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("http://{}", listener.local_addr().unwrap());
        let upstream = endpoint.trim_start_matches("http://").to_owned();
        let faults = Arc::new(Mutex::new(Vec::<Fault>::new()));
        let hits = Arc::new(AtomicUsize::new(0));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (their_faults, their_hits) = (faults.clone(), hits.clone());
        let their_lines = lines.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (faults, hits) = (their_faults.clone(), their_hits.clone());
                let (upstream, lines) = (upstream.clone(), their_lines.clone());
                tokio::spawn(async move {
                    let _ = serve(client, &upstream, &faults, &hits, &lines).await;
                });
            }
        });
        Self { endpoint: here, faults, hits, lines, task }
    }

    pub fn add(&self, on: (&'static str, &'static str), what: What, times: usize) {
        self.faults.lock().unwrap().push(Fault { on, what, times });
    }

    /// How many requests met a fault.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// How many requests there were with this method and this in their path or query.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| is_meant(line, method, part)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn is_meant(line: &str, method: &str, part: &str) -> bool {
    line.split(' ').next() == Some(method) && line.contains(part)
}

fn take(faults: &Mutex<Vec<Fault>>, line: &str) -> Option<What> {
    let mut faults = faults.lock().unwrap();
    let at = faults.iter().position(|fault| is_meant(line, fault.on.0, fault.on.1))?;
    let what = faults[at].what.clone();
    faults[at].times -= 1;
    if faults[at].times == 0 {
        faults.remove(at);
    }
    Some(what)
}

async fn serve(
    mut client: TcpStream,
    upstream: &str,
    faults: &Mutex<Vec<Fault>>,
    hits: &AtomicUsize,
    lines: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let line = text.lines().next().unwrap_or_default().to_owned();
    lines.lock().unwrap().push(line.clone());
    let what = take(faults, &line);
    let is_endless = matches!(what, Some(What::Silence | What::Trickle));
    hits.fetch_add(usize::from(what.is_some() && !is_endless), Ordering::SeqCst);
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().ok())?
    });
    let (mut from_client, mut to_client) = client.split();
    let mut body = (&mut from_client).take(length.unwrap_or_default());
    if let Some(What::Answer(answer)) = &what {
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        to_client.write_all(answer.as_bytes()).await?;
        return to_client.shutdown().await;
    }
    if let Some(What::Silence | What::Trickle) = what {
        tokio::io::copy(&mut body, &mut tokio::io::sink()).await?;
        let is_silent = matches!(what, Some(What::Silence));
        hits.fetch_add(1, Ordering::SeqCst);
        return never_end(&mut to_client, is_silent).await;
    }
    let mut server = TcpStream::connect(upstream).await?;
    let head = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    tokio::io::copy(&mut body, &mut server).await?;
    let Some(what) = what else {
        tokio::io::copy(&mut server, &mut to_client).await?;
        return Ok(());
    };
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    match what {
        What::LoseAnswer | What::Answer(_) | What::Silence | What::Trickle => answer.clear(),
        What::Cut(bytes) => answer.truncate(bytes),
        What::Flip(from_end) => {
            let at = answer.len() - 1 - from_end;
            answer[at] ^= 0xff;
        }
    }
    to_client.write_all(&answer).await?;
    to_client.shutdown().await
}

/// Keeps the connection, and says nothing or next to nothing.
async fn never_end(client: &mut WriteHalf<'_>, is_silent: bool) -> std::io::Result<()> {
    if is_silent {
        std::future::pending::<()>().await;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await?;
    let mut seconds = tokio::time::interval(std::time::Duration::from_secs(1));
    loop {
        seconds.tick().await;
        client.write_all(b"x").await?;
    }
}
