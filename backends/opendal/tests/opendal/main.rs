//! OpenDAL services as targets, against real servers where there are any.
//!
//! `scripts/test` starts the servers and sets the variables (`TEST_SFTP_HOST` ...) that these
//! tests read.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod adapter;
mod behaviour;
mod claims;
mod conformance;
mod own_server;
mod refusals;
mod restarts;
mod servers;
mod stalls;
mod streams;
mod swift;
mod tls;
mod uploads;
mod urls;
