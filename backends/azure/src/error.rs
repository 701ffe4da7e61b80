//! What Azure's errors mean: the code of the answer, else its status, else how the line broke.
//!
//! Knows no call; what an error means in one place only (a create that finds the name taken, a
//! range past the end) is decided there.

use std::time::Duration;

use azure_core::{
    Error,
    error::ErrorKind,
    http::{RawResponse, StatusCode, headers::HeaderName},
};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind as Kind};

/// The longest wait that an answer is believed.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// How much of an answer's text is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// The service's code for an error, such as `BlobNotFound`.
pub(crate) fn code(error: &Error) -> &str {
    match error.kind() {
        ErrorKind::HttpResponse { error_code: Some(code), .. } => code,
        _ => "",
    }
}

/// The status of the answer, or 0 where there was none.
pub(crate) fn status(error: &Error) -> u16 {
    error.http_status().map_or(0, u16::from)
}

/// Whether an object is missing, and not the whole container.
pub(crate) fn is_missing(error: &Error) -> bool {
    status(error) == 404 && !code(error).starts_with("Container")
}

/// Whether a create found the name taken: 409 where the service checks early, else 412.
pub(crate) fn is_taken(error: &Error) -> bool {
    matches!(code(error), "BlobAlreadyExists" | "ConditionNotMet") || status(error) == 412
}

/// Says what `error` means; `credential` is what was used, for hints.
pub(crate) fn failed(operation: Operation, error: Error, credential: &'static str) -> TargetError {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind().clone() else {
        return broken(operation, error, credential);
    };
    let code = error_code.unwrap_or_default();
    let raw = raw_response.as_deref();
    let (kind, is_retryable) = meaning(u16::from(status), &code);
    let mut failed = TargetError::new(kind, operation, told(status, &code, raw));
    if let Some(is_retryable) = is_retryable {
        failed = failed.retryable(is_retryable);
    }
    if let Some(wait) = raw.and_then(wait_asked) {
        failed = failed.retry_after(wait);
    }
    match hint(kind, &code, credential) {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// What a code or status means, and whether trying again helps where the kind does not say so.
fn meaning(status: u16, code: &str) -> (Kind, Option<bool>) {
    match code {
        "ContainerBeingDeleted" | "OperationTimedOut" | "InternalError" => {
            (Kind::Unavailable, None)
        }
        "BlobAlreadyExists" | "ContainerAlreadyExists" => (Kind::AlreadyExists, None),
        "ServerBusy" => (Kind::Throttled, None),
        "BlobImmutableDueToPolicy"
        | "AccountIsDisabled"
        | "LeaseIdMissing"
        | "BlobHasLegalHold" => (Kind::Denied, None),
        "BlobArchived" | "BlobBeingRehydrated" => (Kind::Unavailable, Some(false)),
        // The sum did not fit what arrived: a line that garbles, and the next try may be whole.
        "Md5Mismatch" | "Crc64Mismatch" => (Kind::Corrupt, Some(true)),
        "SnapshotsPresent" | "InvalidBlobType" => (Kind::Unexpected, None),
        "FeatureVersionMismatch" | "UnsupportedHeader" | "UnsupportedHttpVerb" => {
            (Kind::Unsupported, None)
        }
        _ => by_status(status),
    }
}

fn by_status(status: u16) -> (Kind, Option<bool>) {
    match status {
        404 => (Kind::NotFound, None),
        401 | 403 | 407 => (Kind::Denied, None),
        429 | 503 => (Kind::Throttled, None),
        501 => (Kind::Unsupported, None),
        507 => (Kind::Full, None),
        408 | 500..=599 => (Kind::Unavailable, None),
        // Somebody else changes the same thing at this moment.
        409 | 412 => (Kind::Unavailable, None),
        400 | 405 | 411 | 413 | 414 | 416 => (Kind::Invalid, None),
        _ => (Kind::Unexpected, None),
    }
}

fn hint(kind: Kind, code: &str, credential: &str) -> Option<String> {
    Some(match (code, kind) {
        ("ContainerNotFound", _) => {
            "check the name of the container and the account, or create the container".to_owned()
        }
        ("BlobImmutableDueToPolicy" | "BlobHasLegalHold", _) => {
            "the object is protected until its retention ends".to_owned()
        }
        ("BlobArchived" | "BlobBeingRehydrated", _) => {
            "the object lies in the archive tier: set its tier to Hot or Cool, which takes hours"
                .to_owned()
        }
        ("AuthorizationPermissionMismatch", _) => format!(
            "{credential} was accepted but lacks a right; see the permissions this storage needs"
        ),
        ("LeaseIdMissing", _) => "somebody holds a lease on it: break the lease".to_owned(),
        ("SnapshotsPresent", _) => {
            "the object has snapshots, which are not ours: remove them".to_owned()
        }
        (_, Kind::Denied) => {
            format!(
                "{credential} was used: check it, the account's firewall and this machine's clock"
            )
        }
        _ => return None,
    })
}

/// The code, the first line of the message, and the id under which Azure's support finds it.
fn told(status: StatusCode, code: &str, raw: Option<&RawResponse>) -> String {
    let mut text = format!("{} {code}", u16::from(status)).trim_end().to_owned();
    let Some(raw) = raw else { return text };
    if let Some(message) = message(raw) {
        text = format!("{text}: {message}");
    }
    let id = HeaderName::from_static("x-ms-request-id");
    match raw.headers().get_optional_str(&id) {
        Some(id) => format!("{text} (request {id})"),
        None => text,
    }
}

fn message(raw: &RawResponse) -> Option<String> {
    let body = String::from_utf8_lossy(raw.body().as_ref());
    let (_, after) = body.split_once("<Message>")?;
    let line = after.split("</Message>").next()?.lines().next()?.trim().trim_end_matches('.');
    Some(line.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect())
}

fn wait_asked(raw: &RawResponse) -> Option<Duration> {
    let number = |name: &'static str| -> Option<u64> {
        raw.headers().get_optional_str(&HeaderName::from_static(name))?.trim().parse().ok()
    };
    let millis = number("x-ms-retry-after-ms").or_else(|| number("retry-after-ms"));
    let wait = millis.map(Duration::from_millis);
    wait.or_else(|| number("retry-after").map(Duration::from_secs)).map(|wait| wait.min(WAIT_MAX))
}

