//! The real servers: those that the test command started, and instances of a test's own, which it
//! may kill.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A variable that tells where a server is. Without it there is nothing to test against, and
/// that is a failure.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: scripts/test starts the servers"))
}

/// A server of one test; ends with this value.
pub struct Service {
    script: PathBuf,
    folder: TempDir,
    port: (String, u16),
    /// What a client needs, as the script tells it.
    variables: BTreeMap<String, String>,
}

impl Service {
    /// Starts `name`, whose port the script takes from `port_variable`.
    pub fn start(name: &str, port_variable: &str) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("services/{name}.sh"));
        let folder = tempfile::Builder::new().prefix("service-").tempdir().unwrap();
        let port = (port_variable.to_owned(), free_ports());
        let mut service = Self { script, folder, port, variables: BTreeMap::new() };
        service.again();
        service
    }

    /// Starts it once more, with the data that it had.
    pub fn again(&mut self) {
        let mut command = Command::new("bash");
        let start = format!("eval \"$('{}' start)\" && env -0", self.script.display());
        let output = self.environment(&mut command).args(["-c", &start]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", self.script.display());
        let text = String::from_utf8(output.stdout).unwrap();
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        self.variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert!(!self.variables.is_empty(), "{said}");
    }

    /// What the script told under this name.
    pub fn variable(&self, name: &str) -> String {
        self.variables.get(name).unwrap_or_else(|| panic!("the script tells no {name}")).clone()
    }

    /// Ends it: `kill9` for a crash, `stop` for a clean end.
    pub fn end(&self, how: &str) {
        let mut command = Command::new("bash");
        let status = self
            .environment(&mut command)
            .arg(&self.script)
            .arg(how)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{} {how}", self.script.display());
    }

    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SERVICES_DIR", self.folder.path())
            .env(&self.port.0, self.port.1.to_string())
            .stdin(Stdio::null())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end("stop");
    }
}

/// The first of ten ports that nobody uses, and nobody uses those 10,000 above them: some
/// servers derive others from the one that they are given.
fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let begin = 11_000 + (std::process::id() % 700) as u16 * 10;
    let candidates = (0..700).map(|step: u16| 11_000 + (begin - 11_000 + step * 10) % 7_000);
    let mut free = candidates.filter(|base| {
        (0..10).all(|offset| is_free(base + offset) && is_free(base + offset + 10_000))
    });
    free.next().unwrap_or_else(|| panic!("no free ports"))
}
