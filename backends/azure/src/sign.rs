//! Signing requests: with an account key, which the SDK does not know, or a SAS token.
//!
//! As Microsoft documents it under "Authorize with Shared Key", for versions from 2015 on. Runs
//! once for each request that goes out. Knows no blob, no container and no configuration.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use async_trait::async_trait;
use azure_core::{
    Error,
    error::ErrorKind,
    http::{
        Context, Request,
        headers::HeaderName,
        policies::{Policy, PolicyResult},
    },
    time::{OffsetDateTime, to_rfc7231},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use strongroom_backend_support::Secret;
use url::Url;
use zeroize::Zeroizing;

/// What stands between the verb and the headers of the service in the signed text. The date is
/// left empty: `x-ms-date` takes its place.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs with the key of a storage account.
pub(crate) struct SharedKeyPolicy {
    account: String,
    key: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for SharedKeyPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedKeyPolicy").field("account", &self.account).finish_non_exhaustive()
    }
}

impl SharedKeyPolicy {
    /// `key` as the portal shows it: base64. `None` if it is not.
    pub(crate) fn new(account: &str, key: &Secret) -> Option<Self> {
        let key = Zeroizing::new(BASE64_STANDARD.decode(key.expose().trim()).ok()?);
        Some(Self { account: account.to_owned(), key })
    }

    /// Dates and signs `request`.
    fn sign(&self, request: &mut Request, now: OffsetDateTime) -> azure_core::Result<()> {
        request.insert_header("x-ms-date", to_rfc7231(&now));
        let text = string_to_sign(request, &self.account);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .map_err(|error| Error::new(ErrorKind::Credential, error))?;
        mac.update(text.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let authorization = format!("SharedKey {}:{signature}", self.account);
        request.insert_header("authorization", authorization);
        Ok(())
    }
}

#[async_trait]
impl Policy for SharedKeyPolicy {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        self.sign(request, OffsetDateTime::now_utc())?;
        pass_on(ctx, request, next).await
    }
}

/// Adds a shared access signature to every URL.
pub(crate) struct SasPolicy {
    token: Secret,
}

impl std::fmt::Debug for SasPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SasPolicy")
    }
}

impl SasPolicy {
    /// `token` with or without its question mark.
    pub(crate) fn new(token: &Secret) -> Self {
        Self { token: Secret::new(token.expose().trim().trim_start_matches('?')) }
    }
}

#[async_trait]
impl Policy for SasPolicy {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let query = match request.url().query() {
            Some(query) if !query.is_empty() => format!("{query}&{}", self.token.expose()),
            _ => self.token.expose().to_owned(),
        };
        request.url_mut().set_query(Some(&query));
        pass_on(ctx, request, next).await
    }
}

/// Gives the request to the policy that follows.
pub(crate) async fn pass_on(
    ctx: &Context<'_>,
    request: &mut Request,
    next: &[Arc<dyn Policy>],
) -> PolicyResult {
    match next {
        [first, rest @ ..] => first.send(ctx, request, rest).await,
        [] => Err(Error::with_message(ErrorKind::Other, "no transport follows the signature")),
    }
}

fn string_to_sign(request: &Request, account: &str) -> String {
    let mut text = request.method().as_str().to_owned();
    for name in SIGNED_HEADERS {
        text.push('\n');
        match name {
            // Not sent as a header before the transport, and signed as nothing where it is zero.
            "content-length" => {
                if let Some(length) = request.body().len().filter(|length| *length > 0) {
                    let _ = write!(text, "{length}");
                }
            }
            _ => text.push_str(header(request, name)),
        }
    }
    text.push('\n');
    text.push_str(&canonical_headers(request));
    text.push_str(&canonical_resource(request.url(), account));
    text
}

fn header<'a>(request: &'a Request, name: &'static str) -> &'a str {
    request.headers().get_optional_str(&HeaderName::from_static(name)).unwrap_or_default()
}

fn canonical_headers(request: &Request) -> String {
    let ours: BTreeMap<String, &str> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    ours.into_iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}:{value}");
        text
    })
}

/// The path exactly as it goes out, and the decoded parameters, sorted, equal names together.
fn canonical_resource(url: &Url, account: &str) -> String {
    let mut parameters = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in url.query_pairs() {
        parameters.entry(name.to_ascii_lowercase()).or_default().push(value.into_owned());
    }
    let mut text = format!("/{account}{}", url.path());
    for (name, mut values) in parameters {
        values.sort_unstable();
        let _ = write!(text, "\n{name}:{}", values.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;

    use super::*;

    fn request(url: &str, method: Method) -> Request {
        Request::new(Url::parse(url).unwrap(), method)
    }

    /// The first example of Microsoft's page.
    #[test]
    fn the_documented_example_is_signed_as_documented() {
        let url = "https://myaccount.blob.core.windows.net/mycontainer?restype=container\
                   &comp=metadata&timeout=20";
        let mut request = request(url, Method::Get);
        request.insert_header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        request.insert_header("x-ms-version", "2015-02-21");
        let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n\
                        x-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\n\
                        restype:container\ntimeout:20";
        assert_eq!(string_to_sign(&request, "myaccount"), expected);
    }

    #[test]
    fn lists_of_values_are_sorted_and_joined() {
        let url = Url::parse(
            "https://a.blob.core.windows.net/c?restype=container&comp=list&include=snapshots\
             &include=metadata&include=uncommittedblobs&prefix=a%2Fb",
        )
        .unwrap();
        let expected = "/a/c\ncomp:list\ninclude:metadata,snapshots,uncommittedblobs\n\
                        prefix:a/b\nrestype:container";
        assert_eq!(canonical_resource(&url, "a"), expected);
    }

    #[test]
    fn the_body_counts_and_headers_stand_in_their_places() {
        let mut request = request("http://127.0.0.1:10000/dev/c/a/b", Method::Put);
        request.set_body(bytes::Bytes::from_static(b"hello"));
        request.insert_header("content-md5", "XUFAKrxLKna5cZ2REBfFkg==");
        request.insert_header("content-type", "application/octet-stream");
        request.insert_header("if-none-match", "*");
        request.insert_header("x-ms-blob-type", "BlockBlob");
        let expected = "PUT\n\n\n5\nXUFAKrxLKna5cZ2REBfFkg==\napplication/octet-stream\n\
                        \n\n\n*\n\n\n\
                        x-ms-blob-type:BlockBlob\n/dev/dev/c/a/b";
        assert_eq!(string_to_sign(&request, "dev"), expected);
    }

    #[test]
    fn a_signature_is_the_same_for_the_same_moment_and_no_secret_is_printed() {
        let key = Secret::new(BASE64_STANDARD.encode(b"secret key"));
        let policy = SharedKeyPolicy::new("dev", &key).unwrap();
        let mut request = request("http://127.0.0.1/dev/c", Method::Get);
        policy.sign(&mut request, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(header(&request, "x-ms-date"), "Thu, 01 Jan 1970 00:00:00 GMT");
        let first = header(&request, "authorization").to_owned();
        assert!(first.starts_with("SharedKey dev:"));
        policy.sign(&mut request, OffsetDateTime::UNIX_EPOCH).unwrap();
        assert_eq!(header(&request, "authorization"), first);
        assert!(!format!("{policy:?}").contains("secret"));
        assert!(SharedKeyPolicy::new("dev", &Secret::new("not base64!")).is_none());
    }
}