/// There was no answer, or none that could be read.
fn broken(operation: Operation, error: Error, credential: &'static str) -> TargetError {
    let causes = causes(&error);
    let text = causes.join(": ");
    let is_network = matches!(error.kind(), ErrorKind::Connection | ErrorKind::Io)
        || causes.iter().any(|cause| cause.contains("error sending request"));
    if text.contains("certificate") {
        return TargetError::new(Kind::Unavailable, operation, text)
            .retryable(false)
            .hint("name the authority that signed the server's certificate with ca-file=");
    }
    if is_network {
        return TargetError::new(Kind::Unavailable, operation, text);
    }
    match error.kind() {
        ErrorKind::Credential => TargetError::new(Kind::Denied, operation, text).hint(format!(
            "no {}: set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or \
                           AZURE_STORAGE_CONNECTION_STRING, or log in with \"az login\"",
            credential.trim_start_matches("a ")
        )),
        // Half an answer, or one of a proxy.
        ErrorKind::DataConversion => TargetError::new(Kind::Unavailable, operation, text),
        _ => TargetError::new(Kind::Unexpected, operation, text),
    }
}

/// All texts of the chain, outermost first, those left out that repeat what was said.
fn causes(error: &Error) -> Vec<String> {
    let mut texts = Vec::<String>::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

#[cfg(test)]
mod tests {
    use azure_core::http::headers::Headers;

    use super::*;

    fn answer(status: u16, code: &str, headers: &[(&'static str, &'static str)]) -> Error {
        let mut all = Headers::new();
        for (name, value) in headers {
            all.insert(*name, *value);
        }
        let body = format!("<Error><Code>{code}</Code><Message>Text.\nTime:x</Message></Error>");
        let raw = RawResponse::from_bytes(StatusCode::from(status), all, body.into_bytes());
        let kind = ErrorKind::HttpResponse {
            status: StatusCode::from(status),
            error_code: Some(code.to_owned()).filter(|code| !code.is_empty()),
            raw_response: Some(Box::new(raw)),
        };
        kind.into_error()
    }

    #[test]
    fn every_answer_has_a_meaning() {
        for (status, code, kind, is_retryable) in [
            (404, "BlobNotFound", Kind::NotFound, false),
            (404, "ContainerNotFound", Kind::NotFound, false),
            (409, "ContainerBeingDeleted", Kind::Unavailable, true),
            (409, "BlobAlreadyExists", Kind::AlreadyExists, false),
            (409, "BlobArchived", Kind::Unavailable, false),
            (409, "BlobImmutableDueToPolicy", Kind::Denied, false),
            (403, "AuthenticationFailed", Kind::Denied, false),
            (403, "AuthorizationFailure", Kind::Denied, false),
            (401, "", Kind::Denied, false),
            (429, "", Kind::Throttled, true),
            (503, "ServerBusy", Kind::Throttled, true),
            (500, "InternalError", Kind::Unavailable, true),
            (500, "OperationTimedOut", Kind::Unavailable, true),
            (400, "Md5Mismatch", Kind::Corrupt, true),
            (501, "APINotImplemented", Kind::Unsupported, false),
            (400, "InvalidHeaderValue", Kind::Invalid, false),
            (302, "", Kind::Unexpected, false),
        ] {
            let error = failed(Operation::Get, answer(status, code, &[]), "the account key");
            assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{code}");
        }
    }

    #[test]
    fn hints_name_the_credential_and_waits_are_kept() {
        let denied = answer(403, "AuthenticationFailed", &[("x-ms-request-id", "7")]);
        let error = failed(Operation::Put, denied, "the SAS token");
        assert!(error.hint_text().unwrap().contains("the SAS token"));
        assert_eq!(error.to_string(), "put: 403 AuthenticationFailed: Text (request 7)");
        let busy = failed(Operation::Put, answer(503, "", &[("retry-after", "9")]), "");
        assert_eq!(busy.wait_asked(), Some(Duration::from_secs(9)));
        let busy = failed(Operation::Put, answer(503, "", &[("x-ms-retry-after-ms", "20")]), "");
        assert_eq!(busy.wait_asked(), Some(Duration::from_millis(20)));
    }
}
