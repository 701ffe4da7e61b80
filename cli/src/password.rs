//! Where the password or recovery key comes from. Secrets are wiped when dropped and stand in no
//! message.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use strongroom_core::{format::slot::RecoveryKey, repository::Credential};
use zeroize::Zeroizing;

use crate::{
    args::{CredentialArgs, NewPasswordArgs},
    env::{self, Lookup},
    error::{Failure, Result},
    exit::Exit,
    key_file, words,
};

/// A password, as the user typed it.
pub type Password = Zeroizing<Vec<u8>>;

/// Nobody types more; bounds what is read from files and commands.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What the password is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To open a repository.
    Open,
    /// To protect a new one: a recovery key will not do, and typing mistakes are fatal.
    Create,
}

/// Where to find the secret.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    PasswordVariable(Vec<u8>),
    PasswordFile(PathBuf),
    PasswordCommand(String),
    RecoveryKeyFile(PathBuf),
    KeyFile(PathBuf),
    Terminal,
}

/// The credential that flags and environment point to, else what the user types.
///
/// # Errors
/// A usage error for contradictions, unreadable files, failed commands and empty passwords.
pub fn credential(
    args: &CredentialArgs,
    lookup: Lookup<'_>,
    purpose: Purpose,
) -> Result<Credential> {
    match given(args, lookup, purpose)? {
        Some(credential) => Ok(credential),
        None => ask_for(purpose),
    }
}

/// The credential that flags and environment point to, if they do.
///
/// # Errors
/// Those of [`credential`].
pub fn given(
    args: &CredentialArgs,
    lookup: Lookup<'_>,
    purpose: Purpose,
) -> Result<Option<Credential>> {
    let password = match origin(args, lookup)? {
        Origin::RecoveryKeyFile(_) if purpose == Purpose::Create => {
            return Err(Failure::usage(
                "a new repository needs a password or a key file, not a recovery key",
            ));
        }
        Origin::RecoveryKeyFile(path) => {
            return recovery_key(&path).map(|key| Some(Credential::RecoveryKey(key)));
        }
        Origin::KeyFile(path) => {
            return key_file::read(&path).map(|file| Some(Credential::KeyFile(file)));
        }
        Origin::PasswordVariable(password) => Zeroizing::new(password),
        Origin::PasswordFile(path) => from_file(&path)?,
        Origin::PasswordCommand(command) => from_command(&command)?,
        Origin::Terminal => return Ok(None),
    };
    not_empty(password).map(Some)
}

/// What the user types.
///
/// # Errors
/// If there is no terminal, two passwords that differ, an empty one.
pub fn ask_for(purpose: Purpose) -> Result<Credential> {
    not_empty(from_terminal("repository password: ", purpose)?)
}

/// A new password: where the flags point to, else what the user types twice.
///
/// # Errors
/// Those of [`credential`].
pub fn new_password(args: &NewPasswordArgs) -> Result<Credential> {
    let password = match (&args.new_password_file, &args.new_password_command) {
        (Some(path), _) => from_file(path)?,
        (None, Some(command)) => from_command(command)?,
        (None, None) => from_terminal("new password: ", Purpose::Create).map_err(|failure| {
            match failure.exit() {
                Exit::WrongKey => Failure::usage("no new password was given")
                    .hint("use --new-password-file or --new-password-command"),
                _ => failure,
            }
        })?,
    };
    not_empty(password)
}

fn not_empty(password: Password) -> Result<Credential> {
    match password.is_empty() {
        true => Err(Failure::usage("the password is empty")),
        false => Ok(Credential::Password(password)),
    }
}

/// As [`given`], for several repositories: one for all of them, or a password file for each.
///
/// # Errors
/// As [`given`], and if the files are neither one nor as many as the repositories.
pub fn given_all(
    args: &CredentialArgs,
    lookup: Lookup<'_>,
    purpose: Purpose,
    count: usize,
) -> Result<Option<Vec<Credential>>> {
    let files = &args.password_file;
    if files.len() <= 1 {
        return Ok(given(args, lookup, purpose)?.map(|credential| vec![credential; count]));
    }
    if files.len() != count {
        let given = files.len();
        let why = format!("{given} password files were given for {count} repositories");
        return Err(Failure::usage(why).hint("give one for all of them, or one for each"));
    }
    let of = |file: &PathBuf| CredentialArgs { password_file: vec![file.clone()], ..args.clone() };
    let each = files.iter().map(|file| credential(&of(file), lookup, purpose));
    each.collect::<Result<Vec<_>>>().map(Some)
}

