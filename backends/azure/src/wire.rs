//! The HTTP client under the SDK: counts requests, notices silence, keeps URLs out of errors.
//!
//! The SDK's own client waits a minute for every answer from the first byte it sends, which ends
//! slow uploads and lets a trickle go on for ever. Here a request may take as long as it likes
//! while bytes move. Knows nothing of blobs.

use std::{
    fmt,
    future::Future,
    path::Path,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, HttpClient, Method, Request,
        headers::{HeaderName, HeaderValue, Headers},
        response::PinnedStream,
    },
};
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    future::{Either, select},
    stream,
};
use strongroom_backend_support::invalid;
use strongroom_core::target::TargetResult;
use tokio::time::{Instant, sleep_until};

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Servers close connections that nobody uses, some after five seconds, and a request that is sent
/// at that moment fails. So we are the first to close them.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3);

/// Within this time at least [`PROGRESS_BYTES`] move in either direction, or the request ends.
const SILENCE_MAX: Duration = Duration::from_secs(40);

/// What counts as progress: a server that sends a byte a second makes none.
const PROGRESS_BYTES: u64 = 4 << 10;

/// How much of a body is handed over at once, so that progress is seen.
const CHUNK_BYTES: usize = 64 << 10;

/// One client for all requests of a target.
pub(crate) struct Wire {
    client: reqwest::Client,
    requests: AtomicU64,
    silence_max: Duration,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl Wire {
    /// A client that also trusts the certificates in `ca_file` (PEM).
    pub(crate) fn new(ca_file: Option<&Path>) -> TargetResult<Self> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .pool_idle_timeout(IDLE_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_gzip()
            .no_deflate();
        if let Some(path) = ca_file {
            let unreadable = || invalid("the file that ca-file names has no certificates");
            let pem = std::fs::read(path)
                .map_err(|error| unreadable().at(path.display()).because(error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|error| unreadable().at(path.display()).because(error))?;
            if certificates.is_empty() {
                return Err(unreadable().at(path.display()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder
            .build()
            .map_err(|error| invalid("the HTTP client cannot be set up").because(error))?;
        Ok(Self { client, requests: AtomicU64::new(0), silence_max: SILENCE_MAX })
    }

    /// How many requests went out.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn build(
        &self,
        request: &Request,
        progress: &Arc<Progress>,
    ) -> azure_core::Result<reqwest::RequestBuilder> {
        let mut built = self.client.request(method_of(request.method())?, request.url().clone());
        for (name, value) in request.headers().iter().filter(|(name, _)| !is_length(name)) {
            built = built.header(name.as_str(), value.as_str());
        }
        let has_body = matches!(request.method(), Method::Put | Method::Post | Method::Patch);
        match request.body().len() {
            Some(0) | None if !has_body => return Ok(built),
            Some(length) => built = built.header("content-length", length),
            None => {}
        }
        Ok(built.body(match request.body() {
            Body::Bytes(bytes) if bytes.is_empty() => reqwest::Body::from(Bytes::new()),
            Body::Bytes(bytes) => {
                reqwest::Body::wrap_stream(watched_body(slices(bytes.clone()), progress.clone()))
            }
            Body::SeekableStream(stream) => {
                reqwest::Body::wrap_stream(watched_body(stream.clone(), progress.clone()))
            }
        }))
    }
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let progress = Arc::new(Progress::begin(self.silence_max));
        let built = self.build(request, &progress)?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let response = watch(built.send(), &progress).await?.map_err(failed)?;
        let status = response.status().as_u16().into();
        let headers = headers_of(response.headers());
        let chunks = Box::pin(response.bytes_stream());
        let body: PinnedStream = Box::pin(stream::unfold(Some((chunks, progress)), next_chunk));
        Ok(AsyncRawResponse::new(status, headers, body))
    }
}

/// The next chunk of an answer, and what is needed for the one after it.
async fn next_chunk<S>(
    state: Option<(S, Arc<Progress>)>,
) -> Option<(azure_core::Result<Bytes>, Option<(S, Arc<Progress>)>)>
where
    S: Stream<Item = reqwest::Result<Bytes>> + Unpin,
{
    let (mut chunks, progress) = state?;
    match watch(chunks.next(), &progress).await {
        Err(silence) => Some((Err(silence), None)),
        Ok(None) => None,
        Ok(Some(Err(error))) => Some((Err(failed(error)), None)),
        Ok(Some(Ok(chunk))) => {
            progress.note(chunk.len());
            Some((Ok(chunk), Some((chunks, progress))))
        }
    }
}

/// Bytes that moved, and when there were last enough of them.
#[derive(Debug)]
struct Progress {
    silence_max: Duration,
    state: Mutex<(Instant, u64)>,
}

impl Progress {
    fn begin(silence_max: Duration) -> Self {
        Self { silence_max, state: Mutex::new((Instant::now(), 0)) }
    }

    fn note(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += bytes as u64;
        if state.1 >= PROGRESS_BYTES {
            *state = (Instant::now(), 0);
        }
    }

    /// When silence has lasted too long, as things stand.
    fn deadline(&self) -> Instant {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 + self.silence_max
    }
}

/// Waits for `work` as long as there is progress.
async fn watch<T>(work: impl Future<Output = T>, progress: &Progress) -> azure_core::Result<T> {
    let mut work = pin!(work);
    loop {
        let deadline = progress.deadline();
        match select(work.as_mut(), pin!(sleep_until(deadline))).await {
            Either::Left((done, _)) => return Ok(done),
            Either::Right(_) if progress.deadline() > deadline => {}
            Either::Right(_) => {
                let why = format!("the server was silent for {} s", progress.silence_max.as_secs());
                return Err(Error::with_message(ErrorKind::Io, why));
            }
        }
    }
}

fn slices(bytes: Bytes) -> impl Stream<Item = azure_core::Result<Bytes>> + Unpin {
    stream::iter((0..bytes.len()).step_by(CHUNK_BYTES).map(move |start| {
        let end = bytes.len().min(start + CHUNK_BYTES);
        Ok(bytes.slice(start..end))
    }))
}

fn watched_body(
    chunks: impl Stream<Item = azure_core::Result<Bytes>> + Unpin + Send + 'static,
    progress: Arc<Progress>,
) -> impl Stream<Item = azure_core::Result<Bytes>> + Send + 'static {
    chunks.inspect(move |chunk| {
        progress.note(chunk.as_ref().map_or(0, Bytes::len));
    })
}

/// The URL may hold a signature, and says nothing new.
fn failed(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_connect() {
        return Error::with_error(ErrorKind::Connection, error, "no connection");
    }
    Error::with_error(ErrorKind::Io, error, "the connection broke")
}

fn is_length(name: &HeaderName) -> bool {
    name.as_str().eq_ignore_ascii_case("content-length")
}

fn headers_of(map: &reqwest::header::HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        if let Ok(value) = value.to_str() {
            let name = HeaderName::from(name.as_str().to_owned());
            headers.insert(name, HeaderValue::from(value.to_owned()));
        }
    }
    headers
}

fn method_of(method: Method) -> azure_core::Result<reqwest::Method> {
    reqwest::Method::from_bytes(method.as_str().as_bytes())
        .map_err(|error| Error::new(ErrorKind::Other, error))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    /// A server whose one connection is treated by `serve`, and what became of a request to it.
    async fn outcome<F>(serve: impl FnOnce(TcpStream) -> F, body: Bytes) -> azure_core::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?sig=canary", listener.local_addr().unwrap());
        let wire = Wire { silence_max: SHORT, ..Wire::new(None).unwrap() };
        let mut request = Request::new(url.parse().unwrap(), Method::Put);
        request.set_body(body);
        let sent = async {
            let answer = wire.execute_request(&request).await?;
            answer.into_body().collect().await.map(|_| ())
        };
        let accepted =
            async { tokio::spawn(serve(listener.accept().await.unwrap().0)).abort_handle() };
        let (result, server) = futures::join!(sent, accepted);
        server.abort();
        assert_eq!(wire.requests(), 1);
        result
    }

    async fn read_head(connection: &mut TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_noticed() {
        let error = outcome(
            |mut connection| async move {
                read_head(&mut connection).await;
                std::future::pending().await
            },
            Bytes::new(),
        )
        .await
        .unwrap_err();
        assert!(error.to_string().contains("silent"), "{error}");
        assert!(!format!("{error:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_server_that_reads_nothing_is_noticed() {
        let error = outcome(
            |connection| async move {
                let _open = connection;
                std::future::pending().await
            },
            vec![0; 64 << 20].into(),
        )
        .await
        .unwrap_err();
        assert!(error.to_string().contains("silent"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_trickles_is_noticed() {
        let error = outcome(
            |mut connection| async move {
                read_head(&mut connection).await;
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
                connection.write_all(head).await.unwrap();
                let mut ticks = tokio::time::interval(SHORT / 10);
                loop {
                    ticks.tick().await;
                    if connection.write_all(b"x").await.is_err() {
                        return;
                    }
                }
            },
            Bytes::new(),
        )
        .await
        .unwrap_err();
        assert!(error.to_string().contains("silent"), "{error}");
    }

    #[tokio::test]
    async fn a_slow_server_that_goes_on_is_waited_for() {
        outcome(
            |mut connection| async move {
                read_head(&mut connection).await;
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n";
                connection.write_all(head).await.unwrap();
                let mut ticks = tokio::time::interval(SHORT / 10);
                for _ in 0..16 {
                    ticks.tick().await;
                    connection.write_all(&[0; 4096]).await.unwrap();
                }
                std::future::pending().await
            },
            Bytes::new(),
        )
        .await
        .unwrap();
    }
}
