//! `version`.

use strongroom_core::format::descriptor::FORMAT_VERSION;

use crate::{error::Result, exit::Exit, output::Console};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version of the program and of the format that it writes.
pub fn run(console: Console) -> Result<Exit> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    if console.is_json() {
        console.object(&serde_json::json!({
            "message_type": "version",
            "version": VERSION,
            "format": FORMAT_VERSION,
            "os": os,
            "arch": arch,
        }))?;
    } else {
        console.text(&format!("strongroom {VERSION} (format {FORMAT_VERSION}, {os} {arch})"))?;
    }
    Ok(Exit::Done)
}
