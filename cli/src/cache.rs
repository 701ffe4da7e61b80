//! Where copies of a repository's small objects are kept on this machine.
//!
//! One folder for each place, named by a hash of its URL. A repository in a folder of this
//! machine has none: it is as near as any copy. Nothing in a cache is needed; whatever is wrong
//! with it is said once, and the program works without.

use std::{fs, io, path::Path};

use strongroom_backends::{OpenMode, OpenOptions};
use strongroom_core::target::SharedTarget;

use crate::output::Console;

/// Hex digits of a folder's name: 128 bits.
const NAME_DIGITS: usize = 32;
/// Tells backup programs, ours among them, to leave the folder out: <https://bford.info/cachedir/>.
const TAG_FILE: &str = "CACHEDIR.TAG";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
                   # Copies of what backup repositories hold. May be removed at any time.\n";

/// The copies for the target that calls itself `place`, below `dir`.
pub async fn open(dir: &Path, place: &str, console: Console) -> Option<SharedTarget> {
    let folder = dir.join(&blake3::hash(place.as_bytes()).to_hex()[..NAME_DIGITS]);
    let opened = async {
        tag(dir).map_err(|error| error.to_string())?;
        let options = OpenOptions { mode: OpenMode::Create };
        strongroom_backends::open(&folder, &options).await.map_err(|error| error.to_string())
    };
    match opened.await {
        Ok(cache) => Some(cache),
        Err(why) => {
            console.note(&format!("note: works without a cache: {}: {why}", dir.display()));
            None
        }
    }
}

fn tag(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(TAG_FILE);
    if path.try_exists()? { Ok(()) } else { fs::write(path, TAG) }
}
