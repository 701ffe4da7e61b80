//! Wrappers that add one behaviour each to any target.
