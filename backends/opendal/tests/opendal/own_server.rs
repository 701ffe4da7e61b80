//! Servers of a test's own: to be killed, filled up, or asked for TLS.

use std::{net::TcpListener, path::Path, process::Command};

use strongroom_opendal::OpendalConfig;
use tempfile::TempDir;

use crate::servers;

/// A server of a test's own.
pub(crate) struct Server {
    script: &'static str,
    has_tls: bool,
    pub(crate) folder: TempDir,
    port: u16,
    variables: Vec<(String, String)>,
}

impl Server {
    pub(crate) fn start(script: &'static str) -> Self {
        Self::start_in(script, tempfile::tempdir().unwrap(), false)
    }

    /// With a certificate of an authority that only it knows.
    pub(crate) fn start_with_tls(script: &'static str) -> Self {
        Self::start_in(script, tempfile::tempdir().unwrap(), true)
    }

    /// With its data in `folder/SCRIPT/data`.
    pub(crate) fn start_in(script: &'static str, folder: TempDir, has_tls: bool) -> Self {
        let (port, variables) = (free_port(), Vec::new());
        let mut server = Self { script, has_tls, folder, port, variables };
        server.variables = server.run("start");
        server
    }

    /// Runs the script; gives the variables that it prints.
    pub(crate) fn run(&self, verb: &str) -> Vec<(String, String)> {
        let scripts =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../integration-tests/services");
        let name = self.script.to_uppercase();
        let output = Command::new("bash")
            .arg(scripts.join(format!("{}.sh", self.script)))
            .arg(verb)
            .env("SERVICES_DIR", self.folder.path())
            .env(format!("{name}_PORT"), self.port.to_string())
            .env(format!("{name}_TLS"), if self.has_tls { "1" } else { "" })
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    pub(crate) fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("{name} is not printed")).1
    }

    pub(crate) fn config(&self, path: &str) -> OpendalConfig {
        let port = self.port.to_string();
        match self.script {
            "sftp" => {
                let [user, key] =
                    ["USER", "KEY"].map(|what| self.variable(&format!("TEST_SFTP_{what}")));
                servers::sftp_at("127.0.0.1", &port, user, key, &format!("~/{path}"))
            }
            "webdav" => {
                let variables = [
                    ("STRONGROOM_WEBDAV_USER", self.variable("TEST_WEBDAV_USER")),
                    ("STRONGROOM_WEBDAV_PASSWORD", self.variable("TEST_WEBDAV_PASSWORD")),
                ];
                let url = match self.has_tls {
                    false => format!("webdav://127.0.0.1:{port}/{path}"),
                    true => {
                        let authority = self.variable("TEST_WEBDAV_CA");
                        format!("webdavs://127.0.0.1:{port}/{path}?ca-file={authority}")
                    }
                };
                OpendalConfig::from_url(&url, &servers::environment(&variables)).unwrap()
            }
            _ => servers::ftp_at(self.variable("TEST_FTP_URL"), path),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("stop");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
