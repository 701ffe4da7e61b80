//! What opens a repository.

use std::fmt;

use zeroize::Zeroizing;

use crate::format::slot::RecoveryKey;

/// What opens a repository.
#[derive(Clone)]
pub enum Credential {
    /// A password, as the user typed it.
    Password(Zeroizing<Vec<u8>>),
    /// The recovery key that `init` printed.
    RecoveryKey(RecoveryKey),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::RecoveryKey(_) => "RecoveryKey(..)",
        })
    }
}
