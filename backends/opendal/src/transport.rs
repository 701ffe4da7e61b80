//! The HTTP client under OpenDAL: own CA, time to connect, a count of requests, a move that must
//! not overwrite, and an upload whose body is a stream. Answers that mean the same everywhere are
//! told apart here, as OpenDAL's services drop the status; so are successes that are none. Knows
//! no service by name and no object.

use std::{
    error::Error,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{TryStreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;
use strongroom_backend_support::invalid;
use strongroom_core::target::TargetResult;

use crate::{error::CUT_LISTING, pipe::Body};

const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

const NO_ANSWER: &str = "a success that is none: not what WebDAV servers answer";

/// The header by which a WebDAV move may or may not replace what is there.
const OVERWRITE: &str = "overwrite";

/// What may stand at the end of a listing: its closing tag and some space.
const END_OF_LISTING_LEN: usize = 200;

/// How many requests went over the wire.
pub(crate) type RequestCount = Arc<AtomicU64>;

/// A client that counts.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: reqwest::Client,
    requests: RequestCount,
    is_exclusive: bool,
    /// What the next `PUT` carries in the place of its own body.
    carried: Option<Body>,
}

impl Transport {
    /// A client that trusts the usual authorities, and those in `ca_file`.
    pub(crate) fn new(ca_file: Option<&Path>, requests: RequestCount) -> TargetResult<Self> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            // other crates may have built these in: lengths must be those of the objects
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd();
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|error| {
                invalid("the file of ca-file cannot be read").at(path.display()).because(error)
            })?;
            let authorities = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| {
                invalid("the file of ca-file has no certificates").at(path.display()).because(error)
            })?;
            builder = builder.tls_certs_merge(authorities);
        }
        let client = builder
            .build()
            .map_err(|error| invalid("the HTTP client cannot be made").because(error))?;
        Ok(Self { client, requests, is_exclusive: false, carried: None })
    }

    /// The same client, whose moves never overwrite.
    pub(crate) fn exclusive(&self) -> Self {
        Self { is_exclusive: true, ..self.clone() }
    }

    /// The same client, whose one `PUT` carries `body`.
    pub(crate) fn carrying(&self, body: Body) -> Self {
        Self { carried: Some(body), ..self.clone() }
    }

    async fn send(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        match &self.carried {
            Some(body) if request.method() == Method::PUT => {
                // Sending the empty body in its place would be a lie.
                let taken = body.take().ok_or_else(|| {
                    opendal::Error::new(ErrorKind::Unexpected, "a stream cannot be sent twice")
                })?;
                let stream = reqwest::Body::wrap_stream(taken);
                stream_body(&self.client, request, stream, body.length()).await
            }
            _ => ReqwestTransport::new(self.client.clone()).fetch(request).await,
        }
    }
}

/// Sends `request` with another body: in chunks, unless its length is known.
async fn stream_body(
    client: &reqwest::Client,
    request: Request<Buffer>,
    body: reqwest::Body,
    length: Option<u64>,
) -> opendal::Result<Response<HttpBody>> {
    let failed = |error: reqwest::Error| {
        opendal::Error::new(ErrorKind::Unexpected, "the upload failed")
            .set_temporary()
            .set_source(error.without_url())
    };
    let (mut parts, _) = request.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let uri = parts.uri.clone();
    let request = Request::from_parts(parts, body).try_into().map_err(failed)?;
    let mut answer = client.execute(request).await.map_err(failed)?;
    let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
    let pieces = answer.bytes_stream().map_ok(Buffer::from).map_err(failed);
    let mut response = Response::new(HttpBody::new(pieces, None));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.extensions_mut().insert(uri);
    Ok(response)
}

