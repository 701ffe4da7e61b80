//! The Azure target against Azurite, and what Azurite cannot do against a server of our own.
//!
//! Endpoints come from the environment: `scripts/test` starts the servers.

mod access;
mod answers;
mod conformance;
mod front;
mod support;
mod transfers;
