//! The SMB target against a real Samba.
//!
//! Knows the server only by the variables that `integration-tests/services/samba.sh` prints.

mod conformance;
mod server;
