//! No secret appears in what is logged, at any level.

use std::{
    io,
    sync::{Arc, Mutex},
};

use strongroom_core::target::{KeyPrefix, TargetExt};
use strongroom_s3::S3Target;
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

use crate::support::{Server, content, key, unique};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    const SSE_C_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let server = Server::main().with("STRONGROOM_S3_SSE_C_KEY", SSE_C_KEY);
    let place = format!("strongroom-tests/{}?sse-c", unique("secret"));
    let target = S3Target::create(server.config(&place)).await.unwrap();
    target.create(&key("small"), b"abc".to_vec()).await.unwrap();
    target.create(&key("large"), content(40 << 20, 1)).await.unwrap();
    target.get_full(&key("small")).await.unwrap();
    target.list_all(&KeyPrefix::all()).await.unwrap();
    let wrong = Server { secret_key: "hunter2hunter2".into(), ..server.clone() };
    let wrong = wrong.with("AWS_SESSION_TOKEN", "hunter3hunter3");
    let error = S3Target::open(wrong.config(&place)).await.unwrap_err();
    tracing::trace!("the end");
    drop(guard);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("the end"), "nothing was logged");
    for secret in [SSE_C_KEY, server.secret_key.as_str(), "hunter2hunter2", "hunter3"] {
        let line = log.lines().find(|line| line.contains(secret)).unwrap_or_default();
        let start: String = line.chars().take(120).collect();
        assert!(line.is_empty(), "a secret in: {start}...");
        assert!(!format!("{error:?} {target:?}").contains(secret));
    }
}