impl HttpTransport for Transport {
    async fn fetch(&self, mut request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.is_exclusive && request.headers().contains_key(OVERWRITE) {
            request.headers_mut().insert(OVERWRITE, HeaderValue::from_static("F"));
        }
        let response = match Expected::of(&request) {
            Expected::Anything => self.send(request).await?,
            Expected::Listing => {
                let again = copy(&request);
                let mut response = self.send(request).await?;
                if response.status() == StatusCode::NOT_FOUND {
                    // taken for an empty folder: one stray answer must not hide what is in it
                    self.requests.fetch_add(1, Ordering::Relaxed);
                    response = self.send(again).await?;
                }
                multi_status(response).await?
            }
            Expected::Properties => multi_status(self.send(request).await?).await?,
            Expected::Change => {
                let response = self.send(request).await?;
                if response.status() == StatusCode::OK {
                    return Err(no_answer());
                }
                response
            }
        };
        match Refusal::of(response.status(), response.headers()) {
            None => Ok(response),
            Some(refusal) => {
                let error = opendal::Error::new(ErrorKind::Unexpected, "the server refuses");
                Err(error.set_source(refusal))
            }
        }
    }
}

/// What a WebDAV server may answer to a request (RFC 4918); all other protocols may anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Anything,
    /// 207 with what is in a folder, or a refusal.
    Listing,
    /// 207 with what is known of one thing, or a refusal.
    Properties,
    /// 201, 204, or a refusal: never 200.
    Change,
}

impl Expected {
    fn of(request: &Request<Buffer>) -> Self {
        let is_one = request.headers().get("depth").is_some_and(|depth| depth == "0");
        match request.method().as_str() {
            "PROPFIND" if is_one => Self::Properties,
            "PROPFIND" => Self::Listing,
            "MOVE" | "COPY" | "MKCOL" => Self::Change,
            _ => Self::Anything,
        }
    }
}

fn copy(request: &Request<Buffer>) -> Request<Buffer> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// Something between us and the server answered in its place.
fn no_answer() -> opendal::Error {
    opendal::Error::new(ErrorKind::Unexpected, NO_ANSWER).set_temporary()
}

/// Of all successes only 207 is an answer to PROPFIND.
async fn multi_status(response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    match response.status() {
        StatusCode::MULTI_STATUS => whole_listing(response).await,
        status if status.is_success() => Err(no_answer()),
        _ => Ok(response),
    }
}

/// The same listing, made sure to be whole. A server that stumbles half-way (over an object that
/// was removed meanwhile) cannot take back the status: some end the document properly and write
/// what went wrong behind it.
async fn whole_listing(response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
    let (parts, mut body) = response.into_parts();
    let listing = body.to_buffer().await?;
    let tail = listing.slice(listing.len().saturating_sub(END_OF_LISTING_LEN)..).to_bytes();
    if !String::from_utf8_lossy(&tail).trim_end().ends_with("multistatus>") {
        return Err(opendal::Error::new(ErrorKind::Unexpected, CUT_LISTING).set_temporary());
    }
    let length = listing.len() as u64;
    let body = HttpBody::new(stream::iter([Ok(listing)]), Some(length));
    Ok(Response::from_parts(parts, body))
}

/// An answer that says the same whoever asked for whatever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// The refusal that `error` comes from.
    pub(crate) fn behind(error: &opendal::Error) -> Option<Self> {
        let mut causes = std::iter::successors(error.source(), |cause| Error::source(*cause));
        causes.find_map(|cause| cause.downcast_ref::<Self>().copied())
    }

    /// True if another request has the place locked at this moment.
    pub(crate) fn is_locked(error: &opendal::Error) -> bool {
        Self::behind(error).is_some_and(|refusal| refusal.status == StatusCode::LOCKED)
    }

    fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let seconds = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let is_refusal = match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::LOCKED
            | StatusCode::LENGTH_REQUIRED
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INSUFFICIENT_STORAGE => true,
            StatusCode::SERVICE_UNAVAILABLE => seconds.is_some(),
            _ => false,
        };
        is_refusal.then_some(Self { status, retry_after: seconds })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)
    }
}

impl Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_mean_the_same_everywhere_are_told_apart() {
        let mut headers = HeaderMap::new();
        assert_eq!(Refusal::of(StatusCode::NOT_FOUND, &headers), None);
        assert_eq!(Refusal::of(StatusCode::SERVICE_UNAVAILABLE, &headers), None);
        assert!(Refusal::of(StatusCode::UNAUTHORIZED, &headers).is_some());
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("7"));
        let refusal = Refusal::of(StatusCode::SERVICE_UNAVAILABLE, &headers).unwrap();
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(7)));
    }
}
