//! One suite that every target must pass.
