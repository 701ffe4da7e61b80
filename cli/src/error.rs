//! The program's error: what was being done, why it failed, what the user can do, and the exit
//! code.
//!
//! Knows nothing of where it is printed; [`crate::output::Console`] does that.

use std::{fmt, io};

use strongroom_core::error::Error;

use crate::exit::Exit;

/// Why the program ends early.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    doing: Option<String>,
    why: String,
    hint: Option<String>,
}

/// The program's result.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with this exit code; `why` is lowercase, without a trailing stop.
    pub fn new(exit: Exit, why: impl Into<String>) -> Self {
        Self { exit, doing: None, why: why.into(), hint: None }
    }

    /// A wrong argument.
    pub fn usage(why: impl Into<String>) -> Self {
        Self::new(Exit::Usage, why)
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted")
    }

    /// Standard output (or the file in its place) takes no more.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::OutputClosed, "the reader of the output went away");
        }
        Self::new(Exit::Failed, error.to_string()).doing("cannot write the output")
    }

    /// Says what failed: `cannot ...`; goes before what was said so far.
    #[must_use]
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        let doing = doing.into();
        self.doing = Some(match self.doing {
            None => doing,
            Some(inner) => format!("{doing}: {inner}"),
        });
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with another exit code.
    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What the user can do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(doing) = &self.doing {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&self.why)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            exit: error.kind().into(),
            doing: None,
            why: error.to_string(),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

/// Adds what was being done to a failed result.
pub trait Doing<T> {
    /// Says what failed: `cannot ...`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Failure>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().doing(doing()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::error::ErrorKind;

    #[test]
    fn engine_errors_keep_object_cause_and_hint() {
        let error = Error::new(ErrorKind::NoRepository, "no repository").on("/b").hint("init");
        let failure = Err::<(), _>(error).doing(|| "cannot open".to_owned()).unwrap_err();
        assert_eq!(failure.to_string(), "cannot open: /b: no repository");
        assert_eq!(failure.hint_text(), Some("init"));
        assert_eq!(failure.exit(), Exit::NoRepository);
    }

    #[test]
    fn what_was_done_is_said_from_the_outside_in() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let failure = Failure::output(&full).doing("cannot dump /x");
        let expected = format!("cannot dump /x: cannot write the output: {full}");
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn a_closed_pipe_is_no_failure_of_ours() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&broken).exit(), Exit::OutputClosed);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::output(&full).exit(), Exit::Failed);
    }
}
