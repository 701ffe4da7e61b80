//! Compression of segments.
