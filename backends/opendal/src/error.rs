//! From what OpenDAL and the libraries under it say to what it means for a caller.
//!
//! OpenDAL keeps few kinds, and drops what servers said into texts; what matters of these is told
//! apart here, in one table. Its context (URLs, headers) is left out: it may hold secrets.

use std::{error::Error, fmt, io};

use http::StatusCode;
use opendal::ErrorKind;
use strongroom_core::target::{Operation, TargetError, TargetErrorKind};

use crate::transport::Refusal;

/// What the transport says of a listing that ends before its end.
pub(crate) const CUT_LISTING: &str = "the listing was cut short";

/// Texts of answers that say nothing of the question. FTP's answer to a transfer that was given
/// up earlier on the same connection may come too late for OpenDAL to notice; until then the
/// connection counts as busy. It goes then, and on another one the question stands.
const VOID: [&str; 4] = ["[226]", "[426]", "Data connection is already open", CUT_LISTING];

/// True for an answer that says nothing of the question.
pub(crate) fn is_void(error: &TargetError) -> bool {
    let text = error.to_string();
    VOID.iter().any(|answer| text.contains(answer))
}

/// True for what a server says that stumbles over an object while it is replaced.
pub(crate) fn is_blink(error: &TargetError) -> bool {
    error.kind() == TargetErrorKind::NotFound || error.to_string().contains("Internal Server Error")
}

/// How much of the beginning, and of the end, of what a server said is worth keeping: `ssh` gives
/// its reason in the last line, others in the first.
const END_LEN_MAX: usize = 200;

/// What OpenDAL and the libraries below it said, without context.
#[derive(Debug)]
struct Said(String);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Said {}

/// The meaning of OpenDAL's error in `operation`.
pub(crate) fn mapped(operation: Operation, error: opendal::Error) -> TargetError {
    let refusal = Refusal::behind(&error);
    let said = what_was_said(&error);
    let (kind, hint) = match refusal {
        Some(refusal) => meaning_of_refusal(refusal),
        None => meaning(&error, &said.to_ascii_lowercase()),
    };
    let mut mapped =
        TargetError::new(kind, operation, summary(kind)).because(Said(both_ends(&said)));
    if let Some(hint) = hint {
        mapped = mapped.hint(hint);
    }
    match refusal.and_then(|refusal| refusal.retry_after) {
        Some(wait) => mapped.retry_after(wait),
        None => mapped,
    }
}

type Meaning = (TargetErrorKind, Option<&'static str>);

fn meaning_of_refusal(refusal: Refusal) -> Meaning {
    match refusal.status {
        StatusCode::UNAUTHORIZED => (TargetErrorKind::Denied, Some(HINT_CREDENTIALS)),
        StatusCode::LOCKED => (TargetErrorKind::Unavailable, None),
        StatusCode::LENGTH_REQUIRED => (TargetErrorKind::Unsupported, Some(HINT_CHUNKED)),
        StatusCode::PAYLOAD_TOO_LARGE => (TargetErrorKind::Unsupported, Some(HINT_TOO_LARGE)),
        StatusCode::INSUFFICIENT_STORAGE => (TargetErrorKind::Full, Some(HINT_ROOM)),
        _ => (TargetErrorKind::Throttled, None),
    }
}

fn meaning(error: &opendal::Error, said: &str) -> Meaning {
    if let Some((_, kind, hint)) = TEXTS.iter().find(|(text, ..)| said.contains(text)) {
        return (*kind, *hint);
    }
    let kind = match error.kind() {
        ErrorKind::NotFound => TargetErrorKind::NotFound,
        ErrorKind::AlreadyExists | ErrorKind::ConditionNotMatch => TargetErrorKind::AlreadyExists,
        ErrorKind::PermissionDenied => return (TargetErrorKind::Denied, Some(HINT_RIGHTS)),
        ErrorKind::RateLimited => TargetErrorKind::Throttled,
        ErrorKind::ConfigInvalid | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            TargetErrorKind::Invalid
        }
        ErrorKind::Unsupported => TargetErrorKind::Unsupported,
        ErrorKind::Conflict => TargetErrorKind::Unavailable,
        _ if error.is_temporary() || is_of_the_network(error) => TargetErrorKind::Unavailable,
        _ => TargetErrorKind::Unexpected,
    };
    (kind, None)
}

