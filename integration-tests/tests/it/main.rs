//! The integration tests: one binary, one module for each promise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on stops, and may say why"
)]

mod support;
mod tidy;
mod witnesses;
