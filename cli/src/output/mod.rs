//! What the program says: data on standard output, talk on standard error.
//!
//! The only place that prints. Knows nothing of what the verbs do.

pub mod entry;
pub mod human;
mod json;
pub mod progress;
pub mod table;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use crate::{
    args::{GlobalArgs, ProgressMode},
    error::{Failure, Result},
    exit::Exit,
};

/// How the program talks; cheap to copy, usable from any thread.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    is_json: bool,
    verbosity: Verbosity,
    progress: Option<ProgressMode>,
}

/// How much the program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// What was asked for, and errors.
    Quiet,
    /// And summaries and notes.
    Normal,
    /// And details.
    Verbose,
}

impl Console {
    /// As the flags say.
    pub fn new(args: &GlobalArgs) -> Self {
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        };
        Self { is_json: args.json, verbosity, progress: args.progress }
    }

    /// For errors that come before flags are known.
    pub fn early(is_json: bool) -> Self {
        Self { is_json, verbosity: Verbosity::Normal, progress: None }
    }

    /// True if results are to be JSON.
    pub fn is_json(&self) -> bool {
        self.is_json
    }

    /// True if the user wants details.
    pub fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// How progress is shown: as asked, else a bar if a person is watching.
    pub fn progress_style(&self) -> progress::Style {
        match self.progress {
            Some(ProgressMode::Json) => progress::Style::Json,
            Some(ProgressMode::Plain) => progress::Style::Plain,
            Some(ProgressMode::None) => progress::Style::None,
            None if self.is_json || self.verbosity == Verbosity::Quiet => progress::Style::None,
            None if io::stderr().is_terminal() => progress::Style::Bar,
            None => progress::Style::None,
        }
    }

    /// Standard output, buffered; [`Out::finish`] must be called at the end.
    pub fn out(&self) -> Out {
        Out(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    /// One object as the whole result.
    pub fn object(&self, value: &impl Serialize) -> Result<()> {
        let mut out = self.out();
        out.object(value)?;
        out.finish()
    }

    /// Text as the whole result; a newline is added.
    pub fn text(&self, text: &str) -> Result<()> {
        let mut out = self.out();
        out.line(text)?;
        out.finish()
    }

    /// True if programs read standard error: then all that is said there is JSON.
    fn talks_json(&self) -> bool {
        self.is_json || self.progress == Some(ProgressMode::Json)
    }

    /// What was done, for people; silent with `--quiet`.
    pub fn summary(&self, lines: &[String]) -> Result<()> {
        if self.verbosity == Verbosity::Quiet {
            return Ok(());
        }
        self.text(&lines.join("\n"))
    }

    /// Says something that only people care for; silent with `--quiet`, and if programs listen.
    pub fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal && !self.talks_json() {
            talk(text);
        }
    }

    /// Says something that people should see whatever the flags are.
    pub fn warn(&self, text: &str) {
        let line = one_line(text);
        if self.talks_json() {
            talk_json(&serde_json::json!({ "message_type": "warning", "message": line }));
        } else {
            talk(&format!("warning: {line}"));
        }
    }

    /// One item failed while the rest goes on.
    pub fn item_error(&self, during: &str, item: &str, message: &str) {
        let message = one_line(message);
        if self.talks_json() {
            talk_json(&serde_json::json!({
                "message_type": "error",
                "error": { "message": message },
                "during": during,
                "item": item,
            }));
        } else {
            talk(&format!("warning: {}: {message}", one_line(item)));
        }
    }

    /// What is wrong with the command line; may have several lines.
    pub fn refusal(&self, text: &str) {
        talk(&format!("strongroom: {}", text.trim_end()));
    }

    /// Why the program ends, and what can be done about it.
    pub fn failure(&self, failure: &Failure) {
        if failure.exit() == Exit::OutputClosed {
            return;
        }
        let message = one_line(&failure.to_string());
        let hint = failure.hint_text().map(one_line);
        if self.talks_json() {
            let mut error = serde_json::json!({
                "message_type": "exit_error",
                "code": failure.exit().code(),
                "message": message,
            });
            if let Some(hint) = hint {
                error["hint"] = hint.into();
            }
            talk_json(&error);
        } else {
            talk(&format!("strongroom: {message}"));
            if let Some(hint) = hint {
                talk(&format!("hint: {hint}"));
            }
        }
    }
}

/// Standard output while a result is written.
pub struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// One line of text.
    pub fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.0, "{text}").map_err(|error| Failure::output(&error))
    }

    /// One JSON object on a line of its own.
    pub fn object(&mut self, value: &impl Serialize) -> Result<()> {
        self.json(value)?;
        self.line("")
    }

    /// JSON as part of a line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        json::write(&mut self.0, value).map_err(|error| Failure::output(&error))
    }

    /// Text as part of a line.
    pub fn part(&mut self, text: &str) -> Result<()> {
        self.0.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
    }

    /// Writes what is still buffered.
    pub fn finish(mut self) -> Result<()> {
        self.0.flush().map_err(|error| Failure::output(&error))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// One line on standard error. If nobody listens there, there is nobody to tell.
fn talk(line: &str) {
    progress::beside_bar(|| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    });
}

fn talk_json(value: &impl Serialize) {
    let mut line = Vec::new();
    // Writing to memory does not fail.
    if json::write(&mut line, value).is_ok() {
        talk(&String::from_utf8_lossy(&line));
    }
}

/// `text` as one line without control characters, so that no name or answer of a server can
/// play tricks on the terminal.
fn one_line(text: &str) -> String {
    text.trim_end().chars().map(|symbol| if symbol.is_control() { ' ' } else { symbol }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        assert_eq!(one_line("a\nb\x1b[31m\n"), "a b [31m");
    }
}
