//! The engine of strongroom: protects trees of entries in encrypted, deduplicated repositories
//! on any storage, and proves that they come back.
//!
//! Modules are declared in layer order; each imports only what is declared above it. Layers 1 to
//! 3 do no I/O and know neither tokio, environment nor the real clock: bytes in, bytes out.

// 1 ground
pub mod error;
pub mod id;
pub mod monitor;
pub mod runtime;

// 2 bytes
pub mod chunker;
pub mod crypto;

pub mod compress;

// 3 formats
pub mod packset;

pub mod entry;

pub mod retention;

pub mod format;

// 4 doors
pub mod tasks;

pub mod source;
pub mod target;

pub mod encrypted;

// 5 repository
pub mod repository;

// 6 operations
pub mod backup;
pub mod forget;
pub mod look;

pub mod copy;

pub mod prune;
pub mod restore;

pub mod verify;

pub mod repair;
pub mod stats;

#[cfg(test)]
mod testing;

#[cfg(test)]
mod crash_sweep;
#[cfg(test)]
mod damage_sweep;
#[cfg(test)]
mod narrow;
#[cfg(test)]
mod simulation;
