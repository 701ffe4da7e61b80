//! A bug ends the program with one line and exit code 1.

use std::panic;

use crate::{error::Failure, exit::Exit, output::Console};

/// From now on, a panic prints where it happened and ends the program. What the panic says is
/// not printed: it may hold anything, secrets too.
pub fn install(console: Console) {
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map_or_else(String::new, |at| format!(" at {at}"));
        let failure = Failure::new(Exit::Failed, format!("internal error{place}"))
            .hint("this is a bug in strongroom; what was committed before is safe");
        console.failure(&failure);
        std::process::exit(i32::from(Exit::Failed.code()));
    }));
}
