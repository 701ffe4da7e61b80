//! What the file source and the file sink both ask of Linux, without following links: stat,
//! owner names, extended attributes, names in a folder.
//!
//! Knows neither sources nor sinks.

pub(crate) mod details;
pub(crate) mod listing;
pub(crate) mod node;
pub(crate) mod owners;
pub(crate) mod stat;
