//! The exit codes that scripts rely on, and which engine error means which.
//!
//! Knows nothing of how errors are printed.

use std::process::ExitCode;

use strongroom_core::error::ErrorKind;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The arguments are wrong; nothing was done.
    Usage = 2,
    /// Done, but some items could not be read, or not be restored completely.
    Incomplete = 3,
    /// There is no repository.
    NoRepository = 10,
    /// Another run is in the way.
    Busy = 11,
    /// Wrong password or key.
    WrongKey = 12,
    /// Stored data is not what was written.
    Damaged = 13,
    /// The storage cannot be reached, or refuses.
    Storage = 14,
    /// Stopped by the user.
    Interrupted = 130,
    /// The reader of the output went away; the code that a shell reports for SIGPIPE.
    OutputClosed = 141,
}

impl Exit {
    /// The number that the operating system gets.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Self::Usage,
            ErrorKind::NoRepository => Self::NoRepository,
            ErrorKind::Conflict => Self::Busy,
            ErrorKind::WrongKey => Self::WrongKey,
            ErrorKind::Damaged => Self::Damaged,
            ErrorKind::Storage => Self::Storage,
            ErrorKind::Interrupted => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_promised_code() {
        let promised = [
            (ErrorKind::Invalid, 2),
            (ErrorKind::NoRepository, 10),
            (ErrorKind::AlreadyExists, 1),
            (ErrorKind::NotFound, 1),
            (ErrorKind::Conflict, 11),
            (ErrorKind::WrongKey, 12),
            (ErrorKind::Damaged, 13),
            (ErrorKind::Storage, 14),
            (ErrorKind::Unsupported, 1),
            (ErrorKind::Io, 1),
            (ErrorKind::Interrupted, 130),
            (ErrorKind::Internal, 1),
        ];
        for (kind, code) in promised {
            assert_eq!(Exit::from(kind).code(), code, "{kind:?}");
        }
    }
}
