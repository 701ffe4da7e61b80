//! What the walk says about paths that it could not take.
//!
//! Only builds messages.

use std::io;

use strongroom_core::{entry::display_name, monitor::Problem};

/// Something is missing in the snapshot. `path` is without the leading slash.
pub(super) fn problem(path: &[u8], message: impl Into<String>) -> Problem {
    Problem { item: shown(path), message: message.into(), is_error: true }
}

/// Something was left out on purpose, or is not there any more.
pub(super) fn note(path: &[u8], message: impl Into<String>) -> Problem {
    Problem { item: shown(path), message: message.into(), is_error: false }
}

/// A folder could not be opened.
pub(super) fn not_opened(path: &[u8], error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound => note(path, "vanished during the walk"),
        _ => problem(path, format!("cannot be opened: {error}")),
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", display_name(path))
}
