//! The S3 target against real servers. `scripts/test` starts them and sets `TEST_S3_ENDPOINT`
//! and its like; a variable that is missing is a failing test.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod conformance;
mod denied;
mod faults;
mod lock;
mod proxy;
mod restart;
mod secrets;
mod settings;
mod streams;
mod support;
