//! The Azure target against Azurite, and what Azurite cannot do against a server of our own.
//!
//! Endpoints come from the environment: `scripts/test` starts the servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod answers;
mod conformance;
mod front;
mod support;
mod tls;
mod transfers;
