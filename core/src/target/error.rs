//! What a target's failure means for its caller.
//!
//! Few kinds, each saying what to do next; a backend maps its own errors to them.

use std::{fmt, time::Duration};

use super::ObjectKey;

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetErrorKind {
    /// There is no such object (or bucket, container, share, folder).
    NotFound,
    /// The key of a create exists and is not ours.
    AlreadyExists,
    /// The credentials are wrong or lack a right.
    Denied,
    /// The storage asks for fewer requests.
    Throttled,
    /// The storage did not answer, or answered that it cannot now.
    Unavailable,
    /// No room, or a quota is reached.
    Full,
    /// What came back is not what the storage holds: checksum or length differ.
    Corrupt,
    /// This target cannot do that.
    Unsupported,
    /// The request makes no sense: a bad name, a bad URL, a bad setting.
    Invalid,
    /// The backend's own fault, or an error it could not place.
    Unexpected,
}

/// Which call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Connecting, or preparing the place.
    Open,
    /// `put`
    Put,
    /// `get`
    Get,
    /// `head`
    Head,
    /// `list`
    List,
    /// `delete`
    Delete,
    /// `capabilities`
    Capabilities,
    /// `retain`
    Retain,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Capabilities => "capabilities",
            Self::Retain => "retain",
        })
    }
}

/// A target's result.
pub type TargetResult<T> = std::result::Result<T, TargetError>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failed call: kind, call, key, what happened, whether trying again may help, and the cause.
#[derive(Debug)]
pub struct TargetError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: TargetErrorKind,
    operation: Operation,
    key: Option<String>,
    message: String,
    is_retryable: bool,
    retry_after: Option<Duration>,
    hint: Option<String>,
    source: Option<Cause>,
}

impl TargetError {
    /// An error of `kind` in `operation`; retryable as is usual for the kind (throttled and
    /// unavailable are, the others are not).
    pub fn new(kind: TargetErrorKind, operation: Operation, message: impl Into<String>) -> Self {
        let is_retryable =
            matches!(kind, TargetErrorKind::Throttled | TargetErrorKind::Unavailable);
        Self(Box::new(Inner {
            kind,
            operation,
            key: None,
            message: message.into(),
            is_retryable,
            retry_after: None,
            hint: None,
            source: None,
        }))
    }

    /// Names the object.
    #[must_use]
    pub fn on(mut self, key: &ObjectKey) -> Self {
        self.0.key = Some(key.to_string());
        self
    }

    /// Names the prefix, path or place that is not an object key.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.key = Some(place.to_string());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Cause>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says whether trying the same call again may help.
    #[must_use]
    pub fn retryable(mut self, is_retryable: bool) -> Self {
        self.0.is_retryable = is_retryable;
        self
    }

    /// The storage said how long to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What the failure means.
    pub fn kind(&self) -> TargetErrorKind {
        self.0.kind
    }

    /// Which call failed.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// The object it is about.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// Whether trying the same call again may help.
    pub fn is_retryable(&self) -> bool {
        self.0.is_retryable
    }

    /// How long the storage asked to wait.
    pub fn wait_asked(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the user can do.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.operation)?;
        if let Some(key) = &self.0.key {
            write!(f, " {key}")?;
        }
        write!(f, ": {}", self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TargetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<TargetError> for crate::error::Error {
    fn from(error: TargetError) -> Self {
        use crate::error::ErrorKind;
        let kind = match error.kind() {
            TargetErrorKind::Invalid => ErrorKind::Invalid,
            TargetErrorKind::NotFound => ErrorKind::NotFound,
            TargetErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            TargetErrorKind::Corrupt => ErrorKind::Damaged,
            TargetErrorKind::Unsupported => ErrorKind::Unsupported,
            _ => ErrorKind::Storage,
        };
        let hint = error.0.hint.clone();
        let wrapped = Self::new(kind, "target").because(error);
        match hint {
            Some(hint) => wrapped.hint(hint),
            None => wrapped,
        }
    }
}

/// True if an error of the engine goes back to a storage without room.
pub fn is_for_lack_of_room(error: &crate::error::Error) -> bool {
    let source = std::error::Error::source(error);
    let target = source.and_then(|source| source.downcast_ref::<TargetError>());
    target.is_some_and(|error| error.kind() == TargetErrorKind::Full)
}
