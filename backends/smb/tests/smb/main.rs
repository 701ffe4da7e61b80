//! The SMB target against a real Samba.
//!
//! Knows the server only by the variables that `integration-tests/services/samba.sh` prints; a
//! test that kills a server starts its own by that script.

mod access;
mod conformance;
mod crash;
mod objects;
mod server;