const HINT_CREDENTIALS: &str = "check user, password or token";
const HINT_RIGHTS: &str = "the account needs the right to read, write, list and delete there";
const HINT_ROOM: &str = "free some room on the storage, or prune";
const HINT_TOO_LARGE: &str = "the server, or a proxy before it, limits the size of uploads: raise \
     the limit there";
pub(crate) const HINT_CHUNKED: &str = "the server, or a proxy before it, seems not to take uploads \
     of unknown length (\"chunked\"): turn that on there";
const HINT_SSH_KEY: &str = "the server takes none of the keys offered: name one by key-file, or \
     load it into ssh-agent; a key with a passphrase works only through the agent";
const HINT_HOST_KEY: &str = "the server's host key is not in known_hosts, or differs from it: \
     connect once with ssh to check it, or set known-hosts=add";
const HINT_SSH_PROGRAM: &str = "sftp works through the ssh program, which must be installed";
const HINT_SFTP_FAILURE: &str = "sftp servers say no more than \"failure\" when the disk is full, \
     a quota is reached or a folder is in the way: look there if this stays";

const HINT_WEBDAV_WRITE: &str = "some WebDAV servers say \"method not allowed\" when a write \
     fails, as on a full disk: look there if this stays";

/// Texts of OpenSSH, of FTP replies and of the libraries, in lower case; the first that matches
/// decides. FTP replies stand in brackets.
const TEXTS: &[(&str, TargetErrorKind, Option<&str>)] = &[
    ("permission denied (", TargetErrorKind::Denied, Some(HINT_SSH_KEY)),
    ("too many authentication failures", TargetErrorKind::Denied, Some(HINT_SSH_KEY)),
    ("host key verification failed", TargetErrorKind::Denied, Some(HINT_HOST_KEY)),
    ("could not resolve hostname", TargetErrorKind::Unavailable, None),
    ("the local ssh command could not be executed", TargetErrorKind::Invalid, SSH_PROGRAM),
    ("the master connection failed: no such file", TargetErrorKind::Invalid, SSH_PROGRAM),
    ("ssh error", TargetErrorKind::Unavailable, None),
    ("[530]", TargetErrorKind::Denied, Some(HINT_CREDENTIALS)),
    ("[532]", TargetErrorKind::Denied, Some(HINT_CREDENTIALS)),
    ("[552]", TargetErrorKind::Full, Some(HINT_ROOM)),
    ("[452]", TargetErrorKind::Full, Some(HINT_ROOM)),
    ("no space left", TargetErrorKind::Full, Some(HINT_ROOM)),
    ("quota exceeded", TargetErrorKind::Full, Some(HINT_ROOM)),
    ("[421]", TargetErrorKind::Throttled, None),
    // Answers to transfers that were given up; see `is_void`.
    ("[226]", TargetErrorKind::Unavailable, None),
    ("data connection is already open", TargetErrorKind::Unavailable, None),
    ("[425]", TargetErrorKind::Unavailable, None),
    ("[426]", TargetErrorKind::Unavailable, None),
    ("[450]", TargetErrorKind::Unavailable, None),
    ("[451]", TargetErrorKind::Unavailable, None),
    ("not enough privileges", TargetErrorKind::Denied, Some(HINT_RIGHTS)),
    ("[550] permission denied", TargetErrorKind::Denied, Some(HINT_RIGHTS)),
    ("error kind failure", TargetErrorKind::Unavailable, Some(HINT_SFTP_FAILURE)),
    (CUT_LISTING, TargetErrorKind::Unavailable, None),
    ("method not allowed", TargetErrorKind::Unavailable, Some(HINT_WEBDAV_WRITE)),
    ("connection error", TargetErrorKind::Unavailable, None),
    ("too little data", TargetErrorKind::Unavailable, None),
];

const SSH_PROGRAM: Option<&str> = Some(HINT_SSH_PROGRAM);

