//! What the tests share: a scratch world to run the binary in, trees with every kind of entry,
//! and witnesses that compare trees.

pub mod compare;
pub mod extents;
pub mod fixture;
pub mod lab;
pub mod matrix;
pub mod repository;
pub mod services;

pub use compare::{assert_same_tree, differences, rsync_differences};
pub use lab::{Lab, Outcome, pseudo_random};

/// True if the tests run as root: only then are there device nodes, foreign owners and mounts.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
