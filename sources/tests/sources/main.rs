//! The file source, the file sink and the stream sources against the real system.
//!
//! Uses the public API only. What needs root, mounts or limits runs in a process or thread of
//! its own, see `support`.

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