fn summary(kind: TargetErrorKind) -> &'static str {
    match kind {
        TargetErrorKind::NotFound => "there is no such object or folder",
        TargetErrorKind::AlreadyExists => "the key is taken",
        TargetErrorKind::Denied => "the server denies it",
        TargetErrorKind::Throttled => "the server asks for fewer requests",
        TargetErrorKind::Unavailable => "the server did not do it",
        TargetErrorKind::Full => "there is no room on the storage",
        TargetErrorKind::Invalid => "the server or OpenDAL cannot make sense of it",
        TargetErrorKind::Unsupported => "OpenDAL cannot do that there",
        _ => "it failed for a reason that is not known here",
    }
}

/// A failing socket is no fault of the request.
fn is_of_the_network(error: &opendal::Error) -> bool {
    causes(error).any(|cause| cause.is::<io::Error>() || cause.is::<reqwest::Error>())
}

fn causes(error: &opendal::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| Error::source(*cause))
}

fn what_was_said(error: &opendal::Error) -> String {
    let mut said = error.message().trim().to_owned();
    for cause in causes(error) {
        let text = cause.to_string();
        if !said.contains(text.trim()) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(text.trim());
        }
    }
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `text`, without its middle where it is long.
fn both_ends(text: &str) -> String {
    let len = text.chars().count();
    if len <= 2 * END_LEN_MAX {
        return text.to_owned();
    }
    let begin = text.chars().take(END_LEN_MAX);
    begin.chain(" ... ".chars()).chain(text.chars().skip(len - END_LEN_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn error(kind: ErrorKind, text: &str) -> opendal::Error {
        opendal::Error::new(kind, text).with_context("url", "http://host/?sig=hunter2")
    }

    #[test]
    fn the_reason_counts_wherever_it_stands() {
        let warning = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @ ".repeat(20);
        let given = format!("ssh error: {warning} u@h: Permission denied (publickey).");
        let mapped = mapped(Operation::Open, error(ErrorKind::Unexpected, &given));
        assert_eq!(mapped.kind(), TargetErrorKind::Denied);
        let text = mapped.to_string();
        assert!(text.contains("ssh error: @") && text.contains("denied (publickey)"), "{text}");
        assert!(text.len() < 600, "{text}");
    }

    #[test]
    fn kinds_texts_and_refusals_get_their_meaning() {
        use TargetErrorKind::{
            AlreadyExists, Denied, Full, NotFound, Throttled, Unavailable, Unexpected,
        };
        for (given, kind, is_retryable) in [
            (error(ErrorKind::NotFound, "x"), NotFound, false),
            (error(ErrorKind::ConditionNotMatch, "x"), AlreadyExists, false),
            (error(ErrorKind::PermissionDenied, "x").set_temporary(), Denied, false),
            (error(ErrorKind::RateLimited, "x"), Throttled, true),
            (error(ErrorKind::Unexpected, "x").set_temporary(), Unavailable, true),
            (error(ErrorKind::Unexpected, "x"), Unexpected, false),
            (error(ErrorKind::Unexpected, "Host key verification failed."), Denied, false),
            (error(ErrorKind::Unexpected, "u@h: Permission denied (publickey)."), Denied, false),
            (error(ErrorKind::Unexpected, "Invalid response: [530] no"), Denied, false),
            (error(ErrorKind::Unexpected, "Invalid response: [552] no"), Full, false),
            (
                error(ErrorKind::Unexpected, "x").set_source(io::Error::other("reset")),
                Unavailable,
                true,
            ),
        ] {
            let text = given.to_string();
            let mapped = mapped(Operation::Put, given);
            assert_eq!((mapped.kind(), mapped.is_retryable()), (kind, is_retryable), "{text}");
            assert!(!format!("{mapped} {mapped:?}").contains("hunter2"), "{mapped:?}");
        }
        let wait = Duration::from_secs(9);
        let refusal = Refusal { status: StatusCode::TOO_MANY_REQUESTS, retry_after: Some(wait) };
        let refused = error(ErrorKind::Unexpected, "x").set_source(refusal);
        let throttled = mapped(Operation::Put, refused);
        assert_eq!((throttled.kind(), throttled.wait_asked()), (Throttled, Some(wait)));
    }
}
