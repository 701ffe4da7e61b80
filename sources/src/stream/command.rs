//! What a command prints, as a file: `pg_dump`, `tar`, anything.
//!
//! The command runs without a shell, in a process group of its own, and is ended with all its
//! children when nobody reads on.

use std::{
    ffi::OsString,
    fmt, io,
    ops::Range,
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use strongroom_core::{
    entry::Stat,
    error::{Error, ErrorKind, Result},
    source::{Scan, Source, SourceFile},
};

use super::{OneFile, checked, read_some, root};

/// The standard output of a command as a source of one file.
pub struct CommandSource {
    name: Vec<u8>,
    program: OsString,
    arguments: Vec<OsString>,
}

impl CommandSource {
    /// A source of one file called `name` with what `command` prints. The command is started
    /// when the source is walked. Its standard error goes where ours goes.
    ///
    /// # Errors
    /// `Invalid` if `name` is no name of a file or `command` is empty.
    pub fn new(name: &[u8], command: Vec<OsString>) -> Result<Self> {
        let mut words = command.into_iter();
        let program = words.next().ok_or_else(|| Error::new(ErrorKind::Invalid, "no command"))?;
        Ok(Self { name: checked(name)?, program, arguments: words.collect() })
    }
}

impl fmt::Debug for CommandSource {
    // arguments may hold secrets
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandSource({})", self.program.display())
    }
}

impl Source for CommandSource {
    fn scan(&self) -> io::Result<Box<dyn Scan + '_>> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| {
                let message = format!("cannot run {}: {error}", self.program.display());
                io::Error::new(error.kind(), message)
            })?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
        let program = self.program.display().to_string();
        let file = CommandFile { child, output, program, is_over: false };
        Ok(Box::new(OneFile::new(&self.name, Box::new(file))))
    }

    fn roots(&self) -> Vec<String> {
        vec![root(&self.name)]
    }
}

struct CommandFile {
    child: Child,
    output: ChildStdout,
    program: String,
    /// True once its end was waited for.
    is_over: bool,
}

impl SourceFile for CommandFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_some(&mut self.output, buffer)
    }

    fn next_extent(&mut self, _: u64) -> io::Result<Option<Range<u64>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn stat(&mut self) -> io::Result<Option<Stat>> {
        Ok(None)
    }

    fn finish(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        self.is_over = true;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{} failed: {status}", self.program)))
    }
}

impl Drop for CommandFile {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // it may have ended by itself
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
