//! What the program remembers between runs: which client it is.
//!
//! Knows nothing of repositories. Nothing here is needed to read a backup.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use strongroom_core::{
    id::ClientId,
    runtime::{Randomness, random},
};

use crate::output::Console;

const CLIENT_FILE: &str = "client";
/// More is no id; nothing longer is read.
const CLIENT_FILE_BYTES_MAX: usize = 256;

/// The id of this client: kept in `dir`, drawn if there is none yet. If it can be neither read
/// nor kept, a fresh one serves for this run: then packs of interrupted runs are not found again.
pub fn client_id(dir: Option<PathBuf>, randomness: &dyn Randomness, console: Console) -> ClientId {
    let fresh = ClientId(random(randomness));
    let Some(dir) = dir else {
        console.note("note: no home folder, so interrupted runs of this client are not resumed");
        return fresh;
    };
    kept(&dir, fresh).unwrap_or_else(|error| {
        let place = dir.join(CLIENT_FILE);
        console.note(&format!(
            "note: cannot keep this client's identity: {}: {error}",
            place.display()
        ));
        fresh
    })
}

/// The id in `dir`, or `fresh` after it was written there. Of two at once, one wins.
fn kept(dir: &Path, fresh: ClientId) -> io::Result<ClientId> {
    let path = dir.join(CLIENT_FILE);
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(".client-")
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)?;
    writeln!(file, "{fresh}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(fresh),
        Err(lost) if lost.error.kind() == io::ErrorKind::AlreadyExists => {
            read(&path)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        Err(failed) => Err(failed.error),
    }
}

fn read(path: &Path) -> io::Result<Option<ClientId>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, CLIENT_FILE_BYTES_MAX as u64), &mut text)?;
    let id = text.trim_end().parse().map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not a client id; remove the file to get a new one",
        )
    })?;
    Ok(Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_core::runtime::SystemRandomness;

    fn id(console: Console, dir: &Path) -> ClientId {
        client_id(Some(dir.to_owned()), &SystemRandomness, console)
    }

    #[test]
    fn an_id_is_drawn_once_and_kept_privately() {
        let console = Console::early(true);
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b");
        let first = id(console, &dir);
        assert_eq!(id(console, &dir), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&dir.join(CLIENT_FILE)), 0o600);
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_ne!(id(console, &temp.path().join("other")), first);
    }

    #[test]
    fn what_cannot_be_used_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join(CLIENT_FILE);
        fs::write(&path, "nonsense\n").unwrap();
        assert_ne!(id(Console::early(true), temp.path()), id(Console::early(true), temp.path()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense\n");
        let not_a_dir = path.join("below-a-file");
        let _ = id(Console::early(true), &not_a_dir);
    }
}
