//! The SMB target against a real Samba.
//!
//! Knows the server only by the variables that `integration-tests/services/samba.sh` prints; a
//! test that kills a server starts its own by that script.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod conformance;
mod crash;
mod lost;
mod objects;
mod server;
