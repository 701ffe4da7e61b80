//! From what the SMB client says to what it means for a caller.
//!
//! Knows no connection and no path: who called adds the object and the step.

use smb2::{ErrorKind, types::status::NtStatus};
use strongroom_core::target::{Operation, TargetError, TargetErrorKind};

/// `STATUS_QUOTA_EXCEEDED` and its cousin of the file system, which the client does not name.
const QUOTAS: [u32; 2] = [0xC000_0044, 0xC000_0905];

/// The error of a failed request; `step` says what could not be done.
pub(crate) fn failed(operation: Operation, step: &str, error: smb2::Error) -> TargetError {
    let (kind, hint) = meaning(&error);
    let mapped = TargetError::new(kind, operation, format!("cannot {step}"));
    let mapped = match hint {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    };
    mapped.because(error)
}

/// An error that no server gave.
pub(crate) fn refused(operation: Operation, kind: TargetErrorKind, why: &str) -> TargetError {
    TargetError::new(kind, operation, why)
}

/// Whether the connection that gave this error is of no use any more.
///
/// A signature that is wrong or missing counts: that is how the answer of a server looks that
/// has forgotten the session, as it has no key left to sign with.
pub(crate) fn ends_link(error: &smb2::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionLost
            | ErrorKind::TimedOut
            | ErrorKind::SessionExpired
            | ErrorKind::Io
            | ErrorKind::Cancelled
            | ErrorKind::InvalidData
            | ErrorKind::SignatureInvalid
    )
}

/// Whether the server found nothing under that name.
pub(crate) fn is_missing(error: &smb2::Error) -> bool {
    error.kind() == ErrorKind::NotFound || has_status(error, NtStatus::DELETE_PENDING)
}

/// Whether `error` is the server's answer `status`.
pub(crate) fn has_status(error: &smb2::Error, status: NtStatus) -> bool {
    error.status() == Some(status)
}

fn meaning(error: &smb2::Error) -> (TargetErrorKind, Option<&'static str>) {
    use TargetErrorKind as Kind;
    match error.kind() {
        ErrorKind::AuthRequired | ErrorKind::GuestSessionRefused | ErrorKind::SigningRequired => {
            (Kind::Denied, Some("check user, domain and password (STRONGROOM_SMB_PASSWORD)"))
        }
        ErrorKind::AccessDenied => (
            Kind::Denied,
            Some("the user needs to read, write and delete in the share and in its folder"),
        ),
        ErrorKind::NotFound => (Kind::NotFound, None),
        ErrorKind::AlreadyExists => (Kind::AlreadyExists, None),
        ErrorKind::DiskFull => (Kind::Full, Some(NO_ROOM)),
        ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::InvalidName => {
            (Kind::Invalid, None)
        }
        ErrorKind::DfsReferral | ErrorKind::DfsTargetNotAllowed => {
            (Kind::Unsupported, Some("the path leads to another server (DFS): name that server"))
        }
        ErrorKind::Unsupported => (Kind::Unsupported, None),
        // A link that broke or stalls, a session that ended, a file that another client holds.
        ErrorKind::ConnectionLost
        | ErrorKind::TimedOut
        | ErrorKind::SessionExpired
        | ErrorKind::SharingViolation
        | ErrorKind::DfsTargetUnreachable
        | ErrorKind::Cancelled
        | ErrorKind::Io
        | ErrorKind::InvalidData
        | ErrorKind::SignatureInvalid => (Kind::Unavailable, None),
        _ => by_status(error.status()),
    }
}

const NO_ROOM: &str = "free some room on the share, raise the quota, or prune";

fn by_status(status: Option<NtStatus>) -> (TargetErrorKind, Option<&'static str>) {
    use TargetErrorKind as Kind;
    match status {
        Some(NtStatus::DELETE_PENDING | NtStatus::NOT_FOUND) => (Kind::NotFound, None),
        Some(
            NtStatus::INSUFFICIENT_RESOURCES
            | NtStatus::INSUFF_SERVER_RESOURCES
            | NtStatus::REQUEST_NOT_ACCEPTED
            | NtStatus::INTERNAL_ERROR
            | NtStatus::UNSUCCESSFUL
            | NtStatus::FILE_CLOSED
            | NtStatus::CANCELLED,
        ) => (Kind::Unavailable, None),
        Some(NtStatus::CANNOT_DELETE) => (Kind::Denied, Some("the file is marked read-only")),
        Some(status) if QUOTAS.contains(&status.0) => (Kind::Full, Some(NO_ROOM)),
        _ => (Kind::Unexpected, None),
    }
}

#[cfg(test)]
mod tests {
    use smb2::types::Command;

    use super::*;

    fn status(status: NtStatus) -> smb2::Error {
        smb2::Error::Protocol { status, command: Command::Create }
    }

    #[test]
    fn errors_say_what_to_do() {
        use TargetErrorKind as Kind;
        for (error, kind, is_retryable) in [
            (status(NtStatus::LOGON_FAILURE), Kind::Denied, false),
            (status(NtStatus::ACCESS_DENIED), Kind::Denied, false),
            (status(NtStatus::BAD_NETWORK_NAME), Kind::NotFound, false),
            (status(NtStatus::DELETE_PENDING), Kind::NotFound, false),
            (status(NtStatus::OBJECT_NAME_COLLISION), Kind::AlreadyExists, false),
            (status(NtStatus::DISK_FULL), Kind::Full, false),
            (status(NtStatus(0xC000_0044)), Kind::Full, false),
            (status(NtStatus::USER_SESSION_DELETED), Kind::Unavailable, true),
            (status(NtStatus::SHARING_VIOLATION), Kind::Unavailable, true),
            (status(NtStatus(0xC000_1234)), Kind::Unexpected, false),
            (smb2::Error::Timeout, Kind::Unavailable, true),
            (smb2::Error::Disconnected, Kind::Unavailable, true),
        ] {
            let error = failed(Operation::Put, "write", error);
            assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{error}");
            assert!(error.to_string().starts_with("put: cannot write: "), "{error}");
        }
        let denied = failed(Operation::Open, "sign in", status(NtStatus::LOGON_FAILURE));
        assert!(denied.hint_text().is_some_and(|hint| hint.contains("STRONGROOM_SMB_PASSWORD")));
    }

    #[test]
    fn only_what_says_something_of_the_link_ends_it() {
        assert!(ends_link(&smb2::Error::Disconnected));
        assert!(ends_link(&status(NtStatus::NETWORK_NAME_DELETED)));
        assert!(!ends_link(&status(NtStatus::ACCESS_DENIED)));
        assert!(!ends_link(&status(NtStatus::OBJECT_NAME_COLLISION)));
    }
}
