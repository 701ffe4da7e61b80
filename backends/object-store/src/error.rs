//! What a store's errors mean.
//!
//! `object_store` has few kinds; the rest is a generic one whose text holds the HTTP status, or
//! whose causes hold an error of the system. Both are looked for.

use std::io;

use object_store::Error;
use strongroom_core::target::{Operation, TargetError, TargetErrorKind as Kind};

/// How much of an answer's text is repeated.
const TEXT_CHARS_MAX: usize = 500;

/// Says what `error` means.
pub(crate) fn failed(operation: Operation, error: Error) -> TargetError {
    let (kind, text) = match &error {
        Error::NotFound { .. } => (Kind::NotFound, "there is no such object".to_owned()),
        Error::AlreadyExists { .. } => {
            (Kind::AlreadyExists, "there is an object of this name".to_owned())
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            (Kind::Denied, text_of(&error))
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            (Kind::Unsupported, text_of(&error))
        }
        Error::InvalidPath { .. } | Error::UnknownConfigurationKey { .. } => {
            (Kind::Invalid, text_of(&error))
        }
        // A condition that we did not set, or somebody who changes the same object right now.
        Error::Precondition { .. } | Error::NotModified { .. } => {
            (Kind::Unavailable, text_of(&error))
        }
        _ => (generic(&error), text_of(&error)),
    };
    let failed = TargetError::new(kind, operation, text);
    match kind {
        Kind::Denied => failed.hint("check the credentials of the store and their rights"),
        _ => failed,
    }
}

fn generic(error: &Error) -> Kind {
    if let Some(kind) = io_kind(error) {
        return kind;
    }
    let text = text_of(error).to_ascii_lowercase();
    if let Some(status) = status_in(&text) {
        return by_status(status);
    }
    let is_network = ["error sending request", "http error", "timed out", "connection"];
    match is_network.iter().any(|sign| text.contains(sign)) {
        true => Kind::Unavailable,
        false => Kind::Unexpected,
    }
}

/// The status that the text of `object_store`'s HTTP client names.
fn status_in(text: &str) -> Option<u16> {
    let (_, after) = text.split_once("status code: ")?;
    after.get(..3)?.parse().ok()
}

fn by_status(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        408 | 409 | 412 => Kind::Unavailable,
        429 | 503 => Kind::Throttled,
        501 => Kind::Unsupported,
        507 => Kind::Full,
        500..=599 => Kind::Unavailable,
        400..=499 => Kind::Invalid,
        _ => Kind::Unexpected,
    }
}

/// Whether a store of folders was asked to delete one of them, which is no object.
pub(crate) fn is_folder(error: &Error) -> bool {
    io_cause(error) == Some(io::ErrorKind::IsADirectory)
}

fn io_kind(error: &Error) -> Option<Kind> {
    match io_cause(error)? {
        io::ErrorKind::NotFound => Some(Kind::NotFound),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(Kind::Denied),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Kind::Full),
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut
        | io::ErrorKind::UnexpectedEof => Some(Kind::Unavailable),
        _ => None,
    }
}

/// The first error of the system among the causes.
fn io_cause(error: &Error) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        next = error.source();
    }
    None
}

/// The texts of the chain, each said once, on one line.
fn text_of(error: &Error) -> String {
    let mut whole = String::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !whole.contains(&text) {
            let gap = if whole.is_empty() { "" } else { ": " };
            whole = format!("{whole}{gap}{text}");
        }
        next = error.source();
    }
    whole.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic_error(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Generic { store: "X", source: source.into() }
    }

    #[test]
    fn status_and_system_errors_are_found_in_generic_ones() {
        let io = |kind| generic_error(io::Error::from(kind));
        for (error, kind, is_retryable) in [
            (generic_error("Server returned non-2xx status code: 503 x: y"), Kind::Throttled, true),
            (generic_error("status code: 502 Bad Gateway"), Kind::Unavailable, true),
            (generic_error("status code: 416 Range"), Kind::Invalid, false),
            (generic_error("HTTP error: error sending request"), Kind::Unavailable, true),
            (generic_error("who knows"), Kind::Unexpected, false),
            (io(io::ErrorKind::StorageFull), Kind::Full, false),
            (io(io::ErrorKind::ConnectionReset), Kind::Unavailable, true),
            (io(io::ErrorKind::PermissionDenied), Kind::Denied, false),
        ] {
            let text = error.to_string();
            let error = failed(Operation::Get, error);
            assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{text}");
        }
    }
}
