//! Pages, nodes and lists as bytes.
