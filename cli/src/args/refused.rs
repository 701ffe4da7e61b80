//! A command line that is not understood, or that only asks for help.

use std::ffi::OsString;

use clap::{Error, Parser, error::ErrorKind};

use super::Cli;
use crate::{error::Failure, exit::Exit, output::Console};

/// Reads the command line.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Cli, Refused> {
    let args: Vec<OsString> = args.collect();
    Cli::try_parse_from(&args).map_err(|error| Refused { error, is_json: wants_json(&args) })
}

/// Flags that came before the wrong one still count.
fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// Why there is nothing to do.
pub struct Refused {
    error: Error,
    is_json: bool,
}

impl Refused {
    /// Prints help or what is wrong.
    pub fn show(&self) -> Exit {
        let is_help = matches!(
            self.error.kind(),
            ErrorKind::DisplayHelp
                | ErrorKind::DisplayVersion
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        if is_help {
            // Where help cannot be printed, nothing else can.
            let _ = self.error.print();
            return if self.error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
        let console = Console::early(self.is_json);
        let text = self.error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        if self.is_json {
            console.failure(&Failure::usage(summary(text)));
        } else {
            console.refusal(text);
        }
        Exit::Usage
    }
}

/// The message without usage and tips.
fn summary(text: &str) -> String {
    let message = text.split("\n\n").next().unwrap_or(text);
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Refused {
        match parse(line.split(' ').map(OsString::from)) {
            Ok(_) => panic!("`{line}` was understood"),
            Err(refused) => refused,
        }
    }

    #[test]
    fn messages_name_the_value() {
        for (line, named) in [
            ("strongroom ls", "<SNAP>"),
            ("strongroom ls nothex", "nothex"),
            ("strongroom verify --read-data=500%", "500%"),
            ("strongroom backup --time yesterday /", "yesterday"),
            ("strongroom --json snapshots --latest 0", "0"),
        ] {
            let text = refused(line).error.render().to_string();
            let summary = summary(text.strip_prefix("error: ").unwrap());
            assert!(summary.contains(named) && !summary.contains('\n'), "{summary}");
            assert!(!summary.contains("--help"), "{summary}");
        }
    }

    #[test]
    fn json_is_known_before_the_line_is_understood() {
        assert!(refused("strongroom --json ls").is_json);
        assert!(!refused("strongroom nothing -- --json").is_json);
    }
}
