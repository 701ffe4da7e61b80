//! What backends share: reading a target URL, finding secrets, names of objects below a prefix.
//!
//! Knows no SDK, no protocol and no backend; like them, only `core::target`.

mod location;
mod names;
mod secret;

pub use self::{
    location::{Location, Settings, invalid},
    names::Names,
    secret::{Environment, Secret},
};
