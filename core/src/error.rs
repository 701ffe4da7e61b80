//! The engine's error: what failed, on which object, why, and what the user can do.
//!
//! Knows nothing of terminals or exit codes; a caller maps [`ErrorKind`] to its own.

use std::fmt;

/// What an engine error means for the caller, so that it can decide what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The arguments are wrong; nothing was done.
    Invalid,
    /// There is no repository at the target.
    NoRepository,
    /// Something with this name is there already.
    AlreadyExists,
    /// The asked-for snapshot, path or object does not exist.
    NotFound,
    /// Another run is in the way, or this run was fenced off by a collector.
    Conflict,
    /// No key slot opens with the given password or key.
    WrongKey,
    /// Stored bytes are not what was written: truncated, altered, swapped or missing.
    Damaged,
    /// The target refused or could not be reached.
    Storage,
    /// The repository or object needs a newer program, or a feature that was not compiled in.
    Unsupported,
    /// The source or the sink failed as a whole (single items are reported as problems).
    Io,
    /// The caller asked to stop.
    Interrupted,
    /// A promise inside the engine was broken: a bug.
    Internal,
}

/// An engine error: a kind, one line that says what failed and why, an optional object it is
/// about, an optional hint and the cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    object: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; `message` is lowercase, without a trailing stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), object: None, hint: None, source: None }
    }

    /// Stored bytes of `object` are not what was written, and why we think so.
    pub fn damaged(object: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, why).on(object)
    }

    /// A promise inside the engine was broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Names the object, path or argument that the error is about.
    #[must_use]
    pub fn on(mut self, object: impl fmt::Display) -> Self {
        self.object = Some(object.to_string());
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error for somebody else who is concerned; the cause is kept as text only.
    pub(crate) fn again(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            object: self.object.clone(),
            hint: self.hint.clone(),
            source: self.source.as_ref().map(|source| source.to_string().into()),
        }
    }

    /// What the error means for the caller.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The object, path or argument that the error is about.
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// What the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
