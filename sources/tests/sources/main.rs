//! The file source, the file sink and the stream sources against the real system.
//!
//! Uses the public API only. Needs root, for owners, devices and mounts; what needs other rights,
//! mounts of its own or limits runs in a process or thread of its own, see `support`.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod command;
mod details;
mod excludes;
mod hostile;
mod limits;
mod metadata;
mod mounts;
mod restore;
mod stream;
mod support;
mod walk;
