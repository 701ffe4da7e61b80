//! Bytes of every stored object.
