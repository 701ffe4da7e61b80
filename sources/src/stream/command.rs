//! A command whose standard output is saved: it counts only if the command succeeds.
//!
//! The command is run without a shell, in a process group of its own, with nothing to read. It
//! has no terminal to ask questions on: one that tries is stopped by the system, so commands
//! must get their passwords by other means.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, Read},
    ops::Range,
    os::unix::{
        ffi::OsStrExt,
        process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::{
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use strongroom_core::{
    entry::{Stat, display_name},
    error::{Error, ErrorKind, Result},
    source::{Scan, Source, SourceFile},
};

use super::{
    StreamOptions, no_extents,
    tree::{Opener, StreamTree},
    wait_for_data,
};

/// What becomes of what a command writes to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommandStderr {
    /// It goes where that of this process goes.
    #[default]
    Inherit,
    /// Its end becomes part of the error if the command fails.
    Capture,
}

/// The command of a [`CommandSource`].
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// The program, found through `PATH`, and its arguments.
    pub arguments: Vec<OsString>,
    /// What becomes of standard error.
    pub stderr: CommandStderr,
}

/// A command's standard output as a [`strongroom_core::source::Source`] with one file.
///
/// The command starts when the file is opened. Reading it fails, when finished, if the command
/// ends with another status than 0 or by a signal; dropped early, it kills the command and all
/// that it started in its process group.
#[derive(Debug)]
pub struct CommandSource {
    tree: StreamTree,
    is_interrupted: Arc<AtomicBool>,
}

impl CommandSource {
    /// A source of what the command of `options` writes.
    ///
    /// # Errors
    /// `Invalid` if there is no program.
    pub fn new(stream: StreamOptions, options: CommandOptions) -> Result<Self> {
        if options.arguments.first().is_none_or(|program| program.is_empty()) {
            return Err(Error::new(ErrorKind::Invalid, "no command was given"));
        }
        let is_interrupted = Arc::<AtomicBool>::default();
        let opener = CommandOpener { options, is_interrupted: is_interrupted.clone() };
        Ok(Self { tree: StreamTree::new(stream, opener), is_interrupted })
    }
}

impl Source for CommandSource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        self.tree.scan()
    }

    fn roots(&self) -> Vec<String> {
        self.tree.roots()
    }

    fn is_all_or_nothing(&self) -> bool {
        self.tree.is_all_or_nothing()
    }

    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
    }
}

/// Starts the command.
#[derive(Debug)]
struct CommandOpener {
    options: CommandOptions,
    is_interrupted: Arc<AtomicBool>,
}

impl Opener for CommandOpener {
    fn open(&self) -> io::Result<Box<dyn SourceFile>> {
        let (program, arguments) =
            self.options.arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let name = format!("command `{}`", display_name(program.as_bytes()));
        let stderr = match self.options.stderr {
            CommandStderr::Inherit => Stdio::inherit(),
            CommandStderr::Capture => Stdio::piped(),
        };
        let mut command = Command::new(program);
        // what opens our repositories and storages is no business of theirs
        let ours = std::env::vars_os().map(|(name, _)| name);
        ours.filter(|name| name.as_encoded_bytes().starts_with(b"STRONGROOM_")).for_each(|name| {
            command.env_remove(name);
        });
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{name} cannot be started: {error}"))
            })?;
        // From here on, dropping it kills the command.
        let mut file = CommandFile {
            name,
            child,
            tail: None,
            is_waited_for: false,
            is_interrupted: self.is_interrupted.clone(),
        };
        if let Some(stderr) = file.child.stderr.take() {
            let thread = std::thread::Builder::new().name("command-stderr".into());
            file.tail = Some(thread.spawn(|| read_tail(stderr))?);
        }
        Ok(Box::new(file))
    }
}

/// A running command.
struct CommandFile {
    name: String,
    child: Child,
    /// Reads standard error while it is captured.
    tail: Option<JoinHandle<Vec<u8>>>,
    is_waited_for: bool,
    is_interrupted: Arc<AtomicBool>,
}

impl SourceFile for CommandFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stdout) = &mut self.child.stdout else { return Ok(0) };
        wait_for_data(&*stdout, || self.is_interrupted.load(Ordering::Relaxed))?;
        loop {
            match stdout.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    fn next_extent(&mut self, _: u64) -> io::Result<Option<Range<u64>>> {
        Err(no_extents())
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(None)
    }

    fn finish(&mut self) -> io::Result<()> {
        // A command that has more to say gets a broken pipe instead of waiting for ever.
        self.child.stdout = None;
        let status = self.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut message = format!("{} {}", self.name, outcome(status));
        let tail = self.tail.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !tail.trim_ascii().is_empty() {
            message.push_str(": ");
            message.push_str(&display_name(tail.trim_ascii()));
        }
        Err(io::Error::other(message))
    }
}

impl CommandFile {
    /// Waits for the end of the command; kills what a failed one leaves behind, for that could
    /// hold its standard error open for ever.
    fn wait(&mut self) -> io::Result<ExitStatus> {
        let command = WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let ended = retry_on_intr(|| waitid(command.clone(), options))?;
        if ended.is_none_or(|status| status.exit_status() != Some(0)) {
            self.kill_group();
        }
        let status = self.child.wait()?;
        self.is_waited_for = true;
        Ok(status)
    }

    /// Must not be called once the command was waited for: the number is then free for others.
    fn kill_group(&self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }
}

impl Drop for CommandFile {
    fn drop(&mut self) {
        if !self.is_waited_for {
            self.kill_group();
            let _ = self.child.wait();
        }
    }
}

fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "failed".to_owned(),
    }
}

/// How much of standard error an error quotes.
const TAIL_BYTES: usize = 2_048;

/// Reads to the end, and keeps the end.
fn read_tail(mut stderr: ChildStderr) -> Vec<u8> {
    let mut tail = VecDeque::with_capacity(TAIL_BYTES);
    let mut buffer = [0; 4_096];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                tail.extend(&buffer[..length]);
                tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    tail.into()
}
