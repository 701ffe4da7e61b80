//! What the operating system lets the program use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More open files than this do not help; some programs loop over all of them.
const OPEN_FILES_MAX: u64 = 65_536;

/// Raises the number of files that may be open at once as far as the user may.
///
/// Deep trees and many workers need more than the usual 1,024. Failing is no reason to stop.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}