/// Flags win over the environment; two variables that contradict each other are refused.
fn origin(args: &CredentialArgs, lookup: Lookup<'_>) -> Result<Origin> {
    if let Some(path) = &args.recovery_key_file {
        return Ok(Origin::RecoveryKeyFile(path.clone()));
    }
    if let Some(path) = &args.key_file {
        return Ok(Origin::KeyFile(path.clone()));
    }
    if let Some(path) = args.password_file.first() {
        return Ok(Origin::PasswordFile(path.clone()));
    }
    if let Some(command) = &args.password_command {
        return Ok(Origin::PasswordCommand(command.clone()));
    }
    let names = [env::PASSWORD, env::PASSWORD_FILE, env::PASSWORD_COMMAND, env::KEY_FILE];
    let mut set = names.into_iter().filter_map(|name| lookup(name).map(|value| (name, value)));
    let Some((name, value)) = set.next() else { return Ok(Origin::Terminal) };
    if let Some((other, _)) = set.next() {
        return Err(Failure::usage(format!("{name} and {other} are both set")).hint(
            "set only one of them, or say which with --password-file, --password-command or \
             --key-file",
        ));
    }
    match name {
        env::PASSWORD => Ok(Origin::PasswordVariable(value.into_vec())),
        env::PASSWORD_FILE => Ok(Origin::PasswordFile(value.into())),
        env::KEY_FILE => Ok(Origin::KeyFile(value.into())),
        _ => match value.into_string() {
            Ok(command) => Ok(Origin::PasswordCommand(command)),
            Err(_) => Err(Failure::usage(format!("{name} is not UTF-8"))),
        },
    }
}

fn from_file(path: &Path) -> Result<Password> {
    let failed = |why: String| Failure::usage(format!("password file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut password = read_secret(file).map_err(|error| failed(error.to_string()))?;
    trim_newline(&mut password);
    if password.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    Ok(password)
}

fn from_command(command: &str) -> Result<Password> {
    let failed = |why: String| Failure::usage(format!("password command: {why}"));
    let words = words::split(command).map_err(failed)?;
    // The command finds secrets of its own; ours are none of its business.
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .env_remove(env::PASSWORD)
        .env_remove(env::FROM_PASSWORD)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot run {}: {error}", words[0])))?;
    let output = child.stdout.take().map_or_else(|| Ok(Password::default()), read_secret);
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(format!("{} failed: {status}", words[0])));
    }
    let mut password = output.map_err(|error| failed(error.to_string()))?;
    trim_newline(&mut password);
    if password.is_empty() {
        return Err(failed(format!("{} printed nothing", words[0])));
    }
    Ok(password)
}

