//! A repository as files: what an outsider with access to the storage can see and do. Knows the
//! names of the folders in `docs/format.md`, and no keys.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every object of a repository but the reserve, of which nothing is read, sorted by name: its path
/// below the repository and its size.
pub fn objects(repository: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            // What a killed run leaves half made may vanish while we look.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() != "reserve" {
                let path = entry.path().strip_prefix(repository).unwrap().to_path_buf();
                found.push((path, metadata.len()));
            }
        }
    }
    found.sort();
    found
}

/// The packs of a repository and their sizes.
pub fn packs(repository: &Path) -> Vec<(PathBuf, u64)> {
    let mut objects = objects(repository);
    objects.retain(|(path, _)| path.starts_with("packs"));
    objects
}

/// How many bytes its packs take.
pub fn packs_bytes(repository: &Path) -> u64 {
    packs(repository).iter().map(|(_, size)| size).sum()
}

/// Flips one bit of an object.
pub fn flip_bit(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    let at = usize::try_from(bit / 8).unwrap();
    bytes[at] ^= 1 << (bit % 8);
    overwrite(path, &bytes);
}

/// Replaces the bytes of an object, whatever its access rights say.
pub fn overwrite(path: &Path, bytes: &[u8]) {
    super::fixture::set_mode(path, 0o600);
    fs::write(path, bytes).unwrap();
}

/// Copies a whole repository.
pub fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
