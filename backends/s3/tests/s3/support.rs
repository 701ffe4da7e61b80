//! Targets on the servers that the environment names, each test in a path of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use strongroom_backend_support::Environment;
use strongroom_core::target::{ObjectKey, SharedTarget, TargetResult};
use strongroom_s3::{S3Config, S3Target};

/// A variable that `scripts/test` sets.
pub fn variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) => value,
        Err(_) => panic!("{name} is not set: scripts/test starts the servers"),
    }
}

/// Where a server listens and whom it knows.
#[derive(Debug, Clone)]
pub struct Server {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    /// More variables of the environment.
    pub variables: Vec<(&'static str, String)>,
}

impl Server {
    /// The main server.
    pub fn main() -> Self {
        Self::at(
            variable("TEST_S3_ENDPOINT"),
            variable("TEST_S3_ACCESS_KEY"),
            variable("TEST_S3_SECRET_KEY"),
        )
    }

    /// One that ignores conditions.
    pub fn weak() -> Self {
        Self::at(
            variable("TEST_S3_WEAK_ENDPOINT"),
            variable("TEST_S3_WEAK_ACCESS_KEY"),
            variable("TEST_S3_WEAK_SECRET_KEY"),
        )
    }

    /// One that merely repeats what it is told about encryption and storage classes.
    pub fn echo() -> Self {
        Self::at(variable("TEST_MOTO_ENDPOINT"), "any".into(), "any".into())
    }

    pub fn at(endpoint: String, access_key: String, secret_key: String) -> Self {
        Self { endpoint, access_key, secret_key, variables: Vec::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The configuration for `place` (bucket, path and settings without the endpoint).
    pub fn try_config(&self, place: &str) -> TargetResult<S3Config> {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key.clone()),
        ];
        variables.extend(self.variables.clone());
        let environment = Environment::new(move |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        });
        S3Config::from_url(&format!("s3://{place}"), &environment)
    }

    pub fn config(&self, place: &str) -> S3Config {
        self.try_config(place).unwrap()
    }

    /// A target in a path of its own below a bucket that all tests share, with `settings`.
    pub async fn target(&self, settings: &str) -> SharedTarget {
        let place = format!("strongroom-tests/{}?{settings}", unique("t"));
        Arc::new(S3Target::create(self.config(&place)).await.unwrap())
    }
}

/// A name that nobody else uses.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{:x}-{}-{count}", now % (1 << 48), std::process::id())
}

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Bytes that differ from place to place and from `seed` to `seed`.
pub fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Notes what a test found out about this storage, for the table in the project's README: see
/// `scripts/matrix`.
pub fn note(column: &str, found: &str) {
    let Some(folder) = std::env::var_os("STRONGROOM_MATRIX_DIR") else { return };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("s3.{column}")), format!("{found}\n")).unwrap();
}
