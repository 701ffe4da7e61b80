//! Stores as targets, and targets as a store.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gcs;
mod reverse;
mod stores;
mod suite;
