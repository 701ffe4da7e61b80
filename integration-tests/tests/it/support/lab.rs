//! A scratch world for one test: folders that vanish with it, a home of its own, a repository, a
//! password, and the binary run inside.
//!
//! Knows the command line, never the engine.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// What opens the repositories of the tests; a canary too: it must never be printed.
pub const PASSWORD: &str = "correct-horse-battery-canary";

/// A scratch world.
#[derive(Debug)]
pub struct Lab {
    root: PathBuf,
}

impl Lab {
    /// A new, empty one.
    pub fn new() -> Self {
        let root = tempfile::Builder::new()
            .prefix("lab-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap()
            .keep();
        for folder in ["home", "source"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        Self { root }
    }

    /// A new one, with a repository that holds one snapshot of a few small files.
    pub fn with_backup() -> Self {
        Self::with_backup_and(&[])
    }

    /// The same, made with these flags.
    pub fn with_backup_and(flags: &[&str]) -> Self {
        let lab = Self::new();
        lab.write("source/hello.txt", b"hello\n");
        lab.write("source/folder/inner.txt", b"inner\n");
        lab.write("source/folder/deeper/leaf.bin", &pseudo_random(300_000, 1));
        lab.run([&["backup", "--init", "source"], flags].concat()).expect(0);
        lab
    }

    /// A path inside.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// The folder that is backed up.
    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    /// Where the repository is.
    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// Where `restore --target target` puts the source: below it, under its absolute path.
    pub fn restored(&self, target: impl AsRef<Path>) -> PathBuf {
        self.path(target).join(self.source().strip_prefix("/").unwrap())
    }

    /// Writes a file and the folders above it.
    pub fn write(&self, below: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// The binary, not yet run: home, repository and password are set, nothing else is inherited.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary());
        self.isolate(&mut command);
        command
            .env("STRONGROOM_REPOSITORY", self.repository())
            .env("STRONGROOM_PASSWORD", PASSWORD);
        command
    }

    /// Gives any command this world's environment and nothing of ours.
    pub fn isolate(&self, command: &mut Command) {
        let home = self.path("home");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &home)
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("RUST_BACKTRACE", "1")
            .current_dir(&self.root)
            .stdin(Stdio::null());
    }

    /// Runs the binary with these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::of(self.command().args(args))
    }

    /// Runs the binary with these arguments and this standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Outcome {
        let mut command = self.command();
        command.args(args);
        Outcome::of_with_input(&mut command, input)
    }

    /// Backs up the source for the first time; returns the summary.
    pub fn backup_init(&self) -> Value {
        self.run(["backup", "--init", "--json", "source"]).expect(0).summary()
    }

    /// Backs up the source once more; returns the summary.
    pub fn backup(&self) -> Value {
        self.run(["backup", "--json", "source"]).expect(0).summary()
    }

    /// Restores the latest snapshot below `target`.
    pub fn restore(&self, target: &str) -> Outcome {
        self.run(["restore", "latest", "--target", target])
    }

    /// All snapshots, as `snapshots --json` tells.
    pub fn snapshots(&self) -> Vec<Value> {
        self.run(["snapshots", "--json"]).expect(0).objects()
    }

    /// Proves that the repository is sound and that its latest snapshot comes back as `source`.
    pub fn assert_sound(&self) {
        self.run(["verify", "--read-data"]).expect(0);
        let _ = Command::new("rm").arg("-rf").arg(self.path("proof")).status();
        self.restore("proof").expect(0);
        super::assert_same_tree(&self.source(), &self.restored("proof"));
    }
}

impl Drop for Lab {
    /// `rm` and not `remove_dir_all`, which holds a descriptor for each of 5,000 nested folders.
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("STRONGROOM_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.root.display());
            return;
        }
        let _ = Command::new("rm").arg("-rf").arg(&self.root).status();
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Data.
    pub stdout: Vec<u8>,
    /// Talk.
    pub stderr: String,
    what: String,
}

impl Outcome {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Self {
        Self::of_with_input(command, b"")
    }

    /// Runs `command` to its end, with this standard input unless it is empty.
    pub fn of_with_input(command: &mut Command, input: &[u8]) -> Self {
        let what = said_by(command);
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // A child may stop reading early; that is its own business.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output().unwrap()
        });
        Self::new(output, what)
    }

    /// Waits for `child`, which `command` began with both of its outputs piped.
    pub fn of_child(child: Child, command: &Command) -> Self {
        Self::new(child.wait_with_output().unwrap(), said_by(command))
    }

    fn new(output: Output, what: String) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            what,
        }
    }

    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails unless it ended with this exit code and one error line that names all of `parts`.
    #[track_caller]
    pub fn expect_error(self, code: i32, parts: &[&str]) -> Self {
        let outcome = self.expect(code);
        let lines: Vec<_> = outcome.error_lines();
        assert_eq!(lines.len(), 1, "one line says what failed: {outcome}");
        for part in parts {
            let line = lines[0].to_lowercase();
            assert!(line.contains(&part.to_lowercase()), "`{part}` is not named: {outcome}");
        }
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        outcome
    }

    /// The lines on stderr that say what failed; hints and progress are not among them.
    pub fn error_lines(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| is_error_line(line)).collect()
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON value: {error}: {self}"))
    }

    /// Standard output as a list: one JSON array, or one object a line.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        if let Ok(Value::Array(objects)) = serde_json::from_slice(&self.stdout) {
            return objects;
        }
        self.text()
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not JSON: {error}: {line}: {self}"))
            })
            .collect()
    }

    /// The summary that `backup --json` prints.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let summary = self.json();
        assert_eq!(summary["message_type"], "summary", "{self}");
        summary
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout: String = self.text().chars().take(4_000).collect();
        write!(f, "{}\n  exit code {}\n", self.what, self.code)?;
        write!(f, "--- stdout\n{stdout}\n--- stderr\n{}", self.stderr)
    }
}

/// The command line, without where the binary is.
fn said_by(command: &Command) -> String {
    let said = format!("{command:?}");
    match said.split_once("strongroom") {
        Some((_, arguments)) => format!("strongroom{arguments}"),
        None => said,
    }
}

/// True for a line that says what failed; the parser of the command line has its own prefix.
pub fn is_error_line(line: &str) -> bool {
    line.starts_with("strongroom: ") || line.starts_with("error: ")
}

/// The binary under test: `STRONGROOM_BIN`, else the one that cargo built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STRONGROOM_BIN") {
        return path.into();
    }
    let profile_folder = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
    let path = profile_folder.join("strongroom");
    assert!(path.exists(), "{}: not built; cargo build --workspace --bins", path.display());
    path
}

/// Bytes that nothing can compress, the same for the same seed.
pub fn pseudo_random(length_bytes: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length_bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
