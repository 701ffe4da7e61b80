//! Where this machine remembers what it saw of repositories, so that a storage cannot take them
//! back in time unnoticed.
//!
//! Below the folder of the client's identity. Without a folder nothing is remembered, which is
//! said once.

use std::path::{Path, PathBuf};

use strongroom_backends::{OpenMode, OpenOptions};
use strongroom_core::{repository::Pins, target::SharedTarget};

use crate::{
    args::GlobalArgs,
    env,
    error::{Failure, Result},
    output::Console,
};

/// Our folder below that of the client's identity.
const FOLDER: &str = "pins";
/// Fewer hex digits would fit by chance.
const HEAD_DIGITS_MIN: usize = 8;
/// All of a BLAKE3 hash.
const HEAD_DIGITS_MAX: usize = 64;

/// What the flags say of them.
#[derive(Debug, Clone, Default)]
pub struct PinOptions {
    dir: Option<PathBuf>,
    accepts_rollback: bool,
    expected_head: Option<String>,
}

impl PinOptions {
    /// As the flags and the environment say.
    ///
    /// # Errors
    /// A usage error for a head that is no hash.
    pub fn new(args: &GlobalArgs) -> Result<Self> {
        if let Some(head) = &args.expect_head {
            expect_hex(head)?;
        }
        Ok(Self {
            dir: args.state_dir.clone().or_else(|| env::state_dir(&env::variable)),
            accepts_rollback: args.accept_rollback,
            expected_head: args.expect_head.as_ref().map(|head| head.to_ascii_lowercase()),
        })
    }

    /// The same for another repository, of which no head is expected.
    pub fn without_head(&self) -> Self {
        Self { expected_head: None, ..self.clone() }
    }

    /// The folder of the client's identity, if there is one.
    pub fn state_dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Opens the folder.
    pub async fn open(&self, console: Console) -> Pins {
        let store = match &self.dir {
            Some(dir) => store(dir, console).await,
            None => {
                console.note("note: no home folder, so that a storage could go back unnoticed");
                None
            }
        };
        let expected_head = self.expected_head.clone();
        Pins { store, accepts_rollback: self.accepts_rollback, expected_head }
    }
}

fn expect_hex(head: &str) -> Result<()> {
    let is_hex = head.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex && (HEAD_DIGITS_MIN..=HEAD_DIGITS_MAX).contains(&head.len()) {
        return Ok(());
    }
    Err(Failure::usage("--expect-head takes 8 to 64 hex digits, as a backup prints them"))
}

async fn store(dir: &Path, console: Console) -> Option<SharedTarget> {
    let folder = dir.join(FOLDER);
    let opened = async {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| error.to_string())?;
        let options = OpenOptions { mode: OpenMode::Create };
        strongroom_backends::open(&folder, &options).await.map_err(|error| error.to_string())
    };
    match opened.await {
        Ok(store) => Some(store),
        Err(why) => {
            let place = folder.display();
            console.note(&format!("note: cannot remember what was seen: {place}: {why}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_hex() {
        for right in ["0123abcd", "0123ABCD", &"a".repeat(64)] {
            assert!(expect_hex(right).is_ok(), "{right}");
        }
        for wrong in ["", "0123abc", "0123abcg", &"a".repeat(65)] {
            assert!(expect_hex(wrong).is_err(), "{wrong}");
        }
    }
}
