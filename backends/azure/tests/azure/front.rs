//! A small HTTP server in this process: answers by itself, or stands in front of the emulator and
//! loses what it is told to lose.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    raw_head: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name)?;
        Some(&found.1)
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// The server behind answers.
    Pass,
    /// The server behind carries it out, and nobody hears the answer.
    LoseAnswer,
    /// The connection ends before the request is carried out.
    Drop,
    /// Status, headers (each line ended), body.
    Answer(u16, String, Vec<u8>),
    /// The head promises more bytes than come.
    Short(u16, String, Vec<u8>, usize),
}

type Plan = Box<dyn FnMut(&Seen) -> Action + Send>;

/// The server; ends with the runtime of its test.
pub struct Front {
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Front {
    /// A server in front of `behind` (host and port), doing what `plan` says.
    pub async fn start(
        behind: Option<String>,
        plan: impl FnMut(&Seen) -> Action + Send + 'static,
    ) -> Self {
        Self::start_over(None, behind, plan).await
    }

    /// The same, over TLS if there is an acceptor.
    pub async fn start_over(
        tls: Option<TlsAcceptor>,
        behind: Option<String>,
        plan: impl FnMut(&Seen) -> Action + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let plan: Arc<Mutex<Plan>> = Arc::new(Mutex::new(Box::new(plan)));
        let all = seen.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (behind, plan, seen) = (behind.clone(), plan.clone(), all.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    let _ = match tls {
                        None => serve(connection, behind, plan, seen).await,
                        Some(tls) => serve(tls.accept(connection).await?, behind, plan, seen).await,
                    };
                    std::io::Result::Ok(())
                });
            }
        });
        Self { address, seen }
    }

    /// A server that gives `answers` in turn, and then the last one for ever.
    pub async fn answering(answers: Vec<Action>) -> Self {
        let mut answers: VecDeque<_> = answers.into();
        Self::start(None, move |_| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        })
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve<C: AsyncRead + AsyncWrite + Unpin>(
    mut connection: C,
    behind: Option<String>,
    plan: Arc<Mutex<Plan>>,
    all: Arc<Mutex<Vec<Seen>>>,
) -> std::io::Result<()> {
    let Some(seen) = read_request(&mut connection).await? else { return Ok(()) };
    let action = plan.lock().unwrap()(&seen);
    all.lock().unwrap().push(seen.clone());
    match action {
        Action::Drop => {}
        Action::Pass => {
            let answer = forward(&behind.unwrap(), &seen).await?;
            connection.write_all(&answer).await?;
        }
        Action::LoseAnswer => {
            forward(&behind.unwrap(), &seen).await?;
        }
        Action::Answer(status, headers, body) => {
            let length = body.len();
            connection.write_all(&answer(status, &headers, &body, length)).await?;
        }
        Action::Short(status, headers, body, promised) => {
            connection.write_all(&answer(status, &headers, &body, promised)).await?;
        }
    }
    connection.shutdown().await
}

fn answer(status: u16, headers: &str, body: &[u8], length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// One request; `None` if the connection ends before it is whole.
async fn read_request<C: AsyncRead + Unpin>(connection: &mut C) -> std::io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if connection.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let raw_head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = raw_head.lines();
    let mut first = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned);
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Seen { method, target, headers, body, raw_head }))
}

/// The server's whole answer, as it came.
async fn forward(behind: &str, seen: &Seen) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(behind).await?;
    let head = seen.raw_head.trim_end();
    upstream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    upstream.write_all(&seen.body).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    Ok(answer)
}
