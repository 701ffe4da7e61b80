//! Where secrets come from: a variable of the environment, a file it names, a command it names.
//!
//! For a secret `NAME`: the value of `NAME`, else the first line of the file that `NAME_FILE`
//! names, else the first line that the command in `NAME_COMMAND` prints (run by `sh -c`).

use std::{fmt, process::Command};

use strongroom_core::target::{Operation, TargetError, TargetErrorKind, TargetResult};
use zeroize::Zeroizing;

use crate::invalid;

/// A secret: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

type LookUp<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// The variables that a backend may look at: those of the process, or a test's own.
pub struct Environment<'a>(Box<LookUp<'a>>);

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Environment<'static> {
    /// The environment of this process.
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }
}

impl<'a> Environment<'a> {
    /// An environment in which `look_up` knows the variables.
    pub fn new(look_up: impl Fn(&str) -> Option<String> + Send + Sync + 'a) -> Self {
        Self(Box::new(look_up))
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// The secret `name`, from its variable, file or command. Blocks while the command runs.
    ///
    /// # Errors
    /// `Invalid` if the file cannot be read, the command fails, or there is no first line.
    pub fn secret(&self, name: &str) -> TargetResult<Option<Secret>> {
        if let Some(value) = self.variable(name) {
            return Ok(Some(Secret::new(value)));
        }
        if let Some(path) = self.variable(&format!("{name}_FILE")) {
            let text = std::fs::read_to_string(&path).map(Zeroizing::new).map_err(|error| {
                invalid(format!("the file that {name}_FILE names cannot be read"))
                    .at(&path)
                    .because(error)
            })?;
            return first_line(&text, &format!("{name}_FILE")).map(Some);
        }
        if let Some(command) = self.variable(&format!("{name}_COMMAND")) {
            let text = output_of(&command, &format!("{name}_COMMAND"))?;
            return first_line(&text, &format!("{name}_COMMAND")).map(Some);
        }
        Ok(None)
    }
}

fn output_of(command: &str, name: &str) -> TargetResult<Zeroizing<String>> {
    let output = Command::new("sh").arg("-c").arg(command).output().map_err(|error| {
        TargetError::new(TargetErrorKind::Invalid, Operation::Open, "sh does not run")
            .because(error)
    })?;
    if !output.status.success() {
        return Err(invalid(format!("the command in {name} failed ({})", output.status)));
    }
    String::from_utf8(output.stdout)
        .map(Zeroizing::new)
        .map_err(|_| invalid(format!("the command in {name} printed no UTF-8")))
}

fn first_line(text: &str, name: &str) -> TargetResult<Secret> {
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(invalid(format!("what {name} leads to has no first line"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &'static [(&'static str, &'static str)]) -> Environment<'static> {
        Environment::new(move |name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_secret_comes_from_variable_file_or_command() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "from file\nmore\n").unwrap();
        let path = path.display().to_string();
        let from_file = Environment::new(|name| (name == "KEY_FILE").then(|| path.clone()));
        assert_eq!(from_file.secret("KEY").unwrap().unwrap().expose(), "from file");
        let first = environment(&[("KEY", "plain"), ("KEY_COMMAND", "exit 1")]);
        assert_eq!(first.secret("KEY").unwrap().unwrap().expose(), "plain");
        let command = environment(&[("KEY", ""), ("KEY_COMMAND", "echo from command")]);
        assert_eq!(command.secret("KEY").unwrap().unwrap().expose(), "from command");
        assert!(environment(&[]).secret("KEY").unwrap().is_none());
    }

    #[test]
    fn what_leads_nowhere_is_named_and_nothing_is_printed() {
        for (variables, named) in [
            (&[("KEY_FILE", "/no/such/file")][..], "KEY_FILE"),
            (&[("KEY_COMMAND", "echo hunter2; exit 3")][..], "KEY_COMMAND"),
            (&[("KEY_COMMAND", "true")][..], "KEY_COMMAND"),
        ] {
            let variables = variables.to_vec();
            let environment = Environment::new(move |name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned())
            });
            let error = environment.secret("KEY").unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
    }
}
