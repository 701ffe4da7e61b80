//! What the README's table of storages is made of: each cell comes from a test that passed.
//!
//! The test command names a folder in `STRONGROOM_MATRIX_DIR`; `scripts/matrix` makes the table
//! of what is there.

use std::{fs, path::PathBuf};

/// Notes what a test found out about a storage.
pub fn cell(storage: &str, column: &str, found: &str) {
    let Some(folder) = std::env::var_os("STRONGROOM_MATRIX_DIR").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{storage}.{column}")), format!("{found}\n")).unwrap();
}
