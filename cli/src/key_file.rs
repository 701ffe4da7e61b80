//! Reads key files, and refuses those that others could have read. Contents stand in no message.

use std::{fs::File, os::unix::fs::PermissionsExt, path::Path};

use strongroom_core::format::slot::KeyFile;

use crate::{
    error::{Failure, Result},
    password::read_secret,
};

/// Read and write by everybody.
const OTHERS: u32 = 0o006;

/// The key in this file, every byte of it.
///
/// # Errors
/// A usage error for files that cannot be read, that everybody can read or write, or whose
/// content is no key.
pub fn read(path: &Path) -> Result<KeyFile> {
    let failed = |why: String| Failure::usage(format!("key file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mode = file.metadata().map_err(|error| failed(error.to_string()))?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(failed("everybody can read or write it".to_owned())
            .hint("chmod 600; and if others may have read it, make a new one"));
    }
    let content = read_secret(file).map_err(|error| failed(error.to_string()))?;
    KeyFile::new(content).map_err(|error| {
        let failure = failed(error.to_string());
        match error.hint_text() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    #[test]
    fn files_that_protect_nothing_are_refused() {
        let good: Vec<u8> = (0..64).collect();
        let cases: [(&[u8], u32, &str); 5] = [
            (b"", 0o600, "is empty"),
            (&good[..31], 0o600, "31 bytes"),
            (&[7; 64], 0o600, "not random"),
            (&good, 0o604, "everybody"),
            (&good, 0o602, "everybody"),
        ];
        for (content, mode, why) in cases {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let failure = read(file.path()).unwrap_err().to_string();
            assert!(failure.contains(why), "{failure}");
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&good).unwrap();
        assert!(read(file.path()).is_ok());
        assert!(read(Path::new("/nonexistent/x")).is_err());
    }
}
