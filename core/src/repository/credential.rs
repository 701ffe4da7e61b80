//! What opens a repository.

use std::fmt;

use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind, Result},
    format::slot::{KeyFile, RecoveryKey},
};

/// What opens a repository.
#[derive(Clone)]
pub enum Credential {
    /// A password, as the user typed it.
    Password(Zeroizing<Vec<u8>>),
    /// The recovery key that `init` printed.
    RecoveryKey(RecoveryKey),
    /// The content of a key file.
    KeyFile(KeyFile),
}

impl Credential {
    /// Refuses what protects nothing.
    ///
    /// # Errors
    /// `Invalid` for an empty password.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Password(password) if password.is_empty() => {
                Err(Error::new(ErrorKind::Invalid, "the password is empty"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::RecoveryKey(_) => "RecoveryKey(..)",
            Self::KeyFile(_) => "KeyFile(..)",
        })
    }
}