fn from_terminal(prompt: &str, purpose: Purpose) -> Result<Password> {
    if !io::stderr().is_terminal() {
        let why = "no password was given, and there is no terminal to ask on";
        return Err(Failure::new(Exit::WrongKey, why).hint(
            "set STRONGROOM_PASSWORD, STRONGROOM_PASSWORD_FILE or STRONGROOM_PASSWORD_COMMAND, \
             or use --password-file",
        ));
    }
    let password = ask(prompt)?;
    if purpose == Purpose::Create && ask("the same again: ")? != password {
        return Err(Failure::usage("the two passwords differ"));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<Password> {
    rpassword::prompt_password(prompt)
        .map(|typed| Zeroizing::new(typed.into_bytes()))
        .map_err(|error| Failure::usage(error.to_string()).doing("cannot ask for the password"))
}

fn recovery_key(path: &Path) -> Result<RecoveryKey> {
    let failed =
        |why: String| Failure::usage(format!("recovery key file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let bytes = read_secret(file).map_err(|error| failed(error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not text".to_owned()))?;
    text.trim().parse().map_err(|error: strongroom_core::error::Error| {
        let failure = failed(error.to_string()).with_exit(Exit::WrongKey);
        match error.hint_text() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Everything, into memory that is wiped; never grown, for that would leave copies behind.
pub fn read_secret(from: impl Read) -> io::Result<Password> {
    let mut secret = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize + 1));
    from.take(SECRET_BYTES_MAX + 1).read_to_end(&mut secret)?;
    if secret.len() as u64 > SECRET_BYTES_MAX {
        let why = format!("longer than {SECRET_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(secret)
}

fn trim_newline(secret: &mut Password) {
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::OsString, io::Write};

    const NONE: CredentialArgs = CredentialArgs {
        password_file: Vec::new(),
        password_command: None,
        key_file: None,
        recovery_key_file: None,
    };

    fn lookup(pairs: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    }

    fn password_of(args: &CredentialArgs) -> Result<Vec<u8>> {
        match credential(args, &lookup(&[]), Purpose::Create)? {
            Credential::Password(password) => Ok(password.to_vec()),
            other => panic!("not a password: {other:?}"),
        }
    }

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_environment() {
        let all = lookup(&[(env::PASSWORD, "p"), (env::PASSWORD_FILE, "f")]);
        let args = CredentialArgs { password_command: Some("pass".to_owned()), ..NONE };
        assert_eq!(origin(&args, &all).unwrap(), Origin::PasswordCommand("pass".to_owned()));
        let failure = origin(&NONE, &all).unwrap_err().to_string();
        assert_eq!(failure, "STRONGROOM_PASSWORD and STRONGROOM_PASSWORD_FILE are both set");
        let one = lookup(&[(env::PASSWORD_FILE, "f")]);
        assert_eq!(origin(&NONE, &one).unwrap(), Origin::PasswordFile("f".into()));
        assert_eq!(origin(&NONE, &lookup(&[])).unwrap(), Origin::Terminal);
    }

    #[test]
    fn one_newline_does_not_belong_to_the_password() {
        let cases: [(&[u8], &[u8]); 5] = [
            (b"secret", b"secret"),
            (b"secret\n", b"secret"),
            (b"secret\r\n", b"secret"),
            (b"secret\n\n", b"secret\n"),
            (b" \xff ", b" \xff "),
        ];
        for (content, expected) in cases {
            let file = file(content);
            let args = CredentialArgs { password_file: vec![file.path().to_owned()], ..NONE };
            assert_eq!(password_of(&args).unwrap(), expected);
        }
    }

    #[test]
    fn empty_missing_and_endless_files_are_refused() {
        for content in [&b""[..], b"\n", &vec![b'x'; SECRET_BYTES_MAX as usize + 1]] {
            let file = file(content);
            let args = CredentialArgs { password_file: vec![file.path().to_owned()], ..NONE };
            assert!(password_of(&args).is_err());
        }
        let args = CredentialArgs { password_file: vec!["/nonexistent/x".into()], ..NONE };
        assert!(password_of(&args).unwrap_err().to_string().contains("/nonexistent/x"));
    }

    #[test]
    fn commands_run_without_a_shell() {
        let args =
            |command: &str| CredentialArgs { password_command: Some(command.to_owned()), ..NONE };
        assert_eq!(password_of(&args("printf '%s\\n' 'a b$HOME'")).unwrap(), b"a b$HOME");
        for wrong in
            ["", "false", "true", "sh -c 'echo secret; exit 3'", "/nonexistent/x", "echo 'x"]
        {
            let failure = password_of(&args(wrong)).unwrap_err().to_string();
            assert!(failure.starts_with("password command: "), "{failure}");
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn a_recovery_key_opens_but_does_not_create() {
        let key = RecoveryKey::from_bytes([7; 32]);
        let file = file(format!("{}\n", key.to_text().as_str()).as_bytes());
        let args = CredentialArgs { recovery_key_file: Some(file.path().to_owned()), ..NONE };
        let found = credential(&args, &lookup(&[]), Purpose::Open).unwrap();
        assert!(matches!(found, Credential::RecoveryKey(found) if found == key));
        assert!(credential(&args, &lookup(&[]), Purpose::Create).is_err());
    }

    #[test]
    fn a_wrong_recovery_key_is_not_repeated() {
        let file = file(b"AAAAA-BBBBB");
        let args = CredentialArgs { recovery_key_file: Some(file.path().to_owned()), ..NONE };
        let failure = credential(&args, &lookup(&[]), Purpose::Open).unwrap_err().to_string();
        assert!(failure.contains("recovery key"), "{failure}");
        assert!(!failure.contains("AAAAA"), "{failure}");
    }
}
