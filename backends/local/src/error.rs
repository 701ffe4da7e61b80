//! From what the system says to what it means for a caller.

use std::io;

use rustix::io::Errno;
use strongroom_core::target::{Operation, TargetError, TargetErrorKind};

/// The error of a failed system call; `step` says what could not be done.
pub(crate) fn failed(operation: Operation, step: &str, errno: Errno) -> TargetError {
    let message = format!("cannot {step}");
    let error = TargetError::new(kind_of(errno), operation, message);
    let error = error.because(io::Error::from(errno));
    match hint_for(errno) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// An error that no system call gave.
pub(crate) fn refused(operation: Operation, kind: TargetErrorKind, why: &str) -> TargetError {
    TargetError::new(kind, operation, why)
}

fn kind_of(errno: Errno) -> TargetErrorKind {
    match errno {
        Errno::NOENT => TargetErrorKind::NotFound,
        Errno::EXIST => TargetErrorKind::AlreadyExists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::LOOP => TargetErrorKind::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => TargetErrorKind::Full,
        Errno::NOTDIR | Errno::ISDIR | Errno::INVAL | Errno::NAMETOOLONG => {
            TargetErrorKind::Invalid
        }
        Errno::NOSYS | Errno::OPNOTSUPP => TargetErrorKind::Unsupported,
        // Disks that stumble, network mounts that come back, tables that are full for a moment.
        Errno::IO
        | Errno::STALE
        | Errno::TIMEDOUT
        | Errno::AGAIN
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::NOTCONN
        | Errno::CONNRESET
        | Errno::BUSY
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOMEM => TargetErrorKind::Unavailable,
        _ => TargetErrorKind::Unexpected,
    }
}

fn hint_for(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ACCESS | Errno::PERM => {
            Some("check owner and permissions of the folder: it needs read, write and search")
        }
        Errno::ROFS => Some("the file system is mounted read-only"),
        Errno::LOOP => {
            Some("symbolic links inside a target are never followed: use a bind mount instead")
        }
        Errno::NOTDIR => Some("a file or a symbolic link stands where a folder should be"),
        Errno::NOSPC => Some("free some room on the file system, or prune"),
        Errno::DQUOT => Some("the quota of the user is used up: free some room, or raise it"),
        Errno::FBIG => Some("the object is larger than the file system allows"),
        Errno::MFILE | Errno::NFILE => Some("raise the limit on open files (ulimit -n)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        for (errno, kind, is_retryable) in [
            (Errno::NOENT, TargetErrorKind::NotFound, false),
            (Errno::EXIST, TargetErrorKind::AlreadyExists, false),
            (Errno::ROFS, TargetErrorKind::Denied, false),
            (Errno::DQUOT, TargetErrorKind::Full, false),
            (Errno::IO, TargetErrorKind::Unavailable, true),
            (Errno::NOTTY, TargetErrorKind::Unexpected, false),
        ] {
            let error = failed(Operation::Put, "write", errno);
            assert_eq!((error.kind(), error.is_retryable()), (kind, is_retryable), "{errno}");
            assert!(error.to_string().starts_with("put: cannot write: "), "{error}");
        }
        assert!(failed(Operation::Put, "write", Errno::NOSPC).hint_text().is_some());
    }
}
