//! The integration tests: one binary, one module for each promise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on stops, and may say why"
)]

mod bench;
mod copy;
mod crash;
mod damage;
mod errors;
mod excludes;
mod faults;
mod forget;
mod keys;
mod lanes;
mod look;
mod output;
mod parity;
mod pins;
mod prune;
mod reference;
mod repair;
mod restore;
mod round_trip;
mod second_backup;
mod secrets;
mod soak;
mod stats;
mod storages;
mod streams;
mod support;
mod tidy;
mod witnesses;
