//! Conveniences for callers of targets; never implemented by backends.
