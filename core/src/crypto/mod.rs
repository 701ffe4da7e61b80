//! Keys, ciphers, key derivation.
