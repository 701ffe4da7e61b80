//! Bytes of every stored object, and the way back: no I/O, no clock, no tokio.
//!
//! `docs/format.md` is the normative text of what these modules write and accept. Whatever they
//! read is taken for hostile: lengths are bounded before anything is allocated, and nothing that
//! fails its authentication is returned.

pub(crate) mod cbor;
pub mod collector;
pub mod commit;
pub mod copy;
pub mod damage;
pub mod descriptor;
pub mod epoch;
pub mod forwarding;
pub mod index;
pub mod label;
pub mod object;
pub mod pack;
pub mod page;
pub mod parity;
pub mod record;
pub mod session;
pub mod slot;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tombstone;
mod wire;
