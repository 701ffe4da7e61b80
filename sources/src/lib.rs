//! What strongroom protects and where it comes back: implementations of
//! [`strongroom_core::source::Source`] and [`strongroom_core::source::Sink`] on Linux.
//!
//! - [`files::FileSource`]: folders and files of this machine
//! - [`stream::StreamSource`]: one file out of any reader, such as standard input
//! - [`stream::CommandSource`]: one file out of a command's standard output
//! - [`sink::FileSink`]: a folder of this machine that a snapshot is restored into
//!
//! Knows nothing of targets, repositories or encryption.

pub mod files;
pub mod sink;
pub mod stream;
mod system;
